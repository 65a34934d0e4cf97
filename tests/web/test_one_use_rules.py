"""`once=` on StepUpRule: the middleware spends by the answer of the app."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    guarded_routes,
    install,
    stepup_router,
)
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.one_time_store import HoldOutcome, MemoryStore
from tests.support.one_time import PROJECT, OneTime

RECENT = StepUpPolicy(max_age="5m")
ONCE = StepUpRule("/pay", RECENT, once="pay")


def status(code: int) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers *code*."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("", code)

    return answer


async def raising(request: Request) -> Response:
    """Raise a refusal."""
    raise HTTPException(400)


async def breaking(request: Request) -> Response:
    """Raise an error."""
    raise RuntimeError


def guarded(ann: OneTime, app: Any, *rules: StepUpRule) -> StepUpMiddleware:
    """Put the rule in front of *app*."""
    return StepUpMiddleware(app, guard=ann.guard, rules=rules or (ONCE,), default="public")


def app_of(endpoint: Any, methods: list[str] | None = None) -> Starlette:
    """Return an app with one route."""
    return Starlette(routes=[Route("/pay", endpoint, methods=methods or ["POST"])])


def posts(ann: OneTime, app: Any, times: int = 2) -> list[int]:
    """Return the statuses of the same request several times."""
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    return [client.post("/pay", headers=ann.headers).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("endpoint", "statuses"),
    [
        (status(200), [200, 401]),
        (lambda request: RedirectResponse("/", 303), [303, 401]),
        (status(404), [404, 404]),
        (status(500), [500, 500]),
        (raising, [400, 400]),
        (breaking, [500, 500]),
    ],
)
def test_answer_decides(endpoint: Any, statuses: list[int], ann: OneTime) -> None:
    """Spent by 2xx and 3xx, given back by the rest; also inside of the app's own stack."""
    assert posts(ann, guarded(ann, app_of(endpoint))) == statuses

    with OneTime() as other:
        app = app_of(endpoint)
        app.add_middleware(StepUpMiddleware, guard=other.guard, rules=[ONCE], default="public")
        assert posts(other, app) == statuses


def test_challenge_says_that_it_is_used(ann: OneTime) -> None:
    """With what the rule asks."""
    app = guarded(ann, app_of(status(200)))
    posts(ann, app, 1)

    refused = TestClient(app).post("/pay", headers=ann.headers)

    assert refused.json()["unmet"] == [{"requirement": "step_up", "reason": "used"}]
    assert refused.json()["max_age"] == 300


