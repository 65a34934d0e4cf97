"""StepUpRoute, and any route after `install`: refused before the body is read."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response, UploadFile
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Message

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard, StepUpRoute, install
from fastapi_stepup.errors import StepUpError
from fastapi_stepup.events import Event, ReportOnly, TokenCache
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.support.exchange import ANN, bearer, scope_for

MULTIPART = (b"content-type", b"multipart/form-data; boundary=b")
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
MEGABYTE = 1024 * 1024


async def upload(file: UploadFile) -> int:
    """Answer with the size of the file."""
    return len(await file.read())


def take(item: dict[str, int]) -> dict[str, int]:
    """Answer with the JSON body."""
    return item


def on_its_router(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an app whose router has the class and the dependency."""
    router = APIRouter(route_class=StepUpRoute, dependencies=[Depends(RequireStepUp(guard))])
    router.post("/upload")(endpoint)
    app = FastAPI()
    app.include_router(router)
    return app


def on_an_outer_router(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an app where including the router brings the dependency."""
    router = APIRouter(route_class=StepUpRoute)
    router.post("/upload")(endpoint)
    outer = APIRouter()
    outer.include_router(router, dependencies=[Depends(RequireStepUp(guard))])
    app = FastAPI()
    app.include_router(outer)
    return app


def on_the_app(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an app with a dependency for all of it, whose own routes have the class."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(guard))])
    app.router.route_class = StepUpRoute
    app.post("/upload")(endpoint)
    return app


def below_another(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an app whose dependency has ours below it."""

    def signed_in(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> None: ...

    router = APIRouter(route_class=StepUpRoute)
    router.post("/upload", dependencies=[Depends(signed_in)])(endpoint)
    app = FastAPI()
    app.include_router(router)
    return app


def installed(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an app with plain routes, installed."""
    app = FastAPI()
    app.post("/upload", dependencies=[Depends(RequireStepUp(guard))])(endpoint)
    install(app, guard)
    return app


def installed_below_a_middleware(guard: StepUpGuard, endpoint: Callable[..., Any]) -> FastAPI:
    """Return an installed app with a middleware that passes the body on, and a plain router."""
    router = APIRouter(dependencies=[Depends(RequireStepUp(guard))])
    router.post("/upload")(endpoint)
    app = FastAPI()
    install(app, guard)
    app.include_router(router)

    async def timed(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Time"] = "1"
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=timed)
    return app


BUILDS = [
    on_its_router,
    on_an_outer_router,
    on_the_app,
    below_another,
    installed,
    installed_below_a_middleware,
]


def send_upload(app: FastAPI, fields: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Upload 13 MB; return the status and how many chunks were read."""
    chunks = [HEAD, *[b"x" * MEGABYTE] * 13, b"\r\n--b--\r\n"]
    waiting = list(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await anyio.sleep_forever()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, scope_for("/upload", "POST", headers=[MULTIPART, *fields]), receive, send)
    return sent[0]["status"], len(chunks) - len(waiting)


@pytest.mark.parametrize("build", BUILDS)
def test_no_chunk_of_an_upload_is_read_before_the_refusal(
    build: Callable[..., FastAPI], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Neither without a session nor without a step-up; with one all of it is."""
    signed_in = f"Bearer {descope.sign_in(ANN).session_token}".encode()

    assert send_upload(build(guard, upload), []) == (401, 0)
    assert send_upload(build(guard, upload), [(b"authorization", signed_in)]) == (401, 0)
    assert send_upload(build(guard, upload), bearer(descope)) == (200, 15)


@pytest.mark.parametrize("build", BUILDS)
def test_a_body_is_judged_after_the_caller(
    build: Callable[..., FastAPI],
    guard: StepUpGuard,
    descope: DescopeEmulator,
    subtests: pytest.Subtests,
) -> None:
    """A bad body is an error of its own only for those who may send a good one."""
    rows: list[tuple[bytes, str, int]] = [
        (b"{", "application/json", 422),
        (b'{"a": "x"}', "application/json", 422),
        (b"a=1", "application/x-www-form-urlencoded", 422),
        (b"\xff", "application/json", 400),
        (b"", "text/plain", 422),
    ]
    for content, kind, judged in rows:
        with subtests.test(content=content):
            client = TestClient(build(guard, take))
            fields = {"Content-Type": kind}

            assert client.post("/upload", content=content, headers=fields).status_code == 401
            for tokens, status in ((descope.sign_in(ANN), 401), (descope.step_up(ANN), judged)):
                headers = fields | tokens.headers
                assert (
                    client.post("/upload", content=content, headers=headers).status_code == status
                )


@pytest.mark.parametrize("build", BUILDS)
def test_the_dependency_finds_the_result(
    build: Callable[..., FastAPI], descope: DescopeEmulator
) -> None:
    """The token is looked at once."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(descope.project_id, on_event=events.append)
    with descope.attach(guard):
        client = TestClient(build(guard, take))
        response = client.post("/upload", json={"a": 1}, headers=descope.step_up(ANN).headers)

    assert response.json() == {"a": 1}
    assert [event for event in events if isinstance(event, TokenCache)] == [TokenCache("miss")]


@pytest.mark.parametrize("build", BUILDS)
def test_overrides_are_respected(build: Callable[..., FastAPI], guard: StepUpGuard) -> None:
    """A test of the app that replaces the dependency gets through."""
    app = build(guard, take)
    app.dependency_overrides[RequireStepUp(guard)] = lambda: None

    assert TestClient(app).post("/upload", json={"a": 1}).json() == {"a": 1}


def test_an_override_of_what_stands_above_is_respected(guard: StepUpGuard) -> None:
    """A dependency below a replaced one is not asked."""

    def signed_in(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    router = APIRouter(route_class=StepUpRoute)

    @router.post("/upload")
    def who(name: Annotated[str, Depends(signed_in)], item: Annotated[int, Body()]) -> str:
        return f"{name} {item}"

    app = FastAPI()
    app.include_router(router)
    app.dependency_overrides[signed_in] = lambda: "Ann"

    assert TestClient(app).post("/upload", json=1).json() == "Ann 1"


def test_a_kind_of_its_own_decides_when_it_is_its_turn(guard: StepUpGuard) -> None:
    """A subclass may let pass what ours refuses."""

    class Optional(RequireSession):
        """A dependency that refuses no request."""

        async def __call__(self, connection: HTTPConnection) -> Any:
            """Return the claims, if there are any."""
            try:
                return await super().__call__(connection)
            except StepUpError:
                return None

    router = APIRouter(route_class=StepUpRoute, dependencies=[Depends(Optional(guard))])
    router.post("/upload")(take)
    app = FastAPI()
    install(app, guard)
    app.include_router(router)

    assert TestClient(app).post("/upload", json={"a": 1}).json() == {"a": 1}


@pytest.mark.parametrize("build", BUILDS)
def test_report_only_reports_once(build: Callable[..., FastAPI], descope: DescopeEmulator) -> None:
    """The early decision asks for the session that the dependency needs, and no more."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(descope.project_id, on_event=events.append, report_only=True)
    with descope.attach(guard):
        client = TestClient(build(guard, take))
        passed = client.post("/upload", json={"a": 1}, headers=descope.sign_in(ANN).headers)
        refused = client.post("/upload", content=b"{")

    assert (passed.status_code, refused.status_code) == (200, 401)
    code = "insufficient_user_authentication"
    assert [event for event in events if isinstance(event, ReportOnly)] == [ReportOnly(code)]


def test_a_route_without_a_guard_is_as_ever(guard: StepUpGuard) -> None:
    """Open routes read their body, and say what is wrong with it."""
    router = APIRouter(route_class=StepUpRoute)
    router.post("/open")(take)
    app = FastAPI()
    install(app, guard)
    app.include_router(router)
    client = TestClient(app)

    assert client.post("/open", json={"a": 1}).json() == {"a": 1}
    assert client.post("/open", content=b"{").status_code == 422


def test_the_refusal_is_the_usual_one(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Challenge, policy and body are those of the dependency."""
    apps = [FastAPI(), FastAPI()]
    for app, kind in zip(apps, (StepUpRoute, None), strict=True):
        router = APIRouter(**({"route_class": kind} if kind else {}))  # type: ignore[arg-type]
        router.post("/pay", dependencies=[Depends(RequireStepUp(guard, max_age="5m"))])(take)
        app.include_router(router)
    headers = descope.sign_in(ANN).headers

    early, late = (TestClient(app).post("/pay", json={"a": 1}, headers=headers) for app in apps)

    assert_step_up_challenge(early, max_age=300)
    assert (early.content, early.headers) == (late.content, late.headers)


def test_a_middleware_that_reads_the_body_first_still_works(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """No route is known then; the dependency decides."""
    app = installed(guard, take)

    async def logged(request: Request, call_next: Any) -> Response:
        await request.body()
        response: Response = await call_next(request)
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=logged)
    client = TestClient(app)

    assert client.post("/upload", json={"a": 1}).status_code == 401
    headers = descope.step_up(ANN).headers
    assert client.post("/upload", json={"a": 1}, headers=headers).json() == {"a": 1}


def test_a_long_answer_outlives_its_step_up(descope: DescopeEmulator) -> None:
    """The decision was made; what a stream receives later does not make it anew."""
    now = [time.time()]
    guard = StepUpGuard.for_descope(descope.project_id, clock=lambda: now[0])
    app = FastAPI()
    install(app, guard)

    @app.get("/report", dependencies=[Depends(RequireStepUp(guard, max_age=60))])
    async def report() -> StreamingResponse:
        now[0] += 120
        return StreamingResponse(iter(["all", " of it"]))

    with descope.attach(guard):
        response = TestClient(app).get("/report", headers=descope.step_up(ANN).headers)

    assert (response.status_code, response.text) == (200, "all of it")


class Unhashable:
    """An endpoint that is no key of a mapping."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, item: dict[str, int]) -> dict[str, int]:
        """Answer with the JSON body."""
        return item


@pytest.mark.parametrize("overrides", [{}, {take: take}])
@pytest.mark.parametrize("build", [on_its_router, installed])
def test_an_endpoint_need_not_be_hashable(
    build: Callable[..., FastAPI],
    overrides: dict[Any, Any],
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """No override can replace an endpoint, so it is not looked up among them."""
    app = build(guard, Unhashable())
    app.dependency_overrides.update(overrides)

    response = TestClient(app).post("/upload", json={"a": 1}, headers=descope.step_up(ANN).headers)

    assert response.json() == {"a": 1}


@pytest.mark.parametrize("is_replaced", [False, True])
def test_an_earlier_dependency_may_supply_the_token(
    *, is_replaced: bool, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The token is in no header field, so the head alone says nothing about the caller."""

    async def from_form(request: Request) -> None:
        token = str((await request.form())["token"])
        await guard.authorize(request, token=token)

    def nothing() -> None:
        """Stand for what is replaced."""

    asked = nothing if is_replaced else from_form
    app = FastAPI(dependencies=[Depends(asked), Depends(RequireStepUp(guard))])
    app.post("/upload")(upload)
    install(app, guard)
    if is_replaced:
        app.dependency_overrides[nothing] = from_form
    client = TestClient(app)
    files = {"file": ("a", b"abc")}

    plain, fresh = (make(ANN).session_token for make in (descope.sign_in, descope.step_up))

    assert client.post("/upload", files=files, data={"token": fresh}).json() == 3
    assert_step_up_challenge(client.post("/upload", files=files, data={"token": plain}))


def test_a_later_dependency_changes_nothing(guard: StepUpGuard) -> None:
    """Nor does one that does not see the request: no chunk is read before the refusal."""

    def blind() -> None:
        """Do nothing."""

    def late(request: Request) -> None:
        """Do nothing."""

    app = FastAPI(dependencies=[Depends(blind), Depends(RequireStepUp(guard)), Depends(late)])
    app.post("/upload")(upload)
    install(app, guard)

    assert send_upload(app, []) == (401, 0)
