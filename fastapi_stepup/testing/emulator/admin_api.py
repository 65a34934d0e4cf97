"""The admin API: routes by which a program in any language controls a served emulator.

They do what the Python calls of `DescopeEmulator` do. Bodies and replies are JSON objects. An
unknown or missing member, or one of the wrong type, is answered 400 `{"error": "<sentence>"}`.

The routes need no credentials and return codes and tokens, so serve the emulator on loopback only.
Pages of a loopback origin may call them from a browser; other pages are answered 403
(`fastapi_stepup.testing.emulator.browser_access`). The page at `/` is made of them.

| route | request | reply |
|---|---|---|
| `GET /_emulator/project` | | `{"project_id", "issuer"}` |
| `GET /_emulator/outbox` | `?login_id=` narrows | `{"messages": [{"delivery", "to", "login_id", "user_id", "code", "step_up", "link", "token", "live"}]}` |
| `GET /_emulator/users` | | `{"users": [{"user_id", "login_ids", "name", "email", "phone", "roles", "permissions", "tenants", "methods"}]}` |
| `GET /_emulator/sessions` | `?last=` limits | `{"sessions": [{"user_id", "login_id", "state", "claims"}], "total"}`, the claims of the latest session token |
| `GET /_emulator/keys` | | `{"kids"}`, the current one first |
| `GET /_emulator/requests` | `?last=` limits | `{"requests": [{"method", "path", "query", "headers", "json"}], "total"}` |
| `POST /_emulator/users` | `{"login_id", "email"?, "phone"?, "login_ids"?, "name"?, "roles"?, "permissions"?, "tenants"?}` | 201 `{"user_id", "login_ids"}` |
| `POST /_emulator/sign-in` | `{"login_id", "amr"?, "age"?, "expires_in"?}` | `{"session_token", "refresh_token", "user_id", "login_id"}` |
| `POST /_emulator/step-up` | the same | the same, stepped up |
| `POST /_emulator/links/open` | `{"token"}` | the session, or `{}`: the link did what it was for |
| `GET /_emulator/totp` | `?login_id=` | `{"secret", "code"}` of the user's authenticator app |
| `POST /_emulator/social-login` | `{"url", "login_id", "deny"?}` | `{"location"}`, the redirect URL of the provider at `url` |
| `POST /_emulator/whatsapp` | `{"url", "phone"?}` | `{}`; the message of a NOTP sign-in was sent |
| `POST /_emulator/passkey/create` | `{"options", "origin"}` | `{"response"}` of a software passkey |
| `POST /_emulator/passkey/get` | the same | the same |
| `POST /_emulator/access-keys` | `{"roles"?, "permissions"?}` | 201 `{"key_id", "secret"}` |
| `POST /_emulator/keys/rotate` | | `{"kid"}` of the new key |
| `POST /_emulator/keys/revoke` | | `{"kid"}` of the new key |
| `POST /_emulator/fail` | `{"status", "times"?, "retry_after"?, "path"?, "code"?}` | `{}` |
| `POST /_emulator/reset` | | `{}` |

Messages, requests, users and sessions come oldest first. A session's state is `active`, `expired`,
`logged out` or `revoked`. A message is `live` while its code or link works.
"""  # noqa: E501 - a table's row is one line

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.arguments import USER, Fields, arguments_of
from fastapi_stepup.testing.emulator.page.routes import page_routes
from fastapi_stepup.testing.emulator.python_api import PythonAPI
from fastapi_stepup.testing.emulator.users import User

ADMIN_PREFIX: Final = "/_emulator/"
EMULATOR_KEY: Final = "fastapi_stepup.emulator"
_T = TypeVar("_T")

FOREIGN_PAGE: Final = JSONResponse(
    {"error": "Only pages of this machine may use the emulator's admin API."}, 403
)

_SIGN_IN: Final[Fields] = {
    "login_id": str,
    "amr": list,
    "age": (int, float),
    "expires_in": (int, float),
}
_SOCIAL_LOGIN: Final[Fields] = {"url": str, "login_id": str, "deny": bool}
_WHATSAPP: Final[Fields] = {"url": str, "phone": str}
_PASSKEY: Final[Fields] = {"options": str, "origin": str}
_ACCESS_KEY: Final[Fields] = {"roles": list, "permissions": list}
_OPEN: Final[Fields] = {"token": str}
_FAILURE: Final[Fields] = {
    "status": int,
    "times": int,
    "retry_after": int,
    "path": str,
    "code": str,
}


async def _arguments(request: Request, fields: Fields, required: int = 1) -> dict[str, Any]:
    """Return the members of the body, as `arguments_of` does."""
    return arguments_of(json.loads(await request.body() or b"{}"), fields, required)


def _last(items: Sequence[_T], request: Request) -> Sequence[_T]:
    """Return the items that `?last=` asks for, or all."""
    last = int(request.query_params.get("last", len(items)))
    return items[max(len(items) - last, 0) :]


def _route(
    method: str,
    path: str,
    handler: Callable[[PythonAPI, Request], Awaitable[Mapping[str, object]]],
    status: int = 200,
) -> Route:
    async def answer(request: Request) -> Response:
        return JSONResponse(await handler(request.scope[EMULATOR_KEY], request), status)

    return Route(ADMIN_PREFIX + path, answer, methods=[method])


