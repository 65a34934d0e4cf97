"""The wire table: what each error tells a client, in both frameworks, and what it never tells."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from fastapi_stepup import Challenge, StepUpGuard, errors, install
from fastapi_stepup.errors import MAX_RETRY_AFTER, Problem, RejectReason, StepUpError

REALM = "the realm"
UNMET = [{"requirement": "step_up", "reason": "missing"}]


def step_up_required() -> errors.StepUpRequired:
    """Return a refusal that asks for everything."""
    return errors.StepUpRequired(UNMET, max_age=300, acr_values=("phr", "phrh"), amr=("sms",))


WIRE: list[Any] = [
    # error, status, code, challenge (None, or its error), Retry-After
    pytest.param(errors.Unauthenticated, 401, "unauthenticated", "", None, id="unauthenticated"),
    pytest.param(errors.InvalidRequest, 400, "invalid_request", "invalid_request", None,
                 id="invalid_request"),
    pytest.param(lambda: errors.InvalidToken(RejectReason.EXPIRED), 401, "invalid_token",
                 "invalid_token", None, id="invalid_token"),
    pytest.param(step_up_required, 401, "insufficient_user_authentication",
                 "insufficient_user_authentication", None, id="insufficient"),
    pytest.param(errors.ImpersonationRefused, 403, "impersonation_refused", None, None,
                 id="impersonation_refused"),
    pytest.param(errors.CrossSiteRequest, 403, "cross_site_request", None, None,
                 id="cross_site_request"),
    pytest.param(errors.PageOriginRequired, 403, "cross_site_request", None, None,
                 id="page_origin_required"),
    pytest.param(errors.KeysUnavailable, 503, "keys_unavailable", None, "1",
                 id="keys_unavailable"),
    pytest.param(errors.RevocationUnavailable, 503, "revocation_unavailable", None, "1",
                 id="revocation_unavailable"),
    pytest.param(errors.StepUpBusy, 409, "step_up_busy", None, "1", id="step_up_busy"),
    pytest.param(errors.OneTimeUnavailable, 503, "one_time_unavailable", None, "1",
                 id="one_time_unavailable"),
    pytest.param(errors.InvalidBody, 422, "invalid_body", None, None, id="invalid_body"),
    pytest.param(errors.UnsupportedMediaType, 415, "unsupported_media_type", None, None,
                 id="unsupported_media_type"),
    pytest.param(errors.BodyTooLarge, 413, "body_too_large", None, None, id="body_too_large"),
    pytest.param(errors.RefreshTokenRequired, 400, "refresh_token_required", None, None,
                 id="refresh_token_required"),
    pytest.param(errors.DeliveryUnavailable, 400, "delivery_unavailable", None, None,
                 id="delivery_unavailable"),
    pytest.param(errors.NoStepUpMethod, 403, "no_step_up_method", None, None,
                 id="no_step_up_method"),
    pytest.param(errors.LinkRejected, 400, "link_rejected", None, None, id="link_rejected"),
    pytest.param(errors.PasskeyRejected, 400, "passkey_rejected", None, None,
                 id="passkey_rejected"),
    pytest.param(errors.ProviderRejected, 400, "provider_rejected", None, None,
                 id="provider_rejected"),
    pytest.param(errors.OTPRejected, 400, "otp_rejected", None, None, id="otp_rejected"),
    pytest.param(errors.OTPExpired, 400, "otp_expired", None, None, id="otp_expired"),
    pytest.param(errors.OTPExhausted, 400, "otp_exhausted", None, None, id="otp_exhausted"),
    pytest.param(errors.TooManyAttempts, 429, "too_many_attempts", None, "60",
                 id="too_many_attempts"),
    pytest.param(errors.SubjectMismatch, 403, "subject_mismatch", None, None,
                 id="subject_mismatch"),
    pytest.param(errors.DescopeUnavailable, 503, "descope_unavailable", None, "5",
                 id="descope_unavailable"),
    pytest.param(errors.DescopeError, 502, "descope_error", None, None, id="descope_error"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "status", "code", "challenge", "wait"), WIRE)
def test_wire_table(
    make: Callable[[], StepUpError],
    status: int,
    code: str,
    challenge: str | None,
    wait: str | None,
) -> None:
    """Status, header and body of design section 5, on the error itself."""
    error = make()
    error.bind(realm=REALM)
    headers = dict(error.headers)

    assert isinstance(error, HTTPException)
    assert error.status_code == error.status == error.problem["status"] == status
    assert error.code == error.problem["code"] == code
    assert error.problem["type"] == f"urn:fastapi-stepup:problem:{code}"
    assert list(error.problem)[:5] == ["type", "title", "status", "detail", "code"]
    assert error.problem["title"]
    assert error.problem["detail"].endswith(".")
    assert headers.pop("Cache-Control") == "no-store"
    assert headers.pop("Retry-After", None) == wait
    expected = None if challenge is None else [REALM, challenge or None]
    written = [[c.realm, c.error] for c in Challenge.parse(headers.pop("WWW-Authenticate", ""))]
    assert written == ([] if expected is None else [expected])
    assert headers == {}


def wire_errors(kind: type[StepUpError] = StepUpError) -> list[type[StepUpError]]:
    """Return the package's errors that have a wire form."""
    ours = (
        [kind] if hasattr(kind, "status") and kind.__module__.startswith("fastapi_stepup") else []
    )
    return [*ours, *(found for child in kind.__subclasses__() for found in wire_errors(child))]


