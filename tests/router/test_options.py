"""stepup_router: its options, what it mounts and what OpenAPI says about it."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, install, stepup_router
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.testing import assert_step_up_challenge
from tests.support.step_up_methods import (
    METHODS,
    ORIGIN,
    PAGES,
    SAFE_HEADERS,
    Person,
    app_for,
    signed_in,
)

OFFERS = ["email", "sms", "voice", "whatsapp", *METHODS[1:]]


def test_bad_option_says_what_to_change(guard: StepUpGuard, subtests: pytest.Subtests) -> None:
    """A router that could not work is never made."""
    rows: dict[str, tuple[dict[str, Any], str]] = {
        "none": ({"deliveries": ()}, "deliveries is a tuple of: email, sms"),
        "text": ({"deliveries": "email"}, "deliveries is a tuple of"),
        "unknown": ({"deliveries": ("fax",)}, "deliveries is a tuple of"),
        "no-slash": ({"prefix": "step-up"}, "prefix is a plain path"),
        "slash-at-the-end": ({"prefix": "/step-up/"}, "prefix is a plain path"),
        "slash": ({"prefix": "/"}, "prefix is a plain path"),
        "two-slashes": ({"prefix": "//evil.example"}, "prefix is a plain path"),
        "parameter": ({"prefix": "/{a}"}, "prefix is a plain path"),
        "newline": ({"prefix": "/x\n"}, "prefix is a plain path"),
        "dots": ({"prefix": "/../x"}, "prefix is a plain path"),
        "no-text": ({"prefix": None}, "prefix is a plain path"),
        "upper-case": ({"cookie_domain": "Example.com"}, "lower-case domain"),
        "one-label": ({"cookie_domain": "com"}, "lower-case domain"),
        "injection": ({"cookie_domain": "a.b; Path=/x"}, "lower-case domain"),
        "empty": ({"cookie_domain": ""}, "lower-case domain"),
        "fax": ({"methods": ["fax"]}, "methods is a tuple of: otp, totp"),
        "methods-text": ({"methods": "otp"}, "methods is a tuple of"),
        "no-methods": ({"methods": []}, "methods is a tuple of"),
        "no-page": ({"methods": ["sso", "magiclink"]}, "magiclink, sso lead back"),
        "page-text": ({"redirect_uris": PAGES[0]}, "redirect_uris is a tuple"),
        "page-number": ({"redirect_uris": 7}, "redirect_uris is a tuple"),
        "page-http": ({"redirect_uris": ["http://shop.example/"]}, "https"),
        "page-relative": ({"redirect_uris": ["//shop.example"]}, "https"),
        "page-none": ({"redirect_uris": [None]}, "https"),
        "query-space": ({"redirect_uris": ["https://s.example/?a b"]}, "encoded"),
        "enroll-http": ({"enroll_uri": "http://shop.example"}, "enroll_uri must be"),
        "enroll-number": ({"enroll_uri": 7}, "enroll_uri must be"),
        "flow-space": ({"flow_id": "a b"}, "flow_id is the id"),
        "flow-number": ({"flow_id": 7}, "flow_id is the id"),
        "redis": ({"limits": None, "redis_url": "redis://x"}, "redis_url is where"),
        "limits-text": ({"limits": "5/hour"}, "limits is a StepUpLimits"),
    }
    for name, (options, hint) in rows.items():
        with subtests.test(name), pytest.raises(ConfigurationError, match=hint):
            stepup_router(guard, **options)


def test_something_else_than_a_guard_is_a_configuration_error() -> None:
    """The message shows how it is written."""
    not_a_guard: Any = "P2abcdefghijklmnopqrstuvwxyz"

    with pytest.raises(ConfigurationError, match=r"stepup_router\(guard\)"):
        stepup_router(not_a_guard)


def test_pages_may_be_on_this_machine(guard: StepUpGuard) -> None:
    """Plain http is for a loopback host, in development."""
    app_for(guard, redirect_uris=("http://localhost:3000/verify", "http://127.0.0.1:8000/"))


def test_deliveries_may_come_from_anywhere(guard: StepUpGuard) -> None:
    """An iterator is read once, and each delivery is listed once, in the given order."""
    with signed_in(guard) as ann:
        options = {"methods": ["otp"], "deliveries": iter(["sms", "email", "sms"])}
        person = Person(guard, ann.descope, options=options)
        refused = person.client.post("/checkout", headers=person.headers)

    assert assert_step_up_challenge(refused)["step_up"]["methods"] == ["sms", "email"]


def test_delivery_that_is_not_offered_is_refused(guard: StepUpGuard) -> None:
    """`deliveries` limits both steps."""
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options={"methods": ["otp"], "deliveries": ["sms"]})
        for response in (
            person.post("/otp/start", delivery="email"),
            person.post("/otp/verify", delivery="email", code="123456"),
        ):
            expected = [{"field": "delivery", "problem": "not_offered"}]
            assert (response.status_code, response.json()["errors"]) == (422, expected)
        assert person.asked_of_descope() == []
        assert person.post("/otp/start", delivery="sms").status_code == 200


def test_challenge_points_to_every_mounted_method(ann: Person) -> None:
    """The `step_up` member of a 401, exactly."""
    refused = ann.client.post("/checkout", headers=ann.headers)

    both = {"start_uri": "start", "callback_uri": "callback"}
    uris = {
        "totp": {"verify_uri": "verify"},
        "magiclink": {"start_uri": "start", "verify_uri": "verify"},
        "enchantedlink": {"start_uri": "start", "poll_uri": "poll", "verify_uri": "verify"},
        "passkey": {"start_uri": "start", "finish_uri": "finish"},
        "oauth": both,
        "sso": both,
        "notp": {"start_uri": "start", "poll_uri": "poll"},
    }
    assert assert_step_up_challenge(refused)["step_up"] == {
        "start_uri": "/step-up/otp/start",
        "verify_uri": "/step-up/otp/verify",
        "methods": OFFERS,
        "status_uri": "/step-up/status",
        "flow_id": "step-up",
        "uris": {
            method: {uri: f"/step-up/{method}/{step}" for uri, step in steps.items()}
            for method, steps in uris.items()
        },
    }


def test_only_what_is_chosen_is_mounted(guard: StepUpGuard) -> None:
    """Other methods have no routes and are in no challenge; without OTP it has no members."""
    options = {"methods": iter(["totp", "notp", "totp"]), "flow_id": None, "prefix": "/up"}
    with signed_in(guard) as ann:
        person = Person(guard, ann.descope, options=options)
        refused = person.client.post("/checkout", headers=person.headers)

        assert assert_step_up_challenge(refused)["step_up"] == {
            "methods": ["totp", "notp"],
            "status_uri": "/up/status",
            "uris": {
                "totp": {"verify_uri": "/up/totp/verify"},
                "notp": {"start_uri": "/up/notp/start", "poll_uri": "/up/notp/poll"},
            },
        }
        for path in ("/up/otp/start", "/up/passkey/start", "/up/magiclink/verify"):
            assert person.client.post(path, headers=person.headers, json={}).status_code == 404


def test_plain_router_answers_the_members_of_the_contract(ann: Person) -> None:
    """Without `methods` a challenge has OTP's two routes, the deliveries and the status route."""
    plain = Person(ann.guard, ann.descope, options={"methods": None, "redirect_uris": ()})

    refused = plain.client.post("/checkout", headers=plain.headers)

    assert assert_step_up_challenge(refused)["step_up"] == {
        "start_uri": "/step-up/otp/start",
        "verify_uri": "/step-up/otp/verify",
        "methods": ["email", "sms", "voice", "whatsapp"],
        "status_uri": "/step-up/status",
    }


