"""No token, code or address in a log, a frame, an error report or a debug page."""

import asyncio
import logging
import re
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import httpx
import httpx2
import pytest
import sentry_sdk
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from sentry_sdk.transport import Transport
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, install, stepup_router
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.testing import DescopeEmulator
from tests.support.step_up_methods import (
    ANN,
    BY_NAME,
    METHODS,
    ORIGIN,
    PAGES,
    PHONE,
    MethodCase,
    Person,
    add_user,
    app_for,
    each_method,
    signed_in,
)

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}")


def secrets_of(proof: dict[str, Any]) -> list[str]:
    """Return the parts of a proof that must be nowhere."""
    return [ANN, PHONE, *(str(value) for value in proof.values() if len(str(value)) > 5)]


@pytest.mark.parametrize(
    "name", [pytest.param("otp-email", id="OB-001-otp"), pytest.param("passkey", id="OT-035-all")]
)
def test_no_log_record_holds_a_secret(
    guard: StepUpGuard, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every logger at DEBUG, httpx and httpcore too, over a real socket, good and bad."""
    case = BY_NAME[name]
    emulator = DescopeEmulator(
        guard.project_id, response_mode="cookies", session_cookie=True, max_sends=1000
    )
    with emulator.serve() as url:
        served = StepUpGuard.for_descope(guard.project_id, base_url=url)
        add_user(emulator, ANN)
        ann = Person(served, emulator)
        case.prepare(ann)
        caplog.set_level(logging.DEBUG)

        proof = case.proof(ann)
        done = ann.post(case.finish, **proof)
        replayed = ann.post(case.finish, **proof)
        ann.post("/status")
        ann.post("/otp/start", delivery="sms", refresh_token="eyJhbGciOiJSUzI1NiJ9.e30.x")
        emulator.fail(500, times=9, path="/v1/auth")
        ann.post(case.finish, **proof)
        ann.by_cookie = True
        ann.post(case.finish, **proof)

    assert (done.status_code, replayed.status_code) == (200, 400)
    logged = "\n".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)
    assert "send_request_headers.started" in logged
    assert not TOKEN.search(logged)
    sent = [text for m in emulator.outbox for text in (m.code, m.token) if text]
    secrets = [ANN, "ann@", PHONE, *sent, *(v for v in proof.values() if len(str(v)) > 8)]
    assert [secret for secret in secrets if str(secret) in logged] == []


def locals_of_ours(frames: TracebackType | None) -> str:
    """Return the `repr` of every local variable in a frame of the package, but for ASGI scopes.

    A scope has the header fields, and is in the frames of Starlette and of every middleware too.
    """
    return "\n".join(
        repr({name: value for name, value in frame.f_locals.items() if name != "scope"})
        for frame, _ in traceback.walk_tb(frames)
        if "/fastapi_stepup/" in frame.f_code.co_filename
    )


@pytest.mark.parametrize(
    "name", [pytest.param(n, id=f"OT-034-{n}") for n in ("otp-email", "totp", "magiclink-email")]
)
def test_refusal_leaves_no_frame(ann: Person, name: str) -> None:
    """An app's own handler gets the error without a traceback, a cause or a context."""
    case = BY_NAME[name]
    seen: list[str] = []
    app = app_for(ann.guard)

    @app.exception_handler(StepUpError)
    async def report(_: Request, error: StepUpError) -> PlainTextResponse:
        assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)
        seen.append(f"{error!r} {error} {error.args}")
        return PlainTextResponse("reported", error.status_code)

    ann.client = TestClient(app, base_url=ORIGIN)
    proof = case.proof(ann)
    ann.descope.fail(500, path=case.asks)
    statuses = [ann.post(case.finish, **proof).status_code]
    ann.descope.tamper(sub="U2somebody")
    statuses.append(ann.post(case.finish, **proof).status_code)
    statuses.append(ann.post(case.finish, **proof).status_code)
    statuses.append(ann.post(case.finish, **proof, nonsense=1).status_code)

    assert statuses == [503, 403, 400, 422]
    assert len(seen) == 4
    assert not TOKEN.search(" ".join(seen))
    assert [secret for secret in secrets_of(proof) if secret in " ".join(seen)] == []