def test_every_error_is_in_the_wire_table() -> None:
    """A new error needs a row; a subclass that only says more shares code and title."""
    assert {type(row.values[0]()) for row in WIRE} == set(wire_errors())
    assert all(kind.__name__ in errors.__all__ for kind in wire_errors())
    codes = {kind.code: kind for kind in wire_errors() if kind is not errors.PageOriginRequired}
    assert len(codes) == len({kind.title for kind in codes.values()}) == len(WIRE) - 1
    assert len({kind.text for kind in wire_errors()}) == len(WIRE) - 1  # two share one: both 503


def test_each_401_has_a_challenge() -> None:
    """401 always, 400 for `invalid_request` as RFC 6750 section 3.1 says, else none."""
    for row in WIRE:
        error = row.values[0]()
        asked = error.status == 401 or error.code == "invalid_request"
        assert ("WWW-Authenticate" in error.headers) is asked


def test_step_up_required_says_the_same_in_header_and_body() -> None:
    """RFC 9470 section 3: everything in one challenge."""
    error = step_up_required()
    error.bind(realm="shop")

    assert error.headers["WWW-Authenticate"] == (
        'Bearer realm="shop", error="insufficient_user_authentication", error_description="This '
        'action needs a fresh proof that it is you. Complete a step-up and try again.", '
        'acr_values="phr phrh", max_age="300"'
    )
    assert error.problem == {
        "type": "urn:fastapi-stepup:problem:insufficient_user_authentication",
        "title": "Step-up authentication required",
        "status": 401,
        "detail": "This action needs a fresh proof that it is you. Complete a step-up and try "
        "again.",
        "code": "insufficient_user_authentication",
        "unmet": UNMET,
        "max_age": 300,
        "acr_values": ["phr", "phrh"],
        "amr": ["sms"],
    }


def test_step_up_required_leaves_out_what_is_not_asked() -> None:
    """But not a `max_age` of zero."""
    error, zero = errors.StepUpRequired(UNMET), errors.StepUpRequired(UNMET, max_age=0)

    assert list(error.problem)[5:] == ["unmet"]
    more = errors.StepUpRequired(UNMET, alternatives=({"unmet": UNMET},), unmet_after_step_up=True)
    assert more.problem["alternatives"] == [{"unmet": UNMET}]
    assert more.problem["unmet_after_step_up"] is True
    assert (error.challenge().max_age, error.challenge().acr_values) == (None, ())
    assert zero.problem["max_age"] == zero.challenge().max_age == 0