def test_report_only_guard_still_guards_the_helper_routes() -> None:
    """Reporting is about policies; the helper routes are never left open."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", report_only=True)
    with signed_in(guard) as ann:
        cookies = {"Cookie": ann.tokens.cookie_headers["Cookie"]}
        start = "/step-up/otp/start"

        assert ann.client.post(start, json={}).status_code == 401
        assert ann.client.post(start, headers=cookies, json={}).status_code == 403
        assert ann.client.post("/checkout", headers=ann.headers).status_code == 200


def test_openapi_shows_bodies_and_replies(guard: StepUpGuard) -> None:
    """Both operations describe what they take and give, under names that stay the same."""
    app = FastAPI()
    app.include_router(stepup_router(guard), prefix="/v1")
    app.include_router(stepup_router(guard), prefix="/v2")

    paths = app.openapi()["paths"]

    operations = {path: operations["post"] for path, operations in paths.items()}
    named = {path: o["operationId"] for path, o in operations.items()}
    assert paths["/v1/step-up/status"]["get"]["operationId"] == "v1_step_up_status_get"
    assert named == {
        f"/v{n}/step-up/{path}": f"v{n}_step_up_{path.replace('/', '_')}_post"
        for n in (1, 2)
        for path in ("otp/start", "otp/verify", "status")
    }
    body = operations["/v1/step-up/otp/verify"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["code"]["pattern"] == "^[0-9]{6}$"
    assert body["schema"]["additionalProperties"] is False
    assert {"DescopeSession": []} in operations["/v1/step-up/otp/start"]["security"]
    assert {"DescopeSession": []} in operations["/v1/step-up/otp/verify"]["security"]


def test_openapi_describes_every_route(guard: StepUpGuard) -> None:
    """Each route shows what it takes, what it gives and each refusal, with the headers it has."""
    schema = app_for(guard).openapi()

    paths = {p: o for p, o in schema["paths"].items() if p.startswith("/step-up/")}
    assert len(paths) == 17
    for path, operations in paths.items():
        if path.endswith("/status"):
            continue
        responses = operations["post"]["responses"]
        public = path.endswith("enchantedlink/verify")
        expected = {"200", "400", "403", "413", "415", "422", "429", "502", "503"}
        expected |= set() if public else {"401"}
        expected |= {"202"} if path.endswith("/poll") else set()
        assert set(responses) == expected, path
        for status in expected - {"200", "202"}:
            assert set(responses[status]["content"]) == {"application/problem+json"}
        assert "Retry-After" in responses["429"]["headers"]
        assert public or "WWW-Authenticate" in responses["401"]["headers"]
        assert operations["post"]["requestBody"]["required"] is True
    assert set(paths["/step-up/status"]) == {"get", "post"}
    assert "StepUpRefusal" not in schema["components"]["schemas"]
    assert ORIGIN not in str(schema)


def test_openapi_is_true_without_install_too(guard: StepUpGuard) -> None:
    """There a refusal is JSON with a `detail`, as it is answered."""
    app = FastAPI()
    app.include_router(stepup_router(guard))

    schema = app.openapi()

    refused = schema["paths"]["/step-up/otp/start"]["post"]["responses"]["401"]["content"]
    reference = "#/components/schemas/StepUpRefusal"
    assert refused == {"application/json": {"schema": {"$ref": reference}}}
    assert set(schema["components"]["schemas"]["StepUpRefusal"]["properties"]) == {"detail"}
    answer = TestClient(app).post("/step-up/otp/start")
    required = schema["components"]["schemas"]["StepUpProblem"]["required"]
    assert answer.json()["detail"].keys() >= set(required)


def test_installed_app_answers_bare_problems(guard: StepUpGuard, ann: Person) -> None:
    """After `install` the refusals of the helper routes are problems too, headers included."""
    app = FastAPI()
    app.include_router(stepup_router(guard))
    install(app, guard)

    response = TestClient(app).post("/step-up/otp/start", headers=ann.headers, json={"x": 1})

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "invalid_body"
    assert dict(response.headers).items() >= SAFE_HEADERS.items()
