"""Descope's web SDK, unmodified, in a page in Chromium, against the served emulator."""

from typing import Any

import pytest

from tests.sdk.node_sdk import CHROMIUM, needs_web_sdk, report_of_node
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
    """By the browser's passkey and by the flow, across origins, tokens in body or cookies."""
    mode = settings["response_mode"]
    report = report_of_node("web.mjs", served, CHROMIUM, mode)
    assert report["refresh_token_in_body"] == [mode == "body"] * 3
    assert report["me"] == ["ann@example.com"]
    assert report["after_logout"] == ("E064001" if mode == "body" else "E061005")
    assert shop.challenges(report["plain"])
    assert all(map(shop.accepts, report["stepped_up"]))
