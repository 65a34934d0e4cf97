"""StepUpMiddleware and StepUpRule: closed by default, whatever the spelling of a request."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Security
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    claims_from,
    install,
    stepup_router,
)
from fastapi_stepup.errors import ConfigurationError, StepUpError
from fastapi_stepup.events import Event, TokenCache
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.support.attack_requests import HOSTILE, SECRET, Sent, anything, hostile_app

ANN = "ann@example.com"
POLICY = StepUpPolicy(max_age="5m")


def exchange(app: ASGIApp, scope: Scope) -> tuple[list[Message], int]:
    """Serve one scope; return what was sent and how often the body was asked for."""
    sent: list[Message] = []
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": 65536 * b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, scope, receive, send)
    return sent, received


def scope_for(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return a scope without a token."""
    return Sent("/", method).scope | {"path": path} | more


def bearer(descope: DescopeEmulator) -> list[tuple[bytes, bytes]]:
    """Return the fields of a stepped-up request, as in a scope."""
    token = descope.step_up(ANN).session_token
    return [(b"authorization", f"Bearer {token}".encode())]


def listed(guard: StepUpGuard, *rules: StepUpRule, app: ASGIApp = anything) -> StepUpMiddleware:
    """Return an app that is open but for *rules*."""
    return StepUpMiddleware(app, guard=guard, rules=rules, default="public")


def is_open(app: ASGIApp, path: str, method: str = "GET") -> bool:
    """Whether a request without a token gets data."""
    return bool(exchange(app, scope_for(path, method))[0][0]["status"] == 200)


# -- the catalogue, in process


@pytest.mark.parametrize("sent", HOSTILE)
def test_no_data_without_a_token(
    sent: Sent, guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path
) -> None:
    """A server that lets everything through is no way around it: each request is a 401."""
    messages, received = exchange(hostile_app(guard, tmp_path), sent.scope)

    assert messages[0]["status"] == 401
    assert SECRET.encode() not in messages[1]["body"]
    assert received == 0


@pytest.mark.parametrize(
    "path",
    [
        "/admin/pay\n",
        "/adm\nin/pay",
        "/admin/\tpay",
        "/admin\\pay",
        "/admin/../admin/pay",
        "/./admin/pay",
        "/admin/pay/..",
        "/admin/pay\x00",
        "/admin/pay\x7f",
        "/admin/pay\x85",
        "/admin/pay\ud800",
        "admin/pay",
        "http://evil/admin/pay",
        "*",
    ],
)
def test_hostile_paths_lead_nowhere_even_with_a_token(
    path: str, guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path
) -> None:
    """404, as the app answers what it does not have; a session is asked for first."""
    app = hostile_app(guard, tmp_path)

    messages, _ = exchange(app, scope_for(path, headers=bearer(descope)))

    assert messages[0]["status"] == 404
    assert messages[1]["body"] == b'{"detail":"Not Found"}'
    assert exchange(app, scope_for(path))[0][0]["status"] == 401


def test_hostile_paths_of_a_websocket_lead_nowhere(
    guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path
) -> None:
    """A denial with 404, or close code 1008 from a server without denials."""
    app = hostile_app(guard, tmp_path)
    scope = scope_for("/ws\n", type="websocket", headers=bearer(descope))
    deniable: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}

    closed, _ = exchange(app, dict(scope))
    denied, _ = exchange(app, scope | deniable)

    assert closed == [{"type": "websocket.close", "code": 1008, "reason": "not_found"}]
    assert denied[0]["status"] == 404


# -- rules


@pytest.mark.parametrize(
    ("path", "covered", "not_covered"),
    [
        pytest.param(
            "/pay",
            ["/pay", "/pay/", "/PAY", "//pay", "/pay//", "/%70ay", "/x/%2e%2e/pay"],
            ["/", "/payx", "/pay/x", "/x/pay", "/pa"],
            id="exact",
        ),
        pytest.param("/pay/", ["/pay/", "/pay"], ["/", "/pay/x"], id="exact-with-slash"),
        pytest.param("/", ["/", ""], ["/pay"], id="root"),
        pytest.param(
            "/pay/{id}", ["/pay/1", "/pay/1/", "/pay/a b"], ["/pay", "/pay/1/2"], id="template"
        ),
        pytest.param("/n/{n:int}", ["/n/5", "/N/5"], ["/n/x", "/n/"], id="convertor"),
        pytest.param(
            "/admin/*",
            ["/admin", "/admin/", "/admin/x/y", "//admin/x", "/ADMIN/x", "/admin%2Fx"],
            ["/administrator", "/", "/x/admin"],
            id="prefix",
        ),
        pytest.param("/u/{id}/*", ["/u/1", "/u/1/x/y"], ["/u", "/u/"], id="template-prefix"),
        pytest.param("/*", ["/", "/x", "//"], [], id="everything"),
        pytest.param("/b.c", ["/b.c"], ["/bxc"], id="not-a-regular-expression"),
    ],
)
def test_a_protecting_rule_is_read_widely(
    path: str, covered: list[str], not_covered: list[str], guard: StepUpGuard
) -> None:
    """Spellings that somebody behind the app may take for the path are covered too."""
    app = listed(guard, StepUpRule(path, POLICY))

    assert [p for p in covered if is_open(app, p)] == []
    assert [p for p in not_covered if not is_open(app, p)] == []


