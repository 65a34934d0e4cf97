"""Descope's Node and Python SDKs tell one story against the served emulator."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sdk.node_sdk import needs_node_sdk
from tests.sdk.served import Served, Shop

HERE = Path(__file__).parent / "node"

STORIES = [
    pytest.param(
        [sys.executable, "-m", "tests.sdk.python_story"],
        # The Python SDK does not even ask.
        "Missing refresh token for stepup/mfa",
        id="python",
    ),
    pytest.param(
        ["node", str(HERE / "story.mjs")],
        "E011002",
        id="node",
        marks=needs_node_sdk,
    ),
]


@pytest.mark.parametrize(("command", "without_token"), STORIES)
def test_sdk_tells_the_story(
    served: Served, shop: Shop, command: Sequence[str], without_token: str
) -> None:
    """Sign-up, step-up by every delivery method, refresh, logout, and a guarded app's verdicts."""
    told = subprocess.run(
        [*command, served.url, served.project_id],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=HERE.parents[2],
    )
    assert told.stderr == ""
    report = json.loads(told.stdout)
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
    assert shop.lets_in(tokens["stepped_up"])
    assert shop.challenges(tokens["plain"])
    assert shop.challenges(tokens["refreshed"])
    assert shop.finds_invalid(tokens["refresh"])
