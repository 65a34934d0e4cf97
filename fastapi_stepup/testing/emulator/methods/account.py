"""Calls of a signed-in user (`me`, refresh, validate, logout), and the public keys.

Known of the real service:
- All but `validate` take the refresh JWT.
- A refresh loses `su`, because the refresh JWT does not carry it.
- Logout revokes refresh JWTs only; a session JWT stays good until it expires.
- With rotation a refresh returns a new refresh JWT.

Guesses:
- `validate` rejects a refresh JWT.
- A replaced refresh JWT stops working at once; nothing else ends.
- `try-refresh` answers `{}` when there is nothing to refresh.
- The history begins with the latest sign-in.
"""

import jwt
from jwt.types import Options
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import INVALID_TOKEN, NOT_FOUND, Refusal
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import get, post
from fastapi_stepup.testing.emulator.sessions import SESSION_NAME


class Account:
    """The session endpoints.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        handlers = {
            "refresh": self._refresh,
            "try-refresh": self._try_refresh,
            "validate": self._validate,
            "logout": self._logout,
            "logoutall": self._logout_all,
        }
        return [
            get(self._project, "/v1/auth/me", self._me),
            get(self._project, "/v1/auth/me/history", self._history),
            *(
                post(self._project, f"/v1/auth/{action}", handler)
                for action, handler in handlers.items()
            ),
        ]

    def _me(self, call: Call) -> dict[str, object]:
        return self._project.sessions.find(call.token).user.as_json()

    def _history(self, call: Call) -> list[object]:
        sessions = self._project.sessions
        caller = sessions.find(call.token).user
        place = {"city": "", "country": "", "ip": "127.0.0.1"}
        return [
            {"userId": user.user_id, "loginTime": at, **place}
            for user, at in reversed(sessions.log)
            if user is caller
        ]

    def _refresh(self, call: Call) -> dict[str, object]:
        project = self._project
        session = project.sessions.find(call.token)
        if project.sessions.rotates:
            project.sessions.renew(session)
        tokens = project.sessions.issue(session, changes=project.tampered())
        response = project.jwt_response(tokens, session.user)
        # Only with rotation (off by default) is there a new refresh token.
        return response if project.sessions.rotates else {**response, "refreshJwt": ""}

    def _try_refresh(self, call: Call) -> dict[str, object]:
        try:
            return self._refresh(call)
        except Refusal:
            return {}

    def _validate(self, call: Call) -> dict[str, object]:
        claims = self._verified(call.token or "")
        expires_at = claims.get("exp")
        now = self._project.clock()
        if (
            claims.get("drn") != SESSION_NAME
            or not isinstance(expires_at, int)
            or expires_at <= now
        ):
            raise Refusal(INVALID_TOKEN)
        return {"parsedJWT": claims}

    def _verified(self, token: str) -> dict[str, object]:
        # PyJWT would compare times with the wall clock instead of the emulator's.
        unchecked: Options = {
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_aud": False,
        }
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = jwt.PyJWK(self._project.keys.find(kid).jwk)
            claims: dict[str, object] = jwt.decode(
                token, key, algorithms=["RS256"], options=unchecked
            )
        except (jwt.PyJWTError, LookupError):
            raise Refusal(INVALID_TOKEN) from None
        return claims

    def _logout(self, call: Call) -> dict[str, object]:
        session = self._project.sessions.find(call.token)
        session.ended = True
        return self._logged_out()

    def _logout_all(self, call: Call) -> dict[str, object]:
        self._project.sessions.end_all(self._project.sessions.find(call.token).user)
        return self._logged_out()

    def _logged_out(self) -> dict[str, object]:
        return {
            "sessionJwt": "",
            "refreshJwt": "",
            "cookieDomain": "",
            "cookiePath": "/",
            "cookieMaxAge": 0,
            "cookieExpiration": 0,
            "user": None,
            "firstSeen": False,
            "sessionExpiration": 0,
        }


class PublicKeys:
    """The key set in its three forms; public, so no bearer is needed.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        return [
            Route("/v2/keys/{project_id}", self._jwks),
            Route("/{project_id}/.well-known/jwks.json", self._jwks),
            Route("/v1/keys/{project_id}", self._bare_keys),
        ]

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": self._keys(request)})

    async def _bare_keys(self, request: Request) -> Response:
        return JSONResponse(self._keys(request))

    def _keys(self, request: Request) -> list[dict[str, str]]:
        if request.path_params["project_id"] != self._project.project_id:
            raise Refusal(NOT_FOUND, "The emulator serves another project")
        with self._project.lock:
            return self._project.keys.jwks()