def test_app_that_answers_nothing_gives_it_back(ann: OneTime) -> None:
    """An ASGI app may do so; its server answers then."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    client = TestClient(guarded(ann, silent), raise_server_exceptions=False)
    for _ in range(2):
        client.post("/pay", headers=ann.headers)

    assert ann.events == ["given_back", "given_back"]


def test_rule_and_dependency_hold_once_together(ann: OneTime) -> None:
    """The rule settles what the dependency finds held."""
    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, policy=RECENT, once="pay"))
    app.post("/pay", dependencies=[once])(lambda: "done")

    assert posts(ann, guarded(ann, app)) == [200, 401]
    assert ann.events == ["spent", "used"]


def test_request_that_is_refused_holds_nothing(ann: OneTime) -> None:
    """Two rules are asked of an odd spelling: what the first one held is given back."""
    rules = (
        StepUpRule("/Pay", RECENT, once="pay"),
        StepUpRule("/pay", StepUpPolicy(amr=["webauthn"])),
    )
    assert posts(ann, guarded(ann, app_of(status(200)), *rules)) == [401, 401]
    assert ann.store.holds == 0


def test_second_purpose_that_is_used_gives_the_first_back(ann: OneTime) -> None:
    """One request may need two."""
    both = (StepUpRule("/Pay", RECENT, once="a"), StepUpRule("/pay", RECENT, once="b"))
    first = (StepUpRule("/pay", RECENT, once="a"),)
    app = app_of(status(200))
    assert posts(ann, guarded(ann, app, StepUpRule("/pay", RECENT, once="b")), 1) == [200]

    assert posts(ann, guarded(ann, app, *both)) == [401, 401]
    assert posts(ann, guarded(ann, app, *first)) == [200, 401]


class _SecondHangs(MemoryStore):
    """A store that never answers after the first step-up."""

    holds = 0

    async def hold(self, key: str, holder: str, *, lease: float) -> HoldOutcome:
        """Hold the first one."""
        self.holds += 1
        if self.holds > 1:
            await anyio.sleep_forever()
        return await super().hold(key, holder, lease=lease)


@pytest.mark.anyio
async def test_client_that_goes_while_the_second_is_asked_for_gives_the_first_back(
    ann: OneTime,
) -> None:
    """As it does for one."""
    store = _SecondHangs()
    guard = StepUpGuard.for_descope(PROJECT, one_time=store)
    rules = (StepUpRule("/Pay", RECENT, once="a"), StepUpRule("/pay", RECENT, once="b"))
    app = StepUpMiddleware(app_of(status(200)), guard=guard, rules=rules, default="public")
    with ann.descope.attach(guard):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://app"
        ) as client:
            with anyio.move_on_after(0.05) as gone:
                await client.post("/pay", headers=ann.headers)

            assert gone.cancelled_caught
            store.holds = -10
            assert (await client.post("/pay", headers=ann.headers)).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_never_spend(method: str, ann: OneTime) -> None:
    """They are asked for the policy only."""
    client = TestClient(guarded(ann, app_of(status(200), ["POST", method])))

    for _ in range(2):
        assert client.request(method, "/pay", headers=ann.headers).status_code == 200
    assert client.request(method, "/pay").status_code == 401
    assert ann.store.holds == 0


def test_report_only_never_spends() -> None:
    """Not even where there is no session."""
    with OneTime(report_only=True) as ann:
        app = guarded(ann, app_of(status(200)))
        assert posts(ann, app, 3) == [200, 200, 200]
        assert TestClient(app).post("/pay").status_code == 200
        assert ann.store.holds == 0


def test_helper_routes_hold_nothing(ann: OneTime) -> None:
    """A rule for all paths does not close or spend the way to step up."""
    app = FastAPI()
    app.include_router(stepup_router(ann.guard))
    rule = StepUpRule("/*", RECENT, once="pay")
    client = TestClient(guarded(ann, app, rule))

    for _ in range(2):
        assert client.get("/step-up/status", headers=ann.headers).status_code == 200
    assert ann.store.holds == 0


def test_condition_decides_first(ann: OneTime) -> None:
    """Where it says no, a session is enough and nothing is spent."""

    def from_abroad(connection: HTTPConnection) -> bool:
        return "x-abroad" in connection.headers

    rule = StepUpRule("/pay", RECENT, when=from_abroad, once="pay")
    client = TestClient(guarded(ann, app_of(status(200)), rule))
    abroad = {**ann.headers, "x-abroad": "1"}

    given = [ann.headers, abroad, ann.headers, abroad]
    assert [client.post("/pay", headers=h).status_code for h in given] == [200, 200, 200, 401]


async def chat(websocket: WebSocket) -> None:
    """Accept, or close where the query says so."""
    if websocket.query_params:
        await websocket.close()
        return
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def test_websocket_spends_when_it_is_accepted(ann: OneTime) -> None:
    """One that is closed instead gives it back."""
    rule = StepUpRule("/chat", RECENT, once="pay")
    client = TestClient(guarded(ann, Starlette(routes=[WebSocketRoute("/chat", chat)]), rule))

    session = client.websocket_connect("/chat?no=1", headers=ann.headers)
    with pytest.raises(WebSocketDisconnect), session:
        raise AssertionError
    with client.websocket_connect("/chat", headers=ann.headers) as accepted:
        assert accepted.receive_text() == "hello"
        assert ann.events == ["given_back", "spent"]
    session = client.websocket_connect("/chat", headers=ann.headers)
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        raise AssertionError
    assert denied.value.json()["unmet"] == [{"requirement": "step_up", "reason": "used"}]


@pytest.mark.parametrize("failing", ["hold", "settle"])
def test_store_that_fails_replaces_the_answer(failing: str) -> None:
    """Before it starts, so that no client takes the step-up for spent."""
    with OneTime(failing) as ann:
        refused = TestClient(guarded(ann, app_of(status(200)))).post("/pay", headers=ann.headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "one_time_unavailable")
        assert ann.events == ["unavailable"]


def test_store_that_fails_denies_a_websocket() -> None:
    """Where it would be accepted; the app hears no more of it."""
    rule = StepUpRule("/chat", RECENT, once="pay")
    with OneTime("settle") as ann:
        app = guarded(ann, Starlette(routes=[WebSocketRoute("/chat", chat)]), rule)
        session = TestClient(app).websocket_connect("/chat", headers=ann.headers)
        with pytest.raises(WebSocketDenialResponse) as denied, session:
            raise AssertionError
    assert denied.value.status_code == 503


@pytest.mark.parametrize("require", ["session", "public"])
def test_purpose_belongs_to_a_policy(require: Any) -> None:
    """There is no step-up to spend otherwise."""
    with pytest.raises(ConfigurationError, match="once is about a step-up: give a StepUpPolicy"):
        StepUpRule("/pay", require, once="pay")
    with pytest.raises(ConfigurationError, match='such as once="delete-account"'):
        StepUpRule("/pay", RECENT, once="")


def test_rule_for_another_issuer_needs_a_max_age() -> None:
    """Its tokens can be refreshed, so that a step-up is known by its time alone."""
    guard = StepUpGuard.for_oidc("https://login.example", audience="https://api.example")
    rule = StepUpRule("/pay", StepUpPolicy(acr="2fa"), once="pay")
    with pytest.raises(ConfigurationError, match="once= needs max_age= for this issuer"):
        StepUpMiddleware(app_of(status(200)), guard=guard, rules=[rule], default="public")


def test_inventory_and_schema_say_once(ann: OneTime) -> None:
    """By rule, by dependency, and with a condition."""
    app = FastAPI()
    app.post("/pay")(lambda: "done")
    under = RequireStepUp(ann.guard, policy=RECENT, when=lambda: True, once="transfer")
    app.post("/transfer", dependencies=[Depends(under)])(lambda: "done")
    app.post("/plain", dependencies=[Depends(RequireStepUp(ann.guard))])(lambda: "done")
    app.add_middleware(StepUpMiddleware, guard=ann.guard, rules=[ONCE], default="public")
    install(app, ann.guard)

    routes = {route.path: route for route in guarded_routes(app, ann.guard)}
    assert [routes[p].once for p in ("/pay", "/transfer", "/plain")] == [
        ("pay",),
        ("transfer",),
        (),
    ]
    assert [str(asked) for _, asked in routes["/pay"].entry_points] == ["step-up ≤5m once for pay"]
    assert [routes[p].asks_step_up for p in ("/pay", "/transfer")] == [True, "sometimes"]
    assert str(routes["/transfer"].entry_points[0][1]).startswith(
        "step-up ≤5m once for transfer when <"
    )

    operations = {path: each["post"] for path, each in app.openapi()["paths"].items()}
    assert operations["/pay"]["x-step-up"] == {"stepped_up": True, "max_age": 300, "once": ["pay"]}
    assert operations["/transfer"]["x-step-up"] == {
        "stepped_up": True,
        "max_age": 300,
        "conditional": True,
        "once": ["transfer"],
    }
    responses = operations["/pay"]["responses"]
    assert set(responses["409"]["headers"]) == {"Cache-Control", "Retry-After"}
    content = responses["503"]["content"]["application/problem+json"]
    assert "one_time_unavailable" in content["examples"]
    assert "409" not in operations["/plain"]["responses"]
