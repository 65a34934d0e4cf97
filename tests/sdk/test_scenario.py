"""Descope's Node and Python SDKs run one scenario against the served emulator."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sdk.node_sdk import needs_node_sdk
from tests.sdk.served import Served, Shop

HERE = Path(__file__).parent / "node"

SCENARIOS = [
    pytest.param(
        [sys.executable, "-m", "tests.sdk.python_scenario"],
        # The Python SDK does not even ask.
        "Missing refresh token for stepup/mfa",
        id="python",
    ),
    pytest.param(
        ["node", str(HERE / "scenario.mjs")],
        "E011002",
        id="node",
        marks=needs_node_sdk,
    ),
]


@pytest.mark.parametrize(("command", "without_token"), SCENARIOS)
def test_sdk_runs_the_scenario(
    served: Served, shop: Shop, command: Sequence[str], without_token: str
) -> None:
    """Sign-up, step-up by every delivery method, refresh, logout, and a guarded app's answers."""
    completed = subprocess.run(
        [*command, served.url, served.project_id],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=HERE.parents[2],
    )
    assert completed.stderr == ""
    report = json.loads(completed.stdout)
    tokens = report.pop("tokens")
    assert report == {
        "plain_has_su": False,
        "step_ups": {
            "email": {"su": True, "amr": ["email"]},
            "sms": {"su": True, "amr": ["email", "sms", "mfa"]},
            "voice": {"su": True, "amr": ["email", "sms", "mfa"]},
            "whatsapp": {"su": True, "amr": ["email", "whatsapp", "mfa"]},
        },
        "refreshed_has_su": False,
        "me": ["ann@example.com"],
        "wrong_code": "E061102",
        "step_up_without_refresh_token": without_token,
        "unknown_user": "E062108",
        "refresh_after_logout": "E064001",
    }
    assert shop.accepts(tokens["stepped_up"])
    assert shop.challenges(tokens["plain"])
    assert shop.challenges(tokens["refreshed"])
    assert shop.rejects(tokens["refresh"])