def test_bind_completes_the_wire_form_and_keeps_what_was_there() -> None:
    """The guard adds its realm and routes; a second call replaces the realm and keeps the rest."""
    error = step_up_required()
    problem = error.problem
    routes = {"start_uri": "/step-up/otp/start"}
    error.bind(realm="one", step_up=routes)
    error.bind(realm="two")

    assert error.problem is problem
    assert vars(error)["detail"] is problem
    assert error.problem["step_up"] == routes
    assert error.problem["unmet"] == UNMET
    assert [c.realm for c in Challenge.parse(error.headers["WWW-Authenticate"])] == ["two"]


def test_errors_of_two_requests_share_nothing() -> None:
    """What is bound to one is not seen in the next."""
    one, other = errors.Unauthenticated(), errors.Unauthenticated()
    one.bind(realm="one", extra=1)

    assert "extra" not in other.problem
    assert other.headers["WWW-Authenticate"] == "Bearer"


def test_retry_after_is_a_second_to_an_hour(subtests: pytest.Subtests) -> None:
    """Rounded up, so that no client comes back too early, whatever the server asked for."""
    waits: dict[float, int] = {
        -1: 1,
        0: 1,
        0.2: 1,
        1: 1,
        1.2: 2,
        59: 59,
        3600: 3600,
        3600.5: 3600,
        10**400: 3600,
        float("inf"): 3600,
        float("-inf"): 1,
        float("nan"): 1,
    }
    for wait, sent in waits.items():
        with subtests.test(repr(wait)[:20]):
            error = errors.TooManyAttempts(retry_after=wait)

            assert error.retry_after == sent <= MAX_RETRY_AFTER
            assert error.headers["Retry-After"] == str(sent)


@pytest.mark.parametrize(
    "kind",
    [
        errors.KeysUnavailable,
        errors.RevocationUnavailable,
        errors.OneTimeUnavailable,
        errors.DescopeUnavailable,
    ],
)
def test_retry_after_of_an_outage_can_be_said(kind: type[errors.KeysUnavailable]) -> None:
    """Within the same bounds."""
    waits = [kind(retry_after=wait).headers["Retry-After"] for wait in (7, 3601)]

    assert waits == ["7", "3600"]


def test_invalid_body_names_the_fields_at_fault() -> None:
    """When it knows them."""
    named = [{"field": "code", "problem": "missing"}]

    assert errors.InvalidBody(named).problem["errors"] == named
    assert "errors" not in errors.InvalidBody().problem
    assert "errors" not in errors.InvalidBody([]).problem


def test_extension_members_have_legal_names() -> None:
    """RFC 9457 section 3.2: a letter first, then letters, digits and `_`; three or more."""
    error = step_up_required()
    error.bind(realm=None, step_up={})

    for name in error.problem:
        assert name.isidentifier()
        assert name[0].isalpha()
        assert len(name) >= 3


def test_reason_of_an_invalid_token_is_for_operators_only(subtests: pytest.Subtests) -> None:
    """It is on the object and in its `repr`, and not in what a client gets."""
    baseline = errors.InvalidToken(RejectReason.MALFORMED, realm="shop")
    for reason in RejectReason:
        with subtests.test(reason.value):
            error = errors.InvalidToken(reason, realm="shop")

            assert error.reason is reason
            assert repr(error) == f"InvalidToken({reason.value})"
            assert (error.problem, error.headers) == (baseline.problem, baseline.headers)


def test_no_error_shows_more_than_fixed_text(subtests: pytest.Subtests) -> None:
    """`str`, `repr` and `args` are short and fixed; copies and pickles come back the same."""
    known = {"status_code", "detail", "headers", "problem", "realm", "members", "retry_after"}
    for row in WIRE:
        with subtests.test(row.id):
            error = row.values[0]()
            error.bind(realm=REALM)

            assert str(error) == f"{error.status} {error.code}: {error.text}"
            assert repr(error).startswith(f"{type(error).__name__}(")
            assert len(repr(error)) < 50
            for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
                assert type(twin) is type(error)
                assert (twin.problem, twin.headers) == (error.problem, error.headers)
                assert vars(twin)["detail"] is twin.problem
            assert set(vars(error)) - known <= {"reason", "max_age", "acr_values"}


def test_configuration_error_is_a_value_error() -> None:
    """And no answer to a client."""
    assert issubclass(errors.ConfigurationError, ValueError)
    assert not issubclass(errors.ConfigurationError, HTTPException)