@pytest.mark.parametrize(
    ("path", "opened", "closed"),
    [
        pytest.param("/pay", ["/pay"], ["/pay/", "/PAY", "//pay", "/%70ay"], id="exact"),
        pytest.param("/", ["/", ""], ["/x", "//"], id="root"),
        pytest.param("/pay/{id}", ["/pay/1"], ["/pay/1/", "/pay/1/2", "/Pay/1"], id="template"),
        pytest.param(
            "/health/*",
            ["/health", "/health/", "/health/live"],
            ["/healthz", "/Health", "//health", "/health/../admin", "/health/..\\admin"],
            id="prefix",
        ),
    ],
)
def test_a_public_rule_is_read_to_the_letter(
    path: str, opened: list[str], closed: list[str], guard: StepUpGuard
) -> None:
    """Whatever is not exactly what it opens stays closed."""
    app = StepUpMiddleware(anything, guard=guard, rules=[StepUpRule(path, "public")])

    assert [p for p in opened if not is_open(app, p)] == []
    assert [p for p in closed if is_open(app, p)] == []


@pytest.mark.parametrize(
    ("methods", "opened", "closed"),
    [
        pytest.param(None, ["GET", "HEAD", "POST", "FOO"], [], id="all"),
        pytest.param(["GET"], ["GET", "HEAD"], ["POST", "get", "FOO", "OPTIONS"], id="get"),
        pytest.param(["HEAD"], ["HEAD"], ["GET", "POST"], id="head-does-not-open-get"),
        pytest.param({"QUERY", "POST"}, ["POST", "QUERY"], ["GET", "post", "PUT"], id="several"),
    ],
)
def test_methods_of_a_public_rule(
    methods: Any, opened: list[str], closed: list[str], guard: StepUpGuard
) -> None:
    """MW-021: `GET` stands for `HEAD` too; nothing else for anything."""
    rule = StepUpRule("/x", "public", methods=methods)
    app = StepUpMiddleware(anything, guard=guard, rules=[rule])

    assert [m for m in opened if not is_open(app, "/x", m)] == []
    assert [m for m in closed if is_open(app, "/x", m)] == []


def test_methods_of_a_protecting_rule(guard: StepUpGuard) -> None:
    """Methods that nobody knows, and WebSockets, are covered whatever it lists."""
    app = listed(guard, StepUpRule("/x", POLICY, methods=["POST"]))

    assert [m for m in ("GET", "PUT", "HEAD", "OPTIONS") if not is_open(app, "/x", m)] == []
    assert [m for m in ("POST", "post", "FOO", "PROPFIND") if is_open(app, "/x", m)] == []
    assert app.demands("/x", None) == (POLICY,)


def test_the_first_rule_that_matches_wins(guard: StepUpGuard) -> None:
    """The order is the developer's, and the default comes last."""
    app = StepUpMiddleware(
        anything,
        guard=guard,
        rules=[
            StepUpRule("/a/open", "public"),
            StepUpRule("/a/*", "session"),
            StepUpRule("/a/b", POLICY),
        ],
    )

    assert app.demands("/a/open", "GET") == ()
    assert app.demands("/a/b", "GET") == ("session",)
    assert app.demands("/c", "GET") == (StepUpPolicy(),)


def test_what_only_resembles_a_weaker_rule_does_not_escape_the_default(guard: StepUpGuard) -> None:
    """An odd spelling or method brings what both readings ask for."""
    app = StepUpMiddleware(
        anything,
        guard=guard,
        rules=[StepUpRule("/api/*", "session", methods=["GET"]), StepUpRule("/me", "session")],
    )

    assert app.demands("/api/x", "GET") == ("session",)
    assert app.demands("/api/x", "FOO") == ("session", StepUpPolicy())
    assert app.demands("/me/", "GET") == ("session", StepUpPolicy())
    assert app.demands("/api/x", None) == ("session", StepUpPolicy())


