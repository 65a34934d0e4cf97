"""The admin API: routes by which a program in any language controls a served emulator.

They do what the Python calls of `DescopeEmulator` do. Bodies and replies are JSON objects. An
unknown or missing member, or one of the wrong type, is answered 400 `{"error": "<sentence>"}`.

The routes need no credentials and return codes and tokens, so serve the emulator on loopback only.
Pages of a loopback origin may call them from a browser.

| route | request | reply |
|---|---|---|
| `GET /_emulator/project` | | `{"project_id", "issuer"}` |
| `GET /_emulator/outbox` | `?login_id=` narrows | `{"messages": [{"delivery", "to", "login_id", "user_id", "code", "step_up", "link", "token"}]}` |
| `GET /_emulator/requests` | | `{"requests": [{"method", "path", "query", "headers", "json"}]}` |
| `POST /_emulator/users` | `{"login_id", "email"?, "phone"?, "login_ids"?, "name"?, "roles"?, "permissions"?, "tenants"?}` | 201 `{"user_id", "login_ids"}` |
| `POST /_emulator/sign-in` | `{"login_id", "amr"?, "age"?, "expires_in"?}` | `{"session_token", "refresh_token", "user_id", "login_id"}` |
| `POST /_emulator/step-up` | the same | the same, stepped up |
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

Messages and requests come oldest first.
"""  # noqa: E501 - a table's row is one line

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.python_api import PythonAPI

ADMIN_PREFIX: Final = "/_emulator/"
EMULATOR_KEY: Final = "fastapi_stepup.emulator"

_Fields: TypeAlias = Mapping[str, type | tuple[type, ...]]

_USER: Final[_Fields] = {
    "login_id": str,
    "email": str,
    "phone": str,
    "login_ids": list,
    "name": str,
    "roles": list,
    "permissions": list,
    "tenants": dict,
}
_SIGN_IN: Final[_Fields] = {
    "login_id": str,
    "amr": list,
    "age": (int, float),
    "expires_in": (int, float),
}
_SOCIAL_LOGIN: Final[_Fields] = {"url": str, "login_id": str, "deny": bool}
_WHATSAPP: Final[_Fields] = {"url": str, "phone": str}
_PASSKEY: Final[_Fields] = {"options": str, "origin": str}
_ACCESS_KEY: Final[_Fields] = {"roles": list, "permissions": list}
_FAILURE: Final[_Fields] = {
    "status": int,
    "times": int,
    "retry_after": int,
    "path": str,
    "code": str,
}


async def _arguments(request: Request, fields: _Fields, required: int = 1) -> dict[str, Any]:
    """Return the body's members as keyword arguments; the first *required* fields must be there.

    Raises:
        ValueError: The body is not such an object.
    """
    body = json.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise ValueError("The body must be a JSON object.")  # noqa: TRY004 - one 400
    for name in list(fields)[:required]:
        if name not in body:
            raise ValueError(f"The body must be a JSON object with the member {name!r}.")
    for name, value in body.items():
        if name not in fields:
            raise ValueError(f"Unknown member {name!r}; known are {', '.join(fields)}.")
        if not isinstance(value, fields[name]):
            raise ValueError(f"The member {name!r} has the wrong type.")  # noqa: TRY004 - one 400
    return body


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
    return {"messages": [asdict(message) for message in chosen]}


async def _requests(emulator: PythonAPI, _: Request) -> dict[str, object]:
    return {"requests": [asdict(received) for received in emulator.requests]}


async def _users(emulator: PythonAPI, request: Request) -> dict[str, object]:
    user = emulator.create_user(**await _arguments(request, _USER))
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
        _route("POST", "users", _users, 201),
        _route("POST", "sign-in", _sign_in),
        _route("POST", "step-up", _step_up),
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
    ],
    exception_handlers={ValueError: _answer_mistake, LookupError: _answer_mistake},
)