class Failing(httpx.AsyncBaseTransport):
    """Leads to the emulator, and breaks off below one path."""

    def __init__(self, inner: Any, path: str, error: BaseException) -> None:
        self.inner, self.path, self.error = inner, path, error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass on, or break."""
        if request.url.path.startswith(self.path):
            raise self.error
        response: httpx.Response = await self.inner.handle_async_request(request)
        return response


@pytest.mark.parametrize("error", [asyncio.CancelledError()], ids=repr)
@each_method
def test_frames_of_a_broken_off_request_hold_no_secret(
    ann: Person, case: MethodCase, error: BaseException
) -> None:
    """A cancellation passes through frames without one; any other error becomes an answer."""
    proof = case.proof(ann)
    caught: list[str] = []

    class Catching:
        """Collects what passes through, as an error reporter does."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except BaseException as passing:  # noqa: BLE001  # a cancellation too
                caught.append(locals_of_ours(passing.__traceback__))
                raise RuntimeError from None

    transport = Failing(ann.descope.transport, case.asks, error)
    client = TestClient(Catching(ann.client.app), base_url=ORIGIN)
    with ann.guard.on_transport(transport), pytest.raises(RuntimeError):
        client.post(
            f"/step-up{case.finish}",
            headers=ann.headers,
            json=proof | {"refresh_token": ann.tokens.refresh_token},
        )

    (told,) = caught
    assert "request" in told
    assert not TOKEN.search(told)
    assert [secret for secret in secrets_of(proof) if secret in told] == []


class Collected(Transport):
    """Keeps the events of Sentry's SDK."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[str] = []

    def capture_envelope(self, envelope: Any) -> None:
        """Keep one envelope as text."""
        self.events.append(envelope.serialize().decode(errors="replace"))


@pytest.fixture
def sentry() -> Iterator[Collected]:
    """Sentry's SDK with its defaults: local variables, request bodies, server errors."""
    transport = Collected()
    sentry_sdk.init(dsn="https://key@sentry.example/1", transport=transport)
    yield transport
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


@pytest.mark.parametrize("installed", [False, True], ids=["plain", "installed"])
@pytest.mark.parametrize("status", [500, 404])
def test_server_errors_of_helper_routes_are_no_events_of_sentry(
    guard: StepUpGuard, sentry: Collected, status: int, *, installed: bool
) -> None:
    """It would send the body along, with code and refresh token: 503 and 502 are returned."""
    with signed_in(guard) as ann:
        app = FastAPI()
        if installed:
            install(app, guard)
        app.include_router(stepup_router(guard))

        @app.get("/broken")
        def broken() -> None:
            raise RuntimeError

        ann.client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)
        proof = BY_NAME["otp-email"].proof(ann)
        ann.descope.fail(status, times=9, path="/v1/auth/otp")
        answered = [ann.post("/otp/verify", **proof).status_code for _ in range(2)]
        # The twin: an error of the app itself is an event.
        ann.client.get("/broken")
        sentry_sdk.flush()

    assert answered == [503 if status == 500 else 502] * 2
    assert "RuntimeError" in " ".join(sentry.events)
    told = " ".join(event for event in sentry.events if '"exception"' in event)
    assert "Descope" not in told
    assert ann.tokens.refresh_token not in told


@pytest.mark.parametrize("name", ["otp-email", "oauth"])
@pytest.mark.parametrize("variable", [pytest.param("DESCOPE_MANAGEMENT_KEY", id="OT-038")])
def test_management_key_is_never_sent(
    ann: Person, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that the environment holds for the SDKs are not for these calls."""
    monkeypatch.setenv(variable, "K2secret")
    monkeypatch.setenv("DESCOPE_AUTH_MANAGEMENT_KEY", "K2secret")

    done = BY_NAME[name].complete(ann)

    assert done.status_code == 200
    assert "K2secret" not in f"{done.text} {done.headers} {ann.guard!r}"
    assert "K2secret" not in "".join(str(r.headers) for r in ann.descope.requests)


@pytest.mark.parametrize("name", [pytest.param("otp-email", id="OB-006-otp")])
def test_debug_mode_echoes_no_secret(ann: Person, name: str) -> None:
    """Nor does an app in debug mode, or one without `install`."""
    case = BY_NAME[name]
    app = FastAPI(debug=True)
    app.include_router(stepup_router(ann.guard, methods=METHODS, redirect_uris=PAGES))
    ann.client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)
    proof = case.proof(ann)
    ann.descope.fail(500, path=case.asks)

    response: httpx2.Response = ann.post(case.finish, **proof)

    assert (response.status_code, response.json()["detail"]["code"]) == (503, "descope_unavailable")
    assert [v for v in proof.values() if len(str(v)) > 5 and str(v) in response.text] == []