def test_both_readings_are_enforced(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A session alone does not pass where the odd spelling meets the default."""
    rules = [StepUpRule("/me", "session")]
    client = TestClient(StepUpMiddleware(anything, guard=guard, rules=rules))
    signed_in = descope.sign_in(ANN).headers

    assert client.get("/me", headers=signed_in).text == SECRET
    assert_step_up_challenge(client.get("/me/", headers=signed_in))
    assert client.get("/me/", headers=descope.step_up(ANN).headers).text == SECRET


def test_files_behind_a_public_mount_stay_protected(
    guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path
) -> None:
    """`StaticFiles` ignores doubled slashes, so a rule below a public mount does too."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.txt").write_text(SECRET)
    (tmp_path / "logo.txt").write_text("logo")
    app = StepUpMiddleware(
        Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))]),
        guard=guard,
        rules=[StepUpRule("/static/private/*", POLICY), StepUpRule("/static/*", "public")],
    )

    assert is_open(app, "/static/logo.txt")
    assert not is_open(app, "/static//private/secret.txt")
    assert not is_open(app, "/static/private//secret.txt")
    assert not is_open(app, "/static///private///secret.txt")


def test_long_paths_and_methods_are_judged_alike(guard: StepUpGuard) -> None:
    """Verdicts on usual ones are kept, those on others are not; both are the same."""
    app = StepUpMiddleware(anything, guard=guard, rules=[StepUpRule("/open/*", "public")])

    assert is_open(app, f"/open/{1000 * 'x'}", "GET")
    assert is_open(app, "/open/x", 1000 * "X")
    assert not is_open(app, f"/closed/{1000 * 'x'}", "GET")
    assert not is_open(app, f"/open/../{1000 * 'x'}", "GET")


def test_rules_compare_by_what_they_say() -> None:
    """Rules are values, and say in their `repr` what they are about."""
    rule = StepUpRule("/a", "session", methods=["GET"])

    assert rule == StepUpRule("/a", "session", methods={"GET"})
    assert rule != StepUpRule("/a", "session")
    assert hash(rule) == hash(StepUpRule("/a", "session", methods={"GET"}))
    assert "_exact" not in repr(rule)


# -- construction (CF-011)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "health",
        "*",
        "/health*",
        "/*/x",
        "/a/**",
        "^/health$",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a%2Fb",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\\b",
        "/a\n",
        "/{id",
        "/id}",
        "/{}",
        "/{id:unknown}",
        "/{id}/{id}",
        re.compile("/regex"),
        None,
        b"/bytes",
    ],
)
def test_a_path_that_is_no_path_is_refused(path: Any) -> None:
    """Nothing that could mean more, less or something else than it says."""
    with pytest.raises(ConfigurationError, match="of a rule"):
        StepUpRule(path, "public")


@pytest.mark.parametrize("require", [None, "", "open", "step_up", True, POLICY.max_age, [POLICY]])
def test_a_requirement_that_is_none_is_refused(require: Any, guard: StepUpGuard) -> None:
    """A typo does not open anything."""
    with pytest.raises(ConfigurationError, match="require is a StepUpPolicy"):
        StepUpRule("/a", require)


@pytest.mark.parametrize("methods", [[], "", "POST", ["post"], ["PSOT"], [1], 5])
def test_methods_that_nobody_knows_are_refused(methods: Any) -> None:
    """A rule for a misspelt method would never match."""
    with pytest.raises(ConfigurationError, match="methods is None or a set of"):
        StepUpRule("/a", "public", methods=methods)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"guard": None}, "guard=StepUpGuard", id="guard"),
        pytest.param({"rules": ["/a"]}, "rules is a sequence", id="rules"),
        pytest.param({"rules": StepUpRule("/a", "public")}, "rules is a sequence", id="one-rule"),
        pytest.param({"default": "open"}, "default is a StepUpPolicy", id="default"),
    ],
)
def test_construction_refuses(arguments: dict[str, Any], message: str, guard: StepUpGuard) -> None:
    """CF-010: a middleware without a guard or with half a rule does not start."""
    with pytest.raises(ConfigurationError, match=message):
        StepUpMiddleware(anything, **{"guard": guard} | arguments)


def test_no_default_is_step_up(guard: StepUpGuard) -> None:
    """`None` is not a way to turn it off."""
    assert StepUpMiddleware(anything, guard=guard, default=None).default == StepUpPolicy()


# -- scopes


