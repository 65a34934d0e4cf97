"""A bank of 30 routes adopts step-up with README's lines, and is otherwise what it was."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from fastapi_stepup import guarded_routes
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge

SOURCE = Path(__file__).parents[2].joinpath("examples", "existing_app.py").read_text("utf-8")
MARK = "  # step-up\n"
ANN = {"X-Customer": "ann"}
IBAN = {"iban": "DE89370400440532013000"}

# What a customer does, in order: method, path, body, and whether it needs step-up.
CALLS: list[tuple[str, str, Any, bool]] = [
    ("GET", "/health", None, False),
    ("POST", "/api/accounts", {"name": "Savings"}, False),
    ("GET", "/api/accounts", None, False),
    ("GET", "/api/accounts/1", None, False),
    ("PATCH", "/api/accounts/1", {"name": "Holidays"}, False),
    ("GET", "/api/accounts/1/statement", None, False),
    ("POST", "/api/payees", IBAN, True),
    ("GET", "/api/payees", None, False),
    ("GET", "/api/payees/1", None, False),
    ("PUT", "/api/payees/1", IBAN, True),
    ("POST", "/api/transfers", {"account_id": 1, "payee_id": 1, "amount": "30"}, True),
    ("POST", "/api/transfers", {"account_id": 1, "payee_id": 1, "amount": "300"}, True),
    ("GET", "/api/transfers", None, False),
    ("GET", "/api/transfers/rates/USD", None, False),
    ("GET", "/api/cards", None, False),
    ("POST", "/api/cards/freeze", None, False),
    ("POST", "/api/cards/unfreeze", None, True),
    ("PUT", "/api/cards/pin", None, True),
    ("PUT", "/api/cards/limit", None, True),
    ("GET", "/api/profile", None, False),
    ("PATCH", "/api/profile/language", None, False),
    ("PUT", "/api/profile/address", None, True),
    ("PUT", "/api/profile/phone", None, True),
    ("GET", "/api/profile/consents", None, False),
    ("POST", "/api/profile/consents", None, False),
    ("GET", "/internal/staff/customers", None, True),
    ("DELETE", "/internal/staff/customers", None, True),
    ("GET", "/internal/staff/audit", None, True),
    ("DELETE", "/api/payees/1", None, True),
    ("DELETE", "/api/accounts/1", None, True),
    ("GET", "/api/accounts/1", None, False),
    ("GET", "/api/broken", None, False),
    ("GET", "/api/nothing", None, False),
    ("POST", "/api/accounts", {"name": ""}, False),
]


def bank(name: str, source: str) -> Iterator[ModuleType]:
    """Import the bank from *source*, for the time of a test."""
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(source, name, "exec"), vars(module))  # our own file
        yield module
    finally:
        del sys.modules[name]


@pytest.fixture
def before() -> Iterator[ModuleType]:
    """The bank without the lines that adopt step-up."""
    kept = [line for line in SOURCE.splitlines(keepends=True) if not line.endswith(MARK)]
    yield from bank("bank_before", "".join(kept))


@pytest.fixture
def after() -> Iterator[ModuleType]:
    """The bank that has adopted it."""
    yield from bank("bank_after", SOURCE)


@pytest.fixture
def descope(after: ModuleType) -> Iterator[DescopeEmulator]:
    """The Descope of the bank's guard."""
    with DescopeEmulator(project_id=after.guard.project_id).attach(after.guard) as descope:
        yield descope


def answered(response: Any) -> tuple[Any, ...]:
    """Return a reply without what differs from one run to the next."""
    differing = {"server-timing", "cache-control", "vary", "content-length"}
    fields = {name: value for name, value in response.headers.items() if name not in differing}
    return response.status_code, fields, response.text


def test_the_bank_has_thirty_routes_and_adopts_with_few_lines(before: ModuleType) -> None:
    """One import, one guard, one dependency, three lines where the app is built, one a route."""
    marked = [line.strip() for line in SOURCE.splitlines(keepends=True) if line.endswith(MARK)]
    a_route = [line for line in marked if "dependencies=" in line]
    operations = [op for item in before.app.openapi()["paths"].values() for op in item.values()]

    assert len(operations) >= 30
    assert "fastapi_stepup" not in "".join(
        line for line in SOURCE.splitlines(keepends=True) if not line.endswith(MARK)
    )
    assert [line for line in marked if line not in a_route] == [
        "from fastapi_stepup import RequireStepUp, StepUpGuard, install, stepup_router  # step-up",
        'guard = StepUpGuard.for_descope("P2LocalEmulatorProject000001")  # step-up',
        'step_up = Depends(RequireStepUp(guard, max_age="5m"))  # step-up',
        'guarded["dependencies"] = [step_up]  # step-up',
        "await resources.enter_async_context(guard)  # step-up",
        "install(app, guard)  # step-up",
        "app.include_router(stepup_router(guard))  # step-up",
    ]
    assert set(a_route) == {"dependencies=[step_up],  # step-up"}


