"""`once=` on RequireStepUp: one step-up is good for one use."""

import threading
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireStepUp, StepUpRoute, install, stepup_router
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.web.one_use import OneUse
from tests.support.one_time import OneTime, app_of, missing, posts


def test_second_use_asks_for_another_step_up(ann: OneTime) -> None:
    """The challenge says all that the first one did, and that the step-up is used."""
    client = TestClient(app_of(ann, lambda: "done"))
    assert client.post("/pay", headers=ann.headers).status_code == 200

    refused = client.post("/pay", headers=ann.headers)

    assert refused.status_code == 401
    assert 'error="insufficient_user_authentication"' in refused.headers["WWW-Authenticate"]
    assert 'max_age="300"' in refused.headers["WWW-Authenticate"]
    problem = refused.json()["detail"]
    assert problem["unmet"] == [{"requirement": "step_up", "reason": "used"}]
    assert "unmet_after_step_up" not in problem
    assert client.post("/pay", headers=ann.again()).status_code == 200
    assert ann.events == ["spent", "used", "spent"]


def test_policy_comes_first(ann: OneTime) -> None:
    """A session that does not meet the policy is refused as ever, and holds nothing."""
    client = TestClient(app_of(ann, lambda: "done"))

    assert client.post("/pay").status_code == 401
    plain = client.post("/pay", headers=dict(ann.descope.sign_in("ann@example.com").headers))

    assert plain.json()["detail"]["unmet"] == [{"requirement": "step_up", "reason": "missing"}]
    assert ann.store.holds == 0


@pytest.mark.anyio
async def test_one_of_forty_at_once_passes(ann: OneTime) -> None:
    """While it is held the others are told to come back in a second."""
    app = app_of(ann, lambda: None)
    release = anyio.Event()

    async def pay() -> str:
        await release.wait()
        return "paid"

    app = app_of(ann, pay)
    install(app, ann.guard)
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://app", headers=ann.headers
    ) as client:

        async def send() -> None:
            answers.append(await client.post("/pay"))
            if len(answers) == 39:
                release.set()

        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(send)

    *busy, passed = answers
    assert passed.status_code == 200
    assert {(a.status_code, a.json()["code"], a.headers["Retry-After"]) for a in busy} == {
        (409, "step_up_busy", "1")
    }
    assert not any("WWW-Authenticate" in a.headers for a in busy)


def test_each_purpose_has_a_use_of_its_own(ann: OneTime) -> None:
    """Routes that share a purpose share the use."""
    app = FastAPI()
    for path, purpose in (("/a", "delete"), ("/b", "export"), ("/c", "delete")):
        once = Depends(RequireStepUp(ann.guard, once=purpose))
        app.post(path, dependencies=[once])(lambda: "done")
    client = TestClient(app)

    statuses = [client.post(p, headers=ann.headers).status_code for p in ("/a", "/b", "/c", "/b")]
    assert statuses == [200, 200, 401, 401]


def test_route_may_spend_for_two_purposes(ann: OneTime) -> None:
    """Each is held and spent; where the second is used already, the first is given back."""
    app = FastAPI()
    delete, export = (Depends(RequireStepUp(ann.guard, once=name)) for name in ("a", "b"))
    app.post("/both", dependencies=[delete, export])(lambda: "done")
    app.post("/b", dependencies=[export])(lambda: "done")
    app.post("/a", dependencies=[delete])(lambda: "done")
    client = TestClient(app)

    asked = ["/b", "/both", "/a", "/a"]
    assert [client.post(p, headers=ann.headers).status_code for p in asked] == [200, 401, 200, 401]
    headers = ann.again()
    asked = ["/both", "/a", "/b"]
    assert [client.post(p, headers=headers).status_code for p in asked] == [200, 401, 401]