def test_lifespan_is_untouched(guard: StepUpGuard) -> None:
    """MW-046: the app's start and stop run as without the middleware."""
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events.append("start")
        yield
        events.append("stop")

    inner = Starlette(lifespan=lifespan)
    with TestClient(StepUpMiddleware(inner, guard=guard)):
        assert events == ["start"]
    assert events == ["start", "stop"]


@pytest.mark.parametrize("kind", ["webtransport", "http2", ""])
def test_unknown_scope_types_are_refused(kind: str, guard: StepUpGuard) -> None:
    """MW-045: what cannot be judged does not get through, not even with everything public."""
    app = StepUpMiddleware(anything, guard=guard, default="public")

    with pytest.raises(RuntimeError, match="cannot guard"):
        exchange(app, {"type": kind})


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("/v", "/v1/x"),
        ("/v", "/v/v1/x"),
        ("/adm", "/admin"),
        ("/adm", "/adm/admin"),
        ("/v", "/v"),
        ("", "/v1/x"),
    ],
)
def test_root_path_is_cut_at_a_segment(root_path: str, path: str, guard: StepUpGuard) -> None:
    """MW-029: the path is what the router sees, so no prefix makes it another one."""
    rules = [StepUpRule(p, POLICY) for p in ("/v1/x", "/admin", "/")]
    app = listed(guard, *rules)

    assert exchange(app, scope_for(path, root_path=root_path))[0][0]["status"] == 401


def test_root_path_of_a_wrapped_fastapi_app_counts(guard: StepUpGuard) -> None:
    """FastAPI puts its own `root_path` into the scope, after a middleware around it has looked."""
    app = FastAPI()
    app.root_path = "/api"
    app.add_api_route("/admin/pay", lambda: SECRET)
    around = listed(guard, StepUpRule("/admin/*", POLICY), app=CORSMiddleware(app))

    assert not is_open(around, "/api/admin/pay")
    assert not is_open(around, "/admin/pay")