def test_every_call_is_what_it_was_once_it_is_stepped_up(
    before: ModuleType, after: ModuleType, descope: DescopeEmulator
) -> None:
    """Status, headers and body; without step-up the guarded ones are challenged, and do nothing."""
    origin = ANN | {"Origin": before.ORIGIN}
    plain = origin | descope.sign_in("ann@example.com").headers
    stepped_up = origin | descope.step_up("ann@example.com").headers
    with (
        TestClient(before.app, raise_server_exceptions=False) as old,
        TestClient(after.app, raise_server_exceptions=False) as new,
    ):
        for method, path, body, needs_step_up in CALLS:
            sessions = after.app.state.sessions
            if needs_step_up:
                refused = new.request(method, path, json=body, headers=plain)
                problem = assert_step_up_challenge(refused, max_age=300)
                assert problem["step_up"]["start_uri"] == "/step-up/otp/start"
                assert refused.headers["access-control-allow-origin"] == before.ORIGIN
                exposed = refused.headers["access-control-expose-headers"]
                assert exposed == "Server-Timing, WWW-Authenticate"
                assert after.app.state.sessions == sessions
            headers = stepped_up if needs_step_up else origin
            was = old.request(method, path, json=body, headers=origin)
            assert answered(new.request(method, path, json=body, headers=headers)) == answered(was)
            assert "server-timing" in was.headers or was.status_code == 500
    assert before.app.state.closed
    assert after.app.state.closed


def test_a_customer_steps_up_and_pays(after: ModuleType, descope: DescopeEmulator) -> None:
    """The challenge leads there: start, code, verify, and the transfer is done once."""
    ann = descope.sign_in("ann@example.com")
    with TestClient(after.app, headers=ANN | ann.headers) as client:
        problem = client.post("/api/payees", json=IBAN).json()
        body = {"delivery": "email", "refresh_token": ann.refresh_token}
        assert client.post(problem["step_up"]["start_uri"], json=body).is_success
        code = {"code": descope.outbox[-1].code}
        session = client.post(problem["step_up"]["verify_uri"], json=body | code).json()
        client.headers["Authorization"] = f"Bearer {session['session_token']}"

        assert client.post("/api/payees", json=IBAN).status_code == 201
        assert client.get("/api/payees").json() == [IBAN["iban"]]


def test_an_upload_is_refused_in_the_banks_app(after: ModuleType, descope: DescopeEmulator) -> None:
    """Before it is parsed: it is no multipart body at all."""
    junk = {
        "content": b"junk",
        "headers": ANN | {"Content-Type": "multipart/form-data; boundary=b"},
    }
    with TestClient(after.app) as client:
        assert client.post("/api/profile/documents", **junk).status_code == 401  # type: ignore[arg-type]
        ann = descope.step_up("ann@example.com")
        given = client.post("/api/profile/documents", files={"file": b"pdf"}, headers=ann.headers)

    assert given.json() == 3


def test_the_rest_of_the_bank_is_untouched(
    before: ModuleType, after: ModuleType, descope: DescopeEmulator
) -> None:
    """Its socket, its documentation, its preflights, and what its schema says."""
    preflight = {"Origin": before.ORIGIN, "Access-Control-Request-Method": "POST"}
    replies = []
    for module in (before, after):
        with TestClient(module.app) as client:
            with client.websocket_connect("/api/prices") as websocket:
                price = websocket.receive_json()
            replies.append(
                (
                    price,
                    client.get("/docs").text,
                    answered(client.options("/api/transfers", headers=preflight)),
                )
            )
    old, new = before.app.openapi(), after.app.openapi()
    validate(new)

    assert replies[0] == replies[1]
    for path, operations in old["paths"].items():
        for method, operation in operations.items():
            now = new["paths"][path][method]
            if "x-step-up" in now:
                assert now["x-step-up"] == {"stepped_up": True, "max_age": 300}
                added = {"x-step-up", "security", "responses"}
                assert {k: v for k, v in now.items() if k not in added} == {
                    k: v for k, v in operation.items() if k not in added
                }
            else:
                assert now == operation


def test_the_inventory_knows_what_is_guarded(after: ModuleType) -> None:
    """Exactly the routes that the bank decided on."""
    asked = {
        (method, route.path)
        for route in guarded_routes(after.app, after.guard)
        if route.asks_step_up
        for method in route.methods
    }

    assert asked == {
        ("DELETE", "/api/accounts/{number}"),
        ("POST", "/api/payees"),
        ("PUT", "/api/payees/{number}"),
        ("DELETE", "/api/payees/{number}"),
        ("POST", "/api/transfers"),
        ("POST", "/api/cards/unfreeze"),
        ("PUT", "/api/cards/pin"),
        ("PUT", "/api/cards/limit"),
        ("PUT", "/api/profile/address"),
        ("PUT", "/api/profile/phone"),
        ("POST", "/api/profile/documents"),
        ("GET", "/internal/staff/customers"),
        ("DELETE", "/internal/staff/customers"),
        ("GET", "/internal/staff/audit"),
    }