async def _answer_mistake(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _project(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"project_id": emulator.project_id, "issuer": emulator.issuer}


async def _outbox(emulator: PythonAPI, request: Request) -> dict[str, object]:
    login_id = request.query_params.get("login_id")
    chosen = [sent for sent in emulator.outbox if login_id in (None, sent.login_id)]
    return {"messages": [asdict(sent) | {"live": emulator.is_live(sent)} for sent in chosen]}


async def _requests(emulator: PythonAPI, request: Request) -> dict[str, object]:
    received = emulator.requests
    chosen = [asdict(one) for one in _last(received, request)]
    return {"requests": chosen, "total": len(received)}


def _described(user: User) -> dict[str, object]:
    methods = {
        "passkey": bool(user.passkeys),
        "authenticator app": user.authenticator is not None,
        "password": user.password is not None,
        **user.providers,
    }
    return {
        "user_id": user.user_id,
        "login_ids": list(user.login_ids),
        "name": user.name,
        "email": user.email,
        "phone": user.phone,
        "roles": list(user.roles),
        "permissions": list(user.permissions),
        "tenants": dict(user.tenants),
        "methods": [name for name, has_it in methods.items() if has_it],
    }


async def _list_users(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"users": [_described(user) for user in emulator.users]}


async def _sessions(emulator: PythonAPI, request: Request) -> dict[str, object]:
    sessions = emulator.sessions
    chosen = [
        {
            "user_id": session.user.user_id,
            "login_id": session.user.login_ids[0],
            "state": emulator.state_of(session),
            "claims": dict(session.claims),
        }
        for session in _last(sessions, request)
    ]
    return {"sessions": chosen, "total": len(sessions)}


async def _keys(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"kids": emulator.kids}


async def _open_link(emulator: PythonAPI, request: Request) -> dict[str, object]:
    tokens = emulator.open_link(**await _arguments(request, _OPEN))
    return asdict(tokens) if tokens else {}


async def _users(emulator: PythonAPI, request: Request) -> dict[str, object]:
    user = emulator.create_user(**await _arguments(request, USER))
    return {"user_id": user.user_id, "login_ids": list(user.login_ids)}


async def _sign_in(emulator: PythonAPI, request: Request) -> dict[str, object]:
    return asdict(emulator.sign_in(**await _arguments(request, _SIGN_IN)))


async def _step_up(emulator: PythonAPI, request: Request) -> dict[str, object]:
    return asdict(emulator.step_up(**await _arguments(request, _SIGN_IN)))


async def _totp(emulator: PythonAPI, request: Request) -> dict[str, object]:
    login_id = request.query_params.get("login_id", "")
    return {"secret": emulator.totp_secret(login_id), "code": emulator.totp_code(login_id)}


async def _social_login(emulator: PythonAPI, request: Request) -> dict[str, object]:
    return {"location": emulator.social_login(**await _arguments(request, _SOCIAL_LOGIN, 2))}


async def _whatsapp(emulator: PythonAPI, request: Request) -> dict[str, object]:
    emulator.send_whatsapp(**await _arguments(request, _WHATSAPP))
    return {}


async def _passkey_create(emulator: PythonAPI, request: Request) -> dict[str, object]:
    asked = await _arguments(request, _PASSKEY, 2)
    return {"response": emulator.passkey(asked["origin"]).create(asked["options"])}


async def _passkey_get(emulator: PythonAPI, request: Request) -> dict[str, object]:
    asked = await _arguments(request, _PASSKEY, 2)
    return {"response": emulator.passkey(asked["origin"]).get(asked["options"])}


async def _access_keys(emulator: PythonAPI, request: Request) -> dict[str, object]:
    return asdict(emulator.create_access_key(**await _arguments(request, _ACCESS_KEY, 0)))


async def _rotate(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"kid": emulator.rotate_keys().kid}


async def _revoke(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"kid": emulator.revoke_keys().kid}


async def _fail(emulator: PythonAPI, request: Request) -> dict[str, object]:
    emulator.fail(**await _arguments(request, _FAILURE))
    return {}


async def _reset(emulator: PythonAPI, _: Request) -> dict[str, object]:
    emulator.reset()
    return {}


ADMIN_APP: Final = Starlette(
    routes=[
        _route("GET", "project", _project),
        _route("GET", "outbox", _outbox),
        _route("GET", "requests", _requests),
        _route("GET", "users", _list_users),
        _route("GET", "sessions", _sessions),
        _route("GET", "keys", _keys),
        _route("POST", "users", _users, 201),
        _route("POST", "sign-in", _sign_in),
        _route("POST", "step-up", _step_up),
        _route("POST", "links/open", _open_link),
        _route("GET", "totp", _totp),
        _route("POST", "social-login", _social_login),
        _route("POST", "whatsapp", _whatsapp),
        _route("POST", "passkey/create", _passkey_create),
        _route("POST", "passkey/get", _passkey_get),
        _route("POST", "access-keys", _access_keys, 201),
        _route("POST", "keys/rotate", _rotate),
        _route("POST", "keys/revoke", _revoke),
        _route("POST", "fail", _fail),
        _route("POST", "reset", _reset),
        *page_routes(),
    ],
    exception_handlers={ValueError: _answer_mistake, LookupError: _answer_mistake},
)