def test_streaming_is_untouched(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Messages pass one by one as the app sends them, and those of the body as they arrive."""

    async def echo(request: Request) -> Response:
        return StreamingResponse(request.stream())

    app = StepUpMiddleware(Starlette(routes=[Route("/", echo, methods=["POST"])]), guard=guard)
    chunks = iter([b"one", b"two", b""])
    sent: list[bytes] = []

    async def receive() -> Message:
        chunk = next(chunks)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    async def send(message: Message) -> None:
        sent.append(message.get("body", b"start"))

    anyio.run(app, scope_for("/", "POST", headers=bearer(descope)), receive, send)

    assert sent == [b"start", b"one", b"two", b"", b""]


def test_an_upload_is_refused_without_reading_it(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """MW-051: a gigabyte without a token costs one answer; with one the app reads as it likes."""

    async def read_twice(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await anything(scope, receive, send)

    app = StepUpMiddleware(read_twice, guard=guard)
    length = (b"content-length", b"1073741824")

    messages, received = exchange(app, scope_for("/", "POST", headers=[length]))
    allowed, read = exchange(app, scope_for("/", "POST", headers=[length, *bearer(descope)]))

    assert (messages[0]["status"], received) == (401, 0)
    assert (allowed[0]["status"], read) == (200, 2)


# -- claims


def test_claims_are_verified_once(descope: DescopeEmulator) -> None:
    """Middleware, dependencies, handler: one look at the token, whatever each of them asks."""
    events: list[Event] = []
    guard = StepUpGuard.for_descope(descope.project_id, on_event=events.append)
    app = FastAPI(dependencies=[Depends(RequireSession(guard))])
    app.add_middleware(StepUpMiddleware, guard=guard)

    @app.get("/pay")
    async def pay(
        request: Request, claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age=60))]
    ) -> bool:
        return claims_from(request) is claims is await guard.authorize(request, POLICY)

    with descope.attach(guard):
        response = TestClient(app).get("/pay", headers=descope.step_up(ANN).headers)

    assert response.json() is True
    assert [event for event in events if isinstance(event, TokenCache)] == [TokenCache("miss")]


def test_claims_do_not_outlive_their_token_in_a_copied_scope(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """An endpoint that runs a batch as requests of others does not lend them its claims."""

    async def batch(scope: Scope, receive: Receive, send: Send) -> None:
        for fields in ([], [(b"authorization", b"Bearer x.y.z")]):
            await inner({**scope, "headers": fields}, receive, send)

    inner = StepUpMiddleware(anything, guard=guard)
    outer = StepUpMiddleware(batch, guard=guard)

    messages, _ = exchange(outer, scope_for("/", headers=bearer(descope)))

    assert [m["status"] for m in messages if "status" in m] == [401, 401]


def test_two_guards_do_not_share_claims(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """MW-049, CF-014: what one project's guard lets in is a stranger to another's."""
    other = StepUpGuard.for_descope("P2other")
    with DescopeEmulator("P2other").attach(other) as elsewhere:
        app = StepUpMiddleware(
            StepUpMiddleware(anything, guard=other), guard=guard, default="session"
        )
        client = TestClient(app)

        assert client.get("/", headers=descope.step_up(ANN).headers).status_code == 401
        assert client.get("/", headers=elsewhere.step_up(ANN).headers).status_code == 401


def test_claims_do_not_outlive_their_request(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """MW-059: nothing of a request is left on the worker for the next one."""
    app = FastAPI()
    app.add_middleware(
        StepUpMiddleware, guard=guard, rules=[StepUpRule("/open", "public")], default="session"
    )

    @app.get("/open")
    @app.get("/closed")
    async def handler(request: Request) -> str:
        try:
            return claims_from(request).subject
        except LookupError:
            return "nobody"

    ann = descope.sign_in(ANN)
    with TestClient(app) as client:
        assert client.get("/closed", headers=ann.headers).json() == ann.user_id
        assert client.get("/open").json() == "nobody"
        assert client.get("/open", headers=ann.headers).json() == "nobody"


def test_imitated_claims_are_ignored(guard: StepUpGuard) -> None:
    """MW-047: what is put under a guessed name where claims might be kept does not count."""
    scope = scope_for("/", state={"fastapi_stepup.claims": {guard: Claims({"su": True})}})

    assert exchange(StepUpMiddleware(anything, guard=guard), scope)[0][0]["status"] == 401


# -- together with the app


def test_overridden_dependencies_do_not_weaken_it(guard: StepUpGuard) -> None:
    """MW-053: a test's override opens the dependency only."""
    app = FastAPI()
    app.add_middleware(StepUpMiddleware, guard=guard)
    door = RequireStepUp(guard)
    app.add_api_route("/pay", lambda: SECRET, dependencies=[Depends(door)])
    app.dependency_overrides[door] = lambda: None

    assert TestClient(app).get("/pay").status_code == 401


def test_dependencies_at_every_level_are_enforced(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """MW-054, MW-058: app, router and route, `Depends` and `Security`, `def` and `async def`."""
    app = FastAPI()
    asked = Depends(RequireStepUp(guard))
    router = APIRouter(prefix="/router", dependencies=[asked])

    async def asynchronous() -> str:
        return SECRET

    router.add_api_route("/pay", lambda: SECRET)
    app.include_router(router)
    app.include_router(APIRouter(routes=router.routes), prefix="/again", dependencies=[asked])
    app.add_api_route("/sync", lambda: SECRET, dependencies=[asked])
    app.add_api_route("/async", asynchronous, dependencies=[asked])
    app.add_api_route("/scopes", lambda: SECRET, dependencies=[Security(RequireStepUp(guard))])
    whole = FastAPI(dependencies=[asked])
    whole.add_api_route("/pay", lambda: SECRET)
    app.mount("/whole", whole)
    client = TestClient(app)

    for path in ("/router/pay", "/again/router/pay", "/sync", "/async", "/scopes", "/whole/pay"):
        assert client.get(path).status_code == 401
        assert_step_up_challenge(client.get(path, headers=descope.sign_in(ANN).headers))
        assert client.get(path, headers=descope.step_up(ANN).headers).json() == SECRET


def test_a_body_is_parsed_before_a_dependency_asks(guard: StepUpGuard) -> None:
    """MW-050: FastAPI reads JSON first, so broken JSON is a 422; the middleware is earlier."""
    app = FastAPI()
    app.add_api_route(
        "/pay",
        lambda: SECRET,
        methods=["POST"],
        dependencies=[Depends(RequireStepUp(guard)), Depends(takes_json)],
    )
    broken = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert TestClient(app).post("/pay", **broken).status_code == 422  # type: ignore[arg-type]
    assert TestClient(app).post("/pay", json={"a": 1}).status_code == 401
    app = FastAPI(middleware=[Middleware(StepUpMiddleware, guard=guard)], routes=app.routes)
    assert TestClient(app).post("/pay", **broken).status_code == 401  # type: ignore[arg-type]


def test_no_background_task_runs_for_a_refusal(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """MW-055: a task that an earlier dependency added goes with the refused request."""
    ran: list[str] = []

    def adds(tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, "task")

    app = FastAPI()
    dependencies = [Depends(adds), Depends(RequireStepUp(guard))]
    app.add_api_route("/pay", lambda: SECRET, dependencies=dependencies)
    client = TestClient(app)

    assert client.get("/pay").status_code == 401
    assert ran == []
    assert client.get("/pay", headers=descope.step_up(ANN).headers).status_code == 200
    assert ran == ["task"]


def takes_json(amount: dict[str, int]) -> None:
    """Have a body read as JSON."""


async def asynchronous_handler(request: Request, error: Exception) -> Response:
    """Answer in the app's own way."""
    return JSONResponse({"ours": type(error).__name__}, 418)


def synchronous_handler(request: Request, error: Exception) -> Response:
    """Answer in the app's own way, from a thread."""
    return JSONResponse({"ours": type(error).__name__}, 418)


def raising_handler(request: Request, error: Exception) -> Response:
    """Fail."""
    raise LookupError


@pytest.mark.parametrize("key", [401, StepUpError, HTTPException])
@pytest.mark.parametrize("handler", [asynchronous_handler, synchronous_handler])
@pytest.mark.parametrize("place", ["inside", "around"])
def test_a_replaced_exception_handler_answers(
    key: Any, handler: Callable[..., Any], place: str, guard: StepUpGuard
) -> None:
    """MW-057: the app's own answer, as for any of its exceptions, and still no handler runs."""
    handlers: dict[Any, Any] = {key: handler, Exception: raising_handler}
    app = FastAPI(exception_handlers=handlers)
    app.add_api_route("/pay", lambda: SECRET)
    if place == "inside":
        app.add_middleware(StepUpMiddleware, guard=guard)
    served = app if place == "inside" else StepUpMiddleware(app, guard=guard)

    response = TestClient(served).get("/pay")

    assert (response.status_code, response.json()) == (418, {"ours": "Unauthenticated"})


def test_a_broken_exception_handler_opens_nothing(guard: StepUpGuard) -> None:
    """MW-057: what it raises goes on to the server, like any failure of the app."""
    app = Starlette(
        exception_handlers={StepUpError: raising_handler}, routes=[Mount("/", anything)]
    )
    client = TestClient(StepUpMiddleware(app, guard=guard), raise_server_exceptions=False)

    assert client.get("/").status_code == 500


def test_a_rule_that_fails_opens_nothing(guard: StepUpGuard) -> None:
    """MW-038: an error while a rule is looked up is an error, not a pass."""

    class Broken(StepUpRule):
        """A rule that cannot say."""

        def matches(self, path: str, method: str | None) -> bool:
            raise LookupError

    app = StepUpMiddleware(anything, guard=guard, rules=[Broken("/", "public")])

    assert TestClient(app, raise_server_exceptions=False).get("/").status_code == 500


def test_plain_asgi_apps_get_bare_problems(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Without an app that answers exceptions the problem goes out as it is; a 404 as text."""
    client = TestClient(StepUpMiddleware(anything, guard=guard))

    response = client.get("/")
    lost = client.get("/%0a", headers=descope.step_up(ANN).headers)

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "unauthenticated"
    assert (lost.status_code, lost.text) == (404, "Not Found")


def test_a_mounted_app_is_answered_as_it_would_itself(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """In front of a mounted app, the answers and the helper routes are that app's."""
    sub = FastAPI()
    install(sub, guard)
    sub.include_router(stepup_router(guard))
    sub.add_api_route("/pay", lambda: SECRET)
    app = FastAPI()
    app.mount("/sub", StepUpMiddleware(sub, guard=guard))

    response = TestClient(app).get("/sub/pay", headers=descope.sign_in(ANN).headers)

    assert response.headers["content-type"] == "application/problem+json"
    problem = assert_step_up_challenge(response)
    assert problem["step_up"]["start_uri"] == "/sub/step-up/otp/start"


def test_in_front_of_a_mount(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """As a mount's own middleware its rules are relative to the mount."""
    middleware = [Middleware(StepUpMiddleware, guard=guard, rules=[StepUpRule("/open", "public")])]
    app = Starlette(routes=[Mount("/sub", anything, middleware=middleware), Mount("/", anything)])
    client = TestClient(app)

    assert client.get("/sub/open").text == SECRET
    assert client.get("/sub/pay").status_code == 401
    assert client.get("/open").text == SECRET
    assert client.get("/sub/pay", headers=descope.step_up(ANN).headers).text == SECRET


# -- WebSockets


async def greet(websocket: WebSocket) -> None:
    """Accept, and say who is there."""
    await websocket.accept()
    await websocket.send_text(claims_from(websocket).subject)
    await websocket.close()


def test_websockets(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """MW-041 to MW-043: let in, or denied with the answer that a request gets."""
    inner = Starlette(routes=[WebSocketRoute("/ws", greet)])
    client = TestClient(StepUpMiddleware(inner, guard=guard))
    ann = descope.step_up(ANN)

    with client.websocket_connect("/ws", headers=ann.headers) as websocket:
        assert websocket.receive_text() == ann.user_id
    for headers, code in (
        ({}, "unauthenticated"),
        (descope.step_up(ANN, expires_in=-10).headers, "invalid_token"),
        (descope.sign_in(ANN).headers, "insufficient_user_authentication"),
    ):
        websocket = client.websocket_connect("/ws", headers=headers)
        with pytest.raises(WebSocketDenialResponse) as denied:
            websocket.__enter__()
        assert (denied.value.status_code, denied.value.json()["code"]) == (401, code)


def test_websockets_without_denial_responses(guard: StepUpGuard) -> None:
    """Where the server cannot deny, the socket is closed with 1008 before it is accepted."""
    app = StepUpMiddleware(Starlette(routes=[WebSocketRoute("/ws", greet)]), guard=guard)

    messages, _ = exchange(app, scope_for("/ws", type="websocket"))

    assert messages == [{"type": "websocket.close", "code": 1008, "reason": "unauthenticated"}]


@pytest.mark.parametrize(
    "fields",
    [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}],
)
def test_a_websocket_with_a_cookie_needs_evidence(
    fields: dict[str, str], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """CK-013: a page of another site cannot open one with the user's cookie."""
    app = Starlette(routes=[WebSocketRoute("/ws", greet)])
    client = TestClient(StepUpMiddleware(app, guard=guard))
    cookie = {"Cookie": f"DS={descope.step_up(ANN).session_token}"}

    websocket = client.websocket_connect("/ws", headers=cookie | fields)
    with pytest.raises(WebSocketDenialResponse) as denied:
        websocket.__enter__()
    assert denied.value.status_code == 403


def test_a_public_websocket_is_passed_on(guard: StepUpGuard) -> None:
    """A public rule without methods is for WebSockets too; one with methods is not."""

    async def accept(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    inner = Starlette(routes=[WebSocketRoute("/ws", accept), WebSocketRoute("/get", accept)])
    rules = [StepUpRule("/ws", "public"), StepUpRule("/get", "public", methods=["GET"])]
    client = TestClient(StepUpMiddleware(inner, guard=guard, rules=rules))

    with client.websocket_connect("/ws") as websocket, pytest.raises(WebSocketDisconnect):
        websocket.receive_text()
    websocket = client.websocket_connect("/get")
    with pytest.raises(WebSocketDenialResponse):
        websocket.__enter__()


# -- cookies through this door


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        pytest.param("GET", {}, 200, id="CK-002"),
        pytest.param("POST", {"Sec-Fetch-Site": "same-origin"}, 200, id="CK-003"),
        pytest.param("POST", {"Sec-Fetch-Site": "same-site"}, 403, id="CK-005"),
        pytest.param("POST", {"Origin": "https://evil.example"}, 403, id="CK-006"),
        pytest.param("POST", {"Origin": "null"}, 403, id="CK-007"),
        pytest.param("POST", {"Origin": "http://testserver.evil.example"}, 403, id="CK-009"),
        pytest.param("POST", {"Origin": "HTTP://TESTSERVER"}, 200, id="CK-009-case"),
        pytest.param("PUT", {}, 403, id="CK-011-put"),
        pytest.param("PATCH", {}, 403, id="CK-011-patch"),
        pytest.param("DELETE", {}, 403, id="CK-011-delete"),
        pytest.param("FOO", {}, 403, id="CK-011-unknown"),
    ],
)
def test_cookies_need_evidence(
    method: str,
    fields: dict[str, str],
    status: int,
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """The same rule as behind a dependency."""
    client = TestClient(StepUpMiddleware(anything, guard=guard))
    cookie = {"Cookie": f"DS={descope.step_up(ANN).session_token}"}

    assert client.request(method, "/", headers=cookie | fields).status_code == status


@pytest.mark.parametrize(
    ("cookie", "status"),
    [
        pytest.param("DS={0}; DS={0}", 400, id="CK-014"),
        pytest.param('DS="{0}"', 401, id="CK-015"),
        pytest.param("DSR={1}", 401, id="CK-017"),
        pytest.param("DS={1}", 401, id="CK-018"),
        pytest.param("DS=" + 8192 * "x", 401, id="CK-019-long"),
        pytest.param("; ".join(f"c{n}=x" for n in range(200)), 401, id="CK-019-many"),
    ],
)
def test_cookies_that_are_no_session(
    cookie: str, status: int, guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Neither a planted, a quoted nor a refresh cookie is one."""
    client = TestClient(StepUpMiddleware(anything, guard=guard))
    ann = descope.step_up(ANN)
    headers = {"Cookie": cookie.format(ann.session_token, ann.refresh_token)}

    assert client.get("/", headers=headers).status_code == status


def test_cookies_can_be_turned_off(descope: DescopeEmulator) -> None:
    """CK-001: a guard without a session cookie reads none."""
    guard = StepUpGuard.for_descope(descope.project_id, session_cookie=None)
    with descope.attach(guard):
        client = TestClient(StepUpMiddleware(anything, guard=guard))
        headers = {"Cookie": f"DS={descope.step_up(ANN).session_token}"}

        assert client.get("/", headers=headers).json()["code"] == "unauthenticated"


# -- CORS

ORIGIN = {"Origin": "https://shop.example"}
PREFLIGHT = ORIGIN | {"Access-Control-Request-Method": "POST"}


def cors_app(guard: StepUpGuard, *, outermost: bool, **cors: Any) -> FastAPI:
    """Return an app with both middlewares."""
    app = FastAPI()
    install(app, guard)
    app.add_api_route("/pay", lambda: SECRET, methods=["GET", "POST", "OPTIONS"])
    settings = {"allow_origins": ["https://shop.example"], "allow_methods": ["POST"]} | cors
    if not outermost:
        app.add_middleware(CORSMiddleware, **settings)
    app.add_middleware(StepUpMiddleware, guard=guard)
    if outermost:
        app.add_middleware(CORSMiddleware, **settings)
    return app


def test_preflights_pass_with_cors_outside(guard: StepUpGuard) -> None:
    """MW-023: the CORS answer, and no handler runs; an `OPTIONS` that is none is refused."""
    client = TestClient(cors_app(guard, outermost=True))

    answer = client.options("/pay", headers=PREFLIGHT)

    assert (answer.status_code, answer.text) == (200, "OK")
    assert client.options("/pay", headers=ORIGIN).status_code == 401


def test_preflights_are_refused_with_cors_inside(guard: StepUpGuard) -> None:
    """The wrong order is safe: MW-025, neither CORS nor the handler answers without a token."""
    answer = TestClient(cors_app(guard, outermost=False)).options("/pay", headers=PREFLIGHT)

    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("cors", "exposed"),
    [
        pytest.param({}, "WWW-Authenticate", id="nothing-yet"),
        pytest.param({"expose_headers": ["X-A", "X-B"]}, "X-A, X-B, WWW-Authenticate", id="some"),
        pytest.param({"expose_headers": ["www-authenticate"]}, "www-authenticate", id="already"),
        pytest.param({"allow_origins": ["*"]}, "WWW-Authenticate", id="any-origin"),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"Authorization": "Bearer"}], ids=["401", "400"])
def test_challenges_are_exposed(
    cors: dict[str, Any], exposed: str, fields: dict[str, str], guard: StepUpGuard
) -> None:
    """MW-026: a page of another origin may read the challenge; what it may read already stays."""
    client = TestClient(cors_app(guard, outermost=True, **cors))

    answer = client.post("/pay", headers=ORIGIN | fields)

    assert answer.headers["access-control-expose-headers"] == exposed
    assert "access-control-allow-origin" in answer.headers


def test_challenges_are_not_exposed_to_strangers(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """Without CORS for the origin, or for another answer, nothing is added."""
    client = TestClient(cors_app(guard, outermost=True))

    stranger = client.post("/pay", headers={"Origin": "https://evil.example"})
    passed = client.post("/pay", headers=ORIGIN | descope.step_up(ANN).headers)

    assert "access-control-expose-headers" not in stranger.headers
    assert "access-control-expose-headers" not in passed.headers


def test_a_subclass_of_http_exception_without_a_handler_is_text(guard: StepUpGuard) -> None:
    """A Starlette app that installs nothing is answered as by its endpoints."""
    app = Starlette(routes=[Mount("/", anything)])

    response = TestClient(StepUpMiddleware(app, guard=guard)).get("/")

    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.json()["code"] == "unauthenticated"
    assert isinstance(PlainTextResponse(""), Response)
