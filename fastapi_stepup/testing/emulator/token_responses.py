"""How replies carry tokens: in the body, or in cookies.

Known of the real service: each token goes one way or the other by a setting of the project; in
cookies, its member in the body is empty. The attributes of the cookies are guesses: `HttpOnly`,
`Secure`, `SameSite=Strict`, the path `/` and no domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup.testing.emulator.sessions import REFRESH_NAME, SESSION_NAME


@dataclass(frozen=True)
class Answers:
    """Makes HTTP responses of replies.

    Attributes:
        refresh_in_cookie: Whether the refresh token goes into the cookie `DSR`.
        session_in_cookie: Whether the session token goes into the cookie `DS`.
    """

    refresh_in_cookie: bool = False
    session_in_cookie: bool = False

    def refresh_cookie(self, request: Request) -> str | None:
        """Return the refresh token in a request's cookie, if such cookies are given out."""
        return request.cookies.get(REFRESH_NAME) if self.refresh_in_cookie else None

    def response(self, reply: Mapping[str, object] | list[object]) -> Response:
        """Return the HTTP response; tokens move from the reply into cookies where they belong."""
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
        """The members that go into cookies, and the cookies' names."""
        moved = {
            "refreshJwt": (REFRESH_NAME, self.refresh_in_cookie),
            "sessionJwt": (SESSION_NAME, self.session_in_cookie),
        }
        return {member: cookie for member, (cookie, is_moved) in moved.items() if is_moved}
