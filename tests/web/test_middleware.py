"""StepUpMiddleware: closed by default, on every scope, in every place of an app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from fastapi_stepup import (
    Claims,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    claims_from,
    guarded_routes,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, TokenCache
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.support.attack_requests import HOSTILE, SECRET, anything, hostile_app
from tests.support.exchange import ANN, bearer, exchange, is_open, listed, scope_for

POLICY = StepUpPolicy(max_age="5m")


def test_no_data_without_a_token(
    guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """A server that lets everything through is no way around it: each request is a 401."""
    app = hostile_app(guard, tmp_path)
    for number, sent in HOSTILE.items():
        with subtests.test(number):
            messages, received = exchange(app, sent.scope)

            assert messages[0]["status"] == 401
            assert SECRET.encode() not in messages[1]["body"]
            assert received == 0


def test_hostile_paths_lead_nowhere_even_with_a_token(
    guard: StepUpGuard, descope: DescopeEmulator, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """404, as the app answers what it does not have; a session is asked for first."""
    rows: list[str] = [
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
    ]
    for path in rows:
        with subtests.test(path=path):
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


def test_construction_refuses(guard: StepUpGuard, subtests: pytest.Subtests) -> None:
    """A middleware without a guard or with half a rule does not start."""
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "guard": ({"guard": None}, "guard=StepUpGuard"),
        "rules": ({"rules": ["/a"]}, "rules is a sequence"),
        "one rule": ({"rules": StepUpRule("/a", "public")}, "rules is a sequence"),
        "iterator": ({"rules": iter([])}, "no generator"),
        "generator": ({"rules": (StepUpRule(p, "session") for p in "/")}, "no generator"),
        "set": ({"rules": {StepUpRule("/a", "public")}}, "no set"),
        "none": ({"rules": None}, "rules is a sequence"),
        "map": ({"rules": map(StepUpRule, [], [])}, "no generator"),
        "default": ({"default": "open"}, "default is a StepUpPolicy"),
    }
    for name, (arguments, message) in rows.items():
        with subtests.test(name), pytest.raises(ConfigurationError, match=message):
            StepUpMiddleware(anything, **{"guard": guard} | arguments)


def test_rules_that_reading_uses_up_are_refused_by_the_inventory_too(guard: StepUpGuard) -> None:
    """Starlette constructs the middleware anew, so a second reading would find no rules."""
    app = Starlette(routes=[Route("/pay", anything, methods=["POST"])])
    rules: Any = (StepUpRule(path, POLICY) for path in ["/pay"])
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules, default="public")

    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no generator"):
            guarded_routes(app, guard)
        with pytest.raises(ConfigurationError, match="no generator"):
            TestClient(app).post("/pay")


@pytest.mark.parametrize(
    "kind", [list, tuple, dict.fromkeys, lambda rules: dict(enumerate(rules)).values()]
)
def test_rules_may_be_any_collection(kind: Any, guard: StepUpGuard) -> None:
    """Any that can be read twice."""
    app = Starlette(routes=[Route("/pay", anything, methods=["POST"])])
    rules = kind([StepUpRule("/pay", POLICY)])
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules, default="public")

    for _ in range(2):
        assert not guarded_routes(app, guard)[0].is_open
        assert TestClient(app).post("/pay").status_code == 401


def test_no_default_is_step_up(guard: StepUpGuard) -> None:
    """`None` is not a way to turn it off."""
    assert StepUpMiddleware(anything, guard=guard, default=None).default == StepUpPolicy()


def test_lifespan_is_untouched(guard: StepUpGuard) -> None:
    """The app's start and stop run as without the middleware."""
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
    """A connection that cannot be judged does not get through, even with everything public."""
    app = StepUpMiddleware(anything, guard=guard, default="public")

    with pytest.raises(RuntimeError, match="cannot guard"):
        exchange(app, {"type": kind})


def test_root_path_is_cut_at_a_segment(guard: StepUpGuard, subtests: pytest.Subtests) -> None:
    """The path is what the router sees, so no prefix makes it another one."""
    rows: list[tuple[str, str]] = [
        ("/v", "/v1/x"),
        ("/v", "/v/v1/x"),
        ("/adm", "/admin"),
        ("/adm", "/adm/admin"),
        ("/v", "/v"),
        ("", "/v1/x"),
    ]
    for root_path, path in rows:
        with subtests.test(root_path=root_path):
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
    """A gigabyte without a token costs one answer; with one the app reads as it likes."""

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


def test_claims_are_verified_once(descope: DescopeEmulator) -> None:
    """Middleware, dependencies, handler: one look at the token for all that they ask."""
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
    """A session of one project is no session of another."""
    other = StepUpGuard.for_descope("P2other")
    with DescopeEmulator("P2other").attach(other) as elsewhere:
        app = StepUpMiddleware(
            StepUpMiddleware(anything, guard=other), guard=guard, default="session"
        )
        client = TestClient(app)

        assert client.get("/", headers=descope.step_up(ANN).headers).status_code == 401
        assert client.get("/", headers=elsewhere.step_up(ANN).headers).status_code == 401


def test_claims_do_not_outlive_their_request(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """Nothing of a request is left on the worker for the next one."""
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
            return "none"

    ann = descope.sign_in(ANN)
    with TestClient(app) as client:
        assert client.get("/closed", headers=ann.headers).json() == ann.user_id
        assert client.get("/open").json() == "none"
        assert client.get("/open", headers=ann.headers).json() == "none"


def test_imitated_claims_are_ignored(guard: StepUpGuard) -> None:
    """Claims that are put under a guessed name in the scope do not count."""
    scope = scope_for("/", state={"fastapi_stepup.claims": {guard: Claims({"su": True})}})

    assert exchange(StepUpMiddleware(anything, guard=guard), scope)[0][0]["status"] == 401
