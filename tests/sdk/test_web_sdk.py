"""Descope's web SDK, unmodified, in a page in Chromium, against the served emulator."""

from typing import Any

import pytest

from tests.sdk.node_sdk import CHROMIUM, needs_web_sdk, told_by_node
from tests.sdk.served import Served, Shop


@needs_web_sdk
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"response_mode": "body"}, id="body"),
        pytest.param({"response_mode": "cookies", "rotate_refresh": True}, id="cookies-rotation"),
    ],
    indirect=True,
)
def test_page_steps_up(served: Served, shop: Shop, settings: dict[str, Any]) -> None:
    """By a passkey of the browser and by the flow, across origins, with tokens either way."""
    mode = settings["response_mode"]
    report = told_by_node("web.mjs", served, CHROMIUM, mode)
    assert report["refresh_token_in_body"] == [mode == "body"] * 3
    assert report["me"] == ["ann@example.com"]
    assert report["after_logout"] == ("E064001" if mode == "body" else "E061005")
    assert shop.challenges(report["plain"])
    assert all(map(shop.lets_in, report["stepped_up"]))
