"""DescopeEmulator: the local stand-in for Descope."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from fastapi_stepup.testing.emulator.admin_api import (
    ADMIN_APP,
    ADMIN_PREFIX,
    EMULATOR_KEY,
    FOREIGN_PAGE,
)
from fastapi_stepup.testing.emulator.browser_access import LOOPBACK_ORIGIN, is_foreign
from fastapi_stepup.testing.emulator.errors import Refusal
from fastapi_stepup.testing.emulator.project import Limits, Settings
from fastapi_stepup.testing.emulator.python_api import PythonAPI
from fastapi_stepup.testing.emulator.request_log import route_of, tidy
from fastapi_stepup.testing.emulator.routing import answer_http_exception, answer_refusal
from fastapi_stepup.testing.emulator.token_responses import TokenResponses
from fastapi_stepup.testing.emulator.transport import EmulatorTransport
from fastapi_stepup.testing.emulator.ui_package import UIPackage
from fastapi_stepup.testing.server import served

if TYPE_CHECKING:
    from fastapi_stepup.guard.guard import StepUpGuard

DEFAULT_PROJECT_ID: Final = "P2LocalEmulatorProject000001"
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]+")


def _now() -> float:
    # Looked up at each call: a test that freezes time replaces `time.time`.
    return time.time()


class DescopeEmulator(PythonAPI):
    """A Descope project in this process: an ASGI app, and Python calls that control it.

    The official SDKs run against it unchanged. A test attaches it to a guard; the guard's HTTP then
    reaches it without a network:

    ```python
    with DescopeEmulator(project_id=guard.project_id).attach(guard) as descope:
        ann = descope.sign_in("ann@example.com")
        response = client.post("/checkout", headers=ann.headers)
        assert_step_up_challenge(response)
    ```

    Guarantees:
    - Any number of event loops and threads may use one emulator.
    - It holds no sockets and needs no closing.
    - Its keys are its own: no other emulator's tokens verify against them.
    - Programs in other languages control it by routes under `/_emulator/` (see
      `fastapi_stepup.testing.emulator.admin_api`), and people by the page at `/`.

    Users sign in and step up by one-time code, authenticator app, magic link, enchanted link,
    passkey, social provider, SSO and SAML, WhatsApp, and by the flows `step-up` and
    `sign-up-or-in`, which `<descope-wc>` and the React component show. They also sign in by
    password, and machines by access key.

    A test plays the user by these calls:
    - `outbox` has the codes and links that were sent.
    - `totp_code` returns the code that the authenticator app shows.
    - `passkey` (or your own `SoftwarePasskey`) gives the browser's answer.
    - `open_link` opens a link that was sent.
    - `social_login` and `send_whatsapp` complete the page that a start leads to.

    Known of the real service, and enforced:

    - Every call's bearer begins with the project id (401). `me`, refresh and logout need the
      refresh token.
    - A sign-in with `stepup` or `mfa` needs the refresh token. The verification that follows brings
      none: the service keeps the purpose with the code, link or challenge.
    - `su` is `true` on the session JWT of a step-up only. The refresh JWT never has it, so a
      refresh loses it. A stepped-up session expires after its own lifetime (default ten minutes).
    - One live code per user; tries, sends and lifetime of codes are limited; no reply contains a
      code or a link.
    - A logout revokes refresh tokens. Session tokens stay good until they expire.
    - Twelve earlier keys stay valid when keys rotate; none when they are revoked.
    - Tokens in the body or in cookies, and rotation of the refresh token, by setting.
    - Error bodies, error codes, masked addresses, and 429 with `Retry-After`.

    Guesses, because no public source says. Guesses about one method are in its module's docstring:

    - HTTP statuses of the error codes for one-time codes, links and sessions (401), and which code
      answers a step-up without a refresh token (400 `E011002`), with a bad one (401 `E061005`),
      with one of another user (400 `E011004`), and a wrong project id (401 `E011004`).
    - The login id of a step-up must be one of the refresh token's user. Social login and SSO assume
      the worst case: any account at the provider gets the session.
    - A started step-up ends with its session's logout (401 `E064001`).
    - `amr` after step-up: earlier and new methods together, and `mfa` when they are two or more.
    - The sizes of the limits, the sends limit's error (429 `E130429`), and `sms` as the `amr` of a
      call.
    - `revokeOtherSessions` ends all other sessions of the user, whatever their type.
    - Custom claims of a sign-in are nested in `nsec`.
    - CORS as a browser on this machine needs it: any loopback origin, with credentials.

    Not there, by the names of the official SDKs:

    - `management`, `mgmt`: the management API is for administration and signs no user in. Only its
      licence call is answered. Users are created by `create_user`.
    - `oauth.startNative`, `oauth.finishNative`: native providers of mobile devices; their signed
      answers cannot be made here.
    - `oauth.getOneTapClientId`, `oauth.verifyOneTapIDToken`, `oauth.exchangeOneTapIDToken`: they
      take an id token that Google signed.
    - `outbound.connect`: connects a signed-in user to another service and signs no user in.
    - Delivery methods of links beyond `email`, `sms`, `whatsapp` and `im` (magic link) or `email`
      and `sms` (enchanted link): the Node SDK has no others, and the Python SDK's other values are
      answered 404.

    Args:
        project_id: `P` and 27 characters; any letters, digits, `-` and `_` are taken.
        issuer: The `iss` of every token; by default the bare project id, as Descope's default is.
        clock: The time in seconds since the epoch; by default `time.time()`. Verifiers read their
            own clock: to test age, pass `age=` to `sign_in` and `step_up` instead of moving this.
        response_mode: `body`, or `cookies`: the refresh token goes into the cookie `DSR`, and is
            read from there too where the bearer has none.
        session_cookie: Whether the session token goes into the cookie `DS` in place of the body.
            The Python SDK does not read it.
        rotate_refresh: Whether a refresh replaces the refresh token.
        select_keeps_step_up: Whether a stepped-up session stays so when a tenant is selected.
        session_lifetime: Seconds that a plain session JWT is good for.
        step_up_lifetime: Seconds that a stepped-up session JWT is good for.
        refresh_lifetime: Seconds that a refresh JWT is good for.
        code_lifetime: Seconds that a one-time code is good for, and a link, a challenge, or a
            sign-in at a provider.
        max_attempts: Wrong codes (`E061102`) after which only a new code helps (`E061103`).
        max_sends: Messages to one user within *sends_window*.
        sends_window: Seconds over which sends are counted.
        ui: A folder of the npm package `@descope/web-components-ui`, whose elements the screens of
            flows then show; by default they are plain HTML.

    Raises:
        ValueError: *project_id* has other characters, *response_mode* is neither, or *ui* is not
            that package.
    """

    def __init__(
        self,
        project_id: str = DEFAULT_PROJECT_ID,
        *,
        issuer: str | None = None,
        clock: Callable[[], float] | None = None,
        response_mode: Literal["body", "cookies"] = "body",
        session_cookie: bool = False,
        rotate_refresh: bool = False,
        select_keeps_step_up: bool = False,
        session_lifetime: int = 600,
        step_up_lifetime: int = 600,
        refresh_lifetime: int = 28 * 24 * 3600,
        code_lifetime: float = 180,
        max_attempts: int = 5,
        max_sends: int = 10,
        sends_window: float = 600,
        ui: str | PathLike[str] | None = None,
    ) -> None:
        if not _PROJECT_ID.fullmatch(project_id):
            raise ValueError(
                "A project id has letters, digits, '-' and '_' only, like 'P' and 27 characters."
            )
        if response_mode not in ("body", "cookies"):
            raise ValueError("The response mode is 'body' or 'cookies'.")
        self.max_attempts = max_attempts
        self.max_sends = max_sends
        self.code_lifetime = code_lifetime
        super().__init__(
            Settings(
                project_id,
                issuer=issuer or project_id,
                clock=clock or _now,
                limits=Limits(code_lifetime, max_attempts, max_sends, sends_window),
                responses=TokenResponses(response_mode == "cookies", session_cookie),
                rotate_refresh=rotate_refresh,
                select_keeps_step_up=select_keeps_step_up,
                session_lifetime=session_lifetime,
                step_up_lifetime=step_up_lifetime,
                refresh_lifetime=refresh_lifetime,
                ui=None if ui is None else UIPackage(Path(ui)),
            )
        )
        self._cors = CORSMiddleware(
            self._receive,
            allow_origin_regex=LOOPBACK_ORIGIN,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )

    def __repr__(self) -> str:
        return f"DescopeEmulator(project_id={self.project_id!r})"

    def _build(self) -> None:
        super()._build()
        self._app = Starlette(
            routes=self._methods.routes(),
            exception_handlers={
                Refusal: answer_refusal,
                HTTPException: answer_http_exception,
            },
        )

    @property
    def transport(self) -> Any:
        """A transport for `AsyncClient` of `httpx` and of `httpx2`: reaches this emulator only.

        Every host name leads here. Its type is `Any`, because neither library takes the other's.
        """
        return EmulatorTransport(self)

    @contextmanager
    def attach(self, guard: "StepUpGuard") -> "Iterator[DescopeEmulator]":
        """Send all of *guard*'s HTTP here until the context ends.

        The guard works on a second set of parts meanwhile, made from the same settings: its caches
        are empty at the start, and the first set is as it was at the end.

        Raises:
            TypeError: *guard* is no guard.
            ConfigurationError: The guard was constructed from ready parts, without `parts_on`.
            ValueError: The guard is for another project, so it would accept none of the tokens.
        """
        if not hasattr(guard, "on_transport"):
            raise TypeError(f"attach takes a StepUpGuard, not {type(guard).__name__}.")
        if guard.project_id != self.project_id:
            raise ValueError(
                f"The guard is for project {guard.project_id!r} and the emulator for "
                f"{self.project_id!r}; pass DescopeEmulator(project_id=guard.project_id)."
            )
        with guard.on_transport(self.transport):
            yield self

    @contextmanager
    def serve(self, *, port: int = 0) -> Iterator[str]:
        """Serve the emulator on loopback, from a thread, until the context ends.

        The value is the base URL, for SDKs that take no transport. Other hosts are served by
        `python -m fastapi_stepup.testing --host`.

        Args:
            port: The port; 0 takes a free one.

        Raises:
            ImportError: uvicorn is not installed (the `demo` extra).
            OSError: The port is taken.
        """
        with served(self, port=port) as base_url:
            yield base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._cors(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**tidy(scope), EMULATOR_KEY: self}
        route = route_of(scope)
        if route == "/" or route.startswith(ADMIN_PREFIX):
            await (FOREIGN_PAGE if is_foreign(scope) else ADMIN_APP)(scope, receive, send)
            return
        await self._request_log.handle(self._app, scope, receive, send)
