"""Runs programs that use Descope's Node and web SDKs, unmodified."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.served import Served

NODE = shutil.which("node")
HERE = Path(__file__).parent / "node"
SDKS_ARE_THERE = NODE is not None and (HERE / "node_modules" / "@descope" / "web-js-sdk").is_dir()
CHROMIUM = os.environ.get("STEPUP_CHROMIUM") or shutil.which("chromium") or ""

needs_node_sdk = pytest.mark.skipif(
    not SDKS_ARE_THERE, reason="needs node and the SDKs: cd tests/sdk/node && npm ci"
)
needs_web_sdk = pytest.mark.skipif(
    not (SDKS_ARE_THERE and CHROMIUM),
    reason="needs Chromium, node and the SDKs: cd tests/sdk/node && npm ci",
)


def report_of_node(program: str, served: Served, *arguments: str) -> Any:
    """Return the report that a program prints about a served emulator."""
    completed = subprocess.run(
        ["node", str(HERE / program), served.url, served.project_id, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.stderr == "", completed.stderr
    return json.loads(completed.stdout)
