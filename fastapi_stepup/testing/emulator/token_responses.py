"""TokenResponses: replies with tokens in the body or in cookies.

Known of the real service: a setting of the project decides for each token; a token in a cookie
leaves its member in the body empty.

Guesses: the attributes of the cookies (`HttpOnly`, `Secure`, `SameSite=Strict`, the path `/`, no
domain).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup.testing.emulator.sessions import REFRESH_NAME, SESSION_NAME


@dataclass(frozen=True, slots=True)
class TokenResponses:
    """Turns replies into HTTP responses.

    Attributes:
        refresh_in_cookie: Whether the refresh token goes into the cookie `DSR`.
        session_in_cookie: Whether the session token goes into the cookie `DS`.
    """

    refresh_in_cookie: bool = False
    session_in_cookie: bool = False

    def refresh_cookie(self, request: Request) -> str | None:
        """Return the refresh token in a request's cookie, if the project sets such a cookie."""
        return request.cookies.get(REFRESH_NAME) if self.refresh_in_cookie else None

    def response(self, reply: Mapping[str, object] | list[object]) -> Response:
        """Return the HTTP response, with tokens moved to cookies where the project sets them."""
        if isinstance(reply, list):
            return JSONResponse(reply)
        nested = next((name for name in ("jwt", "authInfo") if name in reply), None)
        tokens = reply[nested] if nested else reply
        if not isinstance(tokens, Mapping) or "cookieMaxAge" not in tokens:
            return JSONResponse(reply)
        emptied = {**tokens, **dict.fromkeys(self._in_cookies, "")}
        response = JSONResponse({**reply, nested: emptied} if nested else emptied)
        lifetime: int = tokens["cookieMaxAge"]
        for member, cookie in self._in_cookies.items():
            # A logout has no tokens and a lifetime of zero; a refresh may have no refresh token.
            if tokens[member] or not lifetime:
                response.set_cookie(
                    cookie,
                    tokens[member],
                    max_age=None if lifetime and cookie == SESSION_NAME else lifetime,
                    secure=True,
                    httponly=True,
                    samesite="strict",
                )
        return response

    @property
    def _in_cookies(self) -> dict[str, str]:
        """The members that go into cookies, with the names of the cookies."""
        moved = {
            "refreshJwt": (REFRESH_NAME, self.refresh_in_cookie),
            "sessionJwt": (SESSION_NAME, self.session_in_cookie),
        }
        return {member: cookie for member, (cookie, is_moved) in moved.items() if is_moved}