def test_asked_twice_in_one_request_it_is_held_once(ann: OneTime) -> None:
    """By router and route, with other policies; the answer still decides."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(ann.guard, max_age="9m", once="pay"))])
    once = Depends(RequireStepUp(ann.guard, max_age="5m", once="pay"))
    app.post("/pay", dependencies=[once])(lambda: "done")
    app.post("/missing", dependencies=[once])(missing)
    client = TestClient(app)

    assert client.post("/missing", headers=ann.headers).status_code == 404
    assert posts(ann, app) == [200, 401]
    assert ann.store.holds == 3


def test_used_step_up_is_refused_with_all_that_the_route_asks(ann: OneTime) -> None:
    """The client would be asked again otherwise."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(ann.guard, max_age="9m", once="pay"))])
    app.post("/pay")(lambda: "done")
    strict = RequireStepUp(ann.guard, max_age="5m", amr=["webauthn"])
    app.post("/keys", dependencies=[Depends(strict)])(lambda: "done")
    client = TestClient(app)
    client.post("/pay", headers=ann.headers)

    problem = client.post("/keys", headers=ann.headers).json()["detail"]

    assert (problem["max_age"], problem["amr"]) == (300, ["webauthn"])
    assert problem["unmet"] == [
        {"requirement": "step_up", "reason": "used"},
        {"requirement": "amr", "reason": "missing"},
    ]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_never_spend(method: str, ann: OneTime) -> None:
    """They are asked for the policy only, before and after."""
    app = FastAPI()
    once = Depends(RequireStepUp(ann.guard, once="pay"))
    app.api_route("/pay", methods=["POST", method], dependencies=[once])(lambda: "done")
    client = TestClient(app)

    assert client.request(method, "/pay", headers=ann.headers).status_code == 200
    assert posts(ann, app) == [200, 401]
    assert client.request(method, "/pay", headers=ann.headers).status_code == 200
    assert client.request(method, "/pay").status_code == 401


def test_report_only_never_spends() -> None:
    """Nothing is held, so nothing is refused."""
    with OneTime(report_only=True) as ann:
        assert posts(ann, app_of(ann, lambda: "done"), 3) == [200, 200, 200]
        assert ann.store.holds == 0


def test_report_only_gives_the_handler_its_claims() -> None:
    """As where it is enforced."""
    with OneTime(report_only=True) as ann:
        app = FastAPI()

        @app.post("/pay")
        def pay(claims: Annotated[Claims, Depends(RequireStepUp(ann.guard, once="pay"))]) -> str:
            return claims.subject

        answer = TestClient(app).post("/pay", headers=ann.headers)

    assert answer.json().startswith("U")


def test_helper_routes_hold_nothing(ann: OneTime) -> None:
    """Asked of the whole app, it neither closes the way to step up nor spends there."""
    app = FastAPI(dependencies=[Depends(RequireStepUp(ann.guard, once="pay"))])
    app.include_router(stepup_router(ann.guard))
    client = TestClient(app)

    for headers in (ann.headers, dict(ann.descope.sign_in("ann@example.com").headers)):
        assert client.get("/step-up/status", headers=headers).status_code == 200
    assert ann.store.holds == 0
    finish = client.post("/step-up/otp/verify", json={"delivery": "email", "code": "123456"})
    assert finish.json()["detail"]["code"] == "unauthenticated"


def test_overridden_dependency_holds_nothing(ann: OneTime) -> None:
    """A test of the app replaces it whole."""
    once = RequireStepUp(ann.guard, once="pay")
    app = FastAPI()

    @app.post("/pay")
    def pay(claims: Annotated[Claims, Depends(once)]) -> str:
        return claims.subject

    app.dependency_overrides[once] = lambda: Claims({"sub": "U1"})

    assert posts(ann, app, 3) == [200, 200, 200]
    assert ann.store.holds == 0


class Order(BaseModel):
    """A body."""

    amount: int


def over_limit(order: Order) -> bool:
    """Ask above a limit."""
    return order.amount > 100


@pytest.mark.parametrize("route_class", [None, StepUpRoute])
def test_condition_decides_first(route_class: Any, ann: OneTime) -> None:
    """Where it says no, a session is enough and nothing is spent."""
    runs: list[int] = []

    def counting(order: Order) -> bool:
        runs.append(order.amount)
        return over_limit(order)

    app = FastAPI()
    if route_class is not None:
        app.router.route_class = route_class
    once = RequireStepUp(ann.guard, max_age="5m", when=counting, once="pay")

    @app.post("/pay")
    def pay(order: Order, claims: Annotated[Claims, Depends(once)]) -> str:
        return claims.subject

    client = TestClient(app)
    plain = dict(ann.descope.sign_in("ann@example.com").headers)

    def status(amount: int, headers: dict[str, str]) -> int:
        return client.post("/pay", json={"amount": amount}, headers=headers).status_code

    assert [status(5, plain), status(500, plain)] == [200, 401]
    assert [status(a, ann.headers) for a in (5, 500, 5, 500)] == [200, 200, 200, 401]
    assert runs == [5, 500, 5, 500, 5, 500]
    assert client.post("/pay", json={"amount": 500}).status_code == 401


def test_caller_without_a_session_is_refused_before_the_body(ann: OneTime) -> None:
    """As on every other guarded route."""

    async def pay(order: Order) -> int:
        raise AssertionError

    app = app_of(ann, pay)
    install(app, ann.guard)

    assert TestClient(app).post("/pay", content=b"{broken").status_code == 401


