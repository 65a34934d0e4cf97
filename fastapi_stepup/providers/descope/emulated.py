"""sign_in_on_emulator: a session of a user of the local emulator, for pages that developers see."""

from typing import Final
from urllib.parse import urlsplit

from fastapi_stepup._http import HTTPFailure, HTTPRequest
from fastapi_stepup._secret import without_frames
from fastapi_stepup._urls import is_loopback
from fastapi_stepup.providers.descope.client import DescopeClient

_PATH: Final = "/_emulator/sign-in"
_OK: Final = 200


def is_emulated(descope: DescopeClient) -> bool:
    """Return whether *descope* talks to an emulator: in this process, or on this machine."""
    return descope.http.is_emulated or is_loopback(urlsplit(descope.base_url).hostname or "")


@without_frames
async def sign_in_on_emulator(descope: DescopeClient, login_id: str) -> dict[str, str] | None:
    """Sign a user of the emulator in, who is made if there is none of that login id.

    Does not look whether it is an emulator: ask `is_emulated` first.

    Returns:
        `session_token` and `refresh_token`; `None` if it gave none.
    """
    request = HTTPRequest("POST", descope.base_url + _PATH, json={"login_id": login_id})
    try:
        reply = await descope.http.send(request)
        if reply.status != _OK:
            return None
        members = reply.json_object()
    except HTTPFailure:
        return None
    return {name: str(members.get(name)) for name in ("session_token", "refresh_token")}