def raising(make: Callable[[], StepUpError]) -> Callable[[Request], None]:
    """Return an endpoint that answers with an error."""

    def endpoint(request: Request) -> None:
        raise make()

    return endpoint


each_kind = pytest.mark.parametrize(
    "make",
    [
        pytest.param(errors.Unauthenticated, id="challenge"),
        pytest.param(step_up_required, id="members"),
        pytest.param(errors.TooManyAttempts, id="retry-after"),
        pytest.param(errors.DescopeError, id="text-alone"),
    ],
)


@each_kind
def test_bare_starlette_answers_with_nothing_installed(make: Callable[[], StepUpError]) -> None:
    """The problem is the body as JSON text; Starlette's own handler declares plain text."""
    response = TestClient(Starlette(routes=[Route("/", raising(make))])).get("/")

    assert (response.status_code, response.json()) == (make().status, make().problem)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert int(response.headers["content-length"]) == len(response.content)
    for name, value in make().headers.items():
        assert response.headers[name] == value


@each_kind
def test_fastapi_answers_with_nothing_installed(make: Callable[[], StepUpError]) -> None:
    """FastAPI wraps the problem in `detail`, as it does with each `HTTPException`."""
    app = FastAPI()
    app.add_api_route("/", raising(make))
    response = TestClient(app).get("/")

    assert (response.status_code, response.json()) == (make().status, {"detail": make().problem})
    assert response.headers["content-type"] == "application/json"
    for name, value in make().headers.items():
        assert response.headers[name] == value


@each_kind
def test_installed_app_answers_with_the_bare_problem(
    guard: StepUpGuard, make: Callable[[], StepUpError]
) -> None:
    """RFC 9457 section 3, in both frameworks."""
    starlette, fastapi = Starlette(routes=[Route("/", raising(make))]), FastAPI()
    fastapi.add_api_route("/", raising(make))

    for app in (starlette, fastapi):
        install(app, guard)
        response = TestClient(app).get("/")
        assert (response.status_code, response.json()) == (make().status, make().problem)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"


def test_problem_encodes_as_json_text() -> None:
    """In the charset that is asked for, without needless escapes."""
    problem = Problem(title="Caf\u00e9", unmet=[])

    assert problem.encode() == '{"title":"Caf\u00e9","unmet":[]}'.encode()
    assert problem.encode("latin-1") == b'{"title":"Caf\xe9","unmet":[]}'
    assert json.loads(json.dumps(problem)) == problem


def test_a_graphql_error_carries_the_problem() -> None:
    """GraphQL servers copy `extensions` of what a resolver raised; a plain copy."""
    error = step_up_required()
    error.bind(realm="shop", step_up={"start_uri": "/start"})

    assert error.extensions == error.problem
    assert type(error.extensions) is dict
    error.extensions.clear()
    assert error.extensions["step_up"] == {"start_uri": "/start"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(errors.Unauthenticated(), "401 unauthenticated", id="plain"),
        pytest.param(
            errors.InvalidToken(RejectReason.NOT_YET_VALID),
            "401 invalid_token (not_yet_valid)",
            id="token",
        ),
        pytest.param(
            errors.StepUpRequired([*UNMET, {"requirement": "amr", "reason": "missing"}]),
            "401 insufficient_user_authentication (step_up missing, amr missing)",
            id="policy",
        ),
        pytest.param(errors.OTPRejected(), "400 otp_rejected", id="helper-route"),
    ],
)
def test_log_line_has_the_reason(error: StepUpError, line: str) -> None:
    """For operators: more than a client gets, and nothing of the request."""
    assert error.log_line == line


def test_details_help_the_reader() -> None:
    """Each says what to do next, on its own route."""
    assert "bearer" not in errors.PageOriginRequired().problem["detail"]
    assert "Origin" in errors.PageOriginRequired().problem["detail"]
    assert "new code" in errors.OTPExhausted().problem["detail"]
    assert "code" not in errors.TooManyAttempts().problem["detail"]
    assert "code" not in errors.DeliveryUnavailable().problem["detail"]
    assert "account that you are signed in with" in errors.SubjectMismatch().problem["detail"]