def test_store_that_is_down_lets_nothing_pass() -> None:
    """503 before the handler runs, without a challenge: no session ends by this."""
    runs: list[int] = []
    with OneTime("hold") as ann:
        client = TestClient(app_of(ann, lambda: runs.append(1)))
        refused = client.post("/pay", headers=ann.headers)
        assert (refused.status_code, refused.json()["detail"]["code"]) == (
            503,
            "one_time_unavailable",
        )
        assert refused.headers["Retry-After"] == "1"
        assert "WWW-Authenticate" not in refused.headers
        ann.store.failing.clear()
        assert client.post("/pay", headers=ann.headers).status_code == 200
    assert runs == [1]


def test_step_up_that_cannot_be_spent_is_503_and_used() -> None:
    """The handler has run, so this process lets no other request use it."""
    with OneTime("settle") as ann:
        app = app_of(ann, lambda: "done")
        assert posts(ann, app) == [503, 401]
        ann.store.failing.clear()
        assert posts(ann, app, 1) == [401]
    assert ann.events == ["unavailable", "used", "used"]


def test_step_up_that_cannot_be_given_back_is_held_until_its_lease_ends() -> None:
    """The answer stands: the client learns why the handler failed."""
    with OneTime("settle") as ann:
        assert posts(ann, app_of(ann, missing)) == [404, 409]
    assert ann.events == ["unavailable", "busy"]


def test_cancelled_handler_gives_it_back(ann: OneTime) -> None:
    """As a middleware does with a client that goes."""
    started = anyio.Event()

    async def pay() -> None:
        started.set()
        await anyio.sleep(60)

    async def go() -> None:
        app = app_of(ann, pay)
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(lambda: client.post("/pay", headers=ann.headers))
            await started.wait()
            group.cancel_scope.cancel()

    anyio.run(go)

    assert ann.events == ["given_back"]


def test_sync_handlers_that_fill_the_thread_pool_lock_nobody_out(ann: OneTime) -> None:
    """Holding needs no thread of theirs."""
    ready = threading.Barrier(2, timeout=10)

    def pay() -> str:
        ready.wait()
        return "paid"

    app = app_of(ann, pay)
    statuses: list[int] = []
    with TestClient(app) as client:
        threads = [
            threading.Thread(
                target=lambda h=h: statuses.append(client.post("/pay", headers=h).status_code)
            )
            for h in (ann.headers, ann.again())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200, 200]


def test_equal_ones_are_equal(ann: OneTime) -> None:
    """The purpose tells dependencies apart, and is shown."""
    one = RequireStepUp(ann.guard, once="pay")

    assert one == RequireStepUp(ann.guard, once="pay")
    assert hash(one) == hash(RequireStepUp(ann.guard, once="pay"))
    assert one not in {RequireStepUp(ann.guard), RequireStepUp(ann.guard, once="delete")}
    assert repr(one).endswith(", once='pay')")
    use = OneUse(one, ann.guard, one.policy, when=None, once="pay")
    assert use == OneUse(one, ann.guard, one.policy, when=None, once="pay")
    assert use not in {OneUse(one, ann.guard, one.policy, when=None, once="delete"), one}
    with pytest.raises(AttributeError, match="immutable"):
        one.once = None


@pytest.mark.anyio
async def test_called_by_hand_it_says_what_to_write(ann: OneTime) -> None:
    """Nothing would settle it."""
    once = RequireStepUp(ann.guard, once="pay")
    with pytest.raises(TypeError, match=r"async with guard\.once\(request, purpose, policy\)"):
        await once(HTTPConnection({"type": "http", "headers": []}))


def test_purpose_is_a_name(ann: OneTime, subtests: pytest.Subtests) -> None:
    """Found where it is declared."""
    rows: list[Any] = [True, "", "two words", "x" * 65, 7, b"pay", "-pay"]
    for once in rows:
        with (
            subtests.test(once=once),
            pytest.raises(ConfigurationError, match='such as once="delete-account"'),
        ):
            RequireStepUp(ann.guard, once=once)


def test_subclass_with_a_call_of_its_own_takes_no_purpose(ann: OneTime) -> None:
    """FastAPI would not run what settles it."""

    class Own(RequireStepUp):
        async def __call__(self, connection: HTTPConnection) -> Claims:
            raise AssertionError

    with pytest.raises(ConfigurationError, match=r"Own has a __call__ .* cannot take once=\."):
        Own(ann.guard, once="pay")
