"""Helper routes report each start and each finish: one event and one audit record."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard
from fastapi_stepup.events import (
    AuditRecord,
    Event,
    RateLimited,
    StepUpAsked,
    StepUpFinished,
    StepUpMet,
    StepUpStarted,
)
from fastapi_stepup.router.rate_limits import StepUpLimits
from fastapi_stepup.router.records import reporting
from tests.support.step_up_methods import (
    BY_NAME,
    PUBLIC,
    MethodCase,
    Person,
    each_method,
    signed_in,
)

HELPER_EVENTS = (StepUpStarted, StepUpFinished, RateLimited)


class Heard:
    """A guard, and what it reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.records: list[AuditRecord] = []
        self.guard = StepUpGuard.for_descope(
            "P2abcdefghijklmnopqrstuvwxyz",
            on_event=self.events.append,
            on_audit=self.records.append,
            audit_subjects="plain",
        )

    @property
    def steps(self) -> list[Event]:
        """The events of helper routes."""
        return [event for event in self.events if isinstance(event, HELPER_EVENTS)]

    @property
    def said(self) -> list[tuple[str, str, str | None, str | None]]:
        """Action, outcome, method and reason of each record."""
        return [(each.action, each.outcome, each.method, each.reason) for each in self.records]


@pytest.fixture
def heard() -> Heard:
    """A guard that is listened to."""
    return Heard()


@each_method
def test_step_up_is_reported_from_start_to_finish(case: MethodCase, heard: Heard) -> None:
    """By each method: what began, what ended and how long that took, and who it was."""
    method = case.name.partition("-")[0]
    with signed_in(heard.guard) as ann:
        assert case.complete(ann).status_code == 200
        user = ann.tokens.user_id

    *started, finished = heard.steps
    assert started == ([StepUpStarted(method)] if case.start else [])  # type: ignore[arg-type]
    assert isinstance(finished, StepUpFinished)
    assert (finished.method, finished.outcome) == (method, "finished")
    assert 0 < finished.duration < 60
    begun = [("start", "succeeded", method, None)] if case.start else []
    assert heard.said == [*begun, ("finish", "succeeded", method, None)]
    assert {record.subject for record in heard.records} == {user}
    assert heard.records[-1].route == f"/step-up{case.finish}"


def test_poll_that_has_nothing_yet_is_no_event(heard: Heard) -> None:
    """A page asks every second or two."""
    with signed_in(heard.guard) as ann:
        started = ann.post("/enchantedlink/start").json()
        polled = ann.post("/enchantedlink/poll", pending_ref=started["pending_ref"])

    assert polled.status_code == 202
    assert heard.steps == [StepUpStarted("enchantedlink")]
    assert heard.said == [("start", "succeeded", "enchantedlink", None)]


def test_wrong_code_is_refused_and_an_outage_has_failed(heard: Heard) -> None:
    """The reason is the problem code of the answer."""
    with signed_in(heard.guard) as ann:
        ann.post("/otp/start", delivery="email")
        ann.post("/otp/verify", delivery="email", code="000000")
        ann.descope.fail(503, times=9)
        ann.post("/otp/verify", delivery="email", code="000000")

    outcomes = [each.outcome for each in heard.steps if isinstance(each, StepUpFinished)]
    assert outcomes == ["refused", "failed"]
    assert heard.said[1:] == [
        ("finish", "refused", "otp", "otp_rejected"),
        ("finish", "failed", "otp", "descope_unavailable"),
    ]


@pytest.mark.parametrize(
    ("limits", "path", "what"),
    [
        ({"starts_per_subject": "1/hour"}, "/otp/start", "start"),
        ({"tries_per_subject": "1/hour"}, "/otp/verify", "try"),
        ({"polls_per_subject": "1/hour"}, "/enchantedlink/poll", "poll"),
        ({"tries_per_address": "1/hour"}, "/enchantedlink/verify", "public_try"),
    ],
)
def test_limit_that_is_reached_says_what_it_held_back(
    limits: dict[str, Any], path: str, what: str, heard: Heard
) -> None:
    """Once a request, whichever limit it was."""
    body = {"delivery": "email", "code": "000000", "pending_ref": "ref", "token": "t0k3n"}
    answers: list[int] = []
    members = {
        "/otp/start": ("delivery",),
        "/otp/verify": ("delivery", "code"),
        "/enchantedlink/poll": ("pending_ref",),
        "/enchantedlink/verify": ("token",),
    }
    with signed_in(heard.guard) as ann:
        person = Person(heard.guard, ann.descope, options={"limits": StepUpLimits(**limits)})
        for _ in range(2):
            given = {name: body[name] for name in members[path]}
            if path == PUBLIC:
                answers.append(person.client.post(f"/step-up{path}", json=given).status_code)
            else:
                answers.append(person.post(path, **given).status_code)

    assert answers[-1] == 429
    assert [event for event in heard.events if isinstance(event, RateLimited)] == [
        RateLimited(what)  # type: ignore[arg-type]
    ]
    reasons = [record.reason for record in heard.records]
    assert reasons.count("too_many_attempts") == (0 if what == "public_try" else 1)


def test_start_that_is_refused_is_in_the_trail_alone(heard: Heard) -> None:
    """Nothing began."""
    with signed_in(heard.guard) as ann:
        ann.post("/otp/start", delivery="pigeon")

    assert heard.steps == []
    assert heard.said == [("start", "refused", "otp", "invalid_body")]


def test_session_that_ran_out_is_reported_by_what_came_out(heard: Heard) -> None:
    """The caller is the user of the refresh token; that the session is missing is no refusal."""
    with signed_in(heard.guard) as ann:
        ann.post("/otp/start", delivery="email")
        code = ann.descope.outbox[-1].code
        body = {"delivery": "email", "code": code, "refresh_token": ann.tokens.refresh_token}
        done = ann.client.post("/step-up/otp/verify", json=body)
        user = ann.tokens.user_id

    assert done.status_code == 200
    assert heard.said[1:] == [("finish", "succeeded", "otp", None)]
    assert heard.records[-1].subject == user


def test_challenged_request_has_its_own_records(heard: Heard) -> None:
    """From the challenge to the open route: each decision once, in order."""
    with signed_in(heard.guard) as ann:
        ann.client.post("/checkout", headers=ann.headers)
        session = BY_NAME["otp-email"].complete(ann).json()["session_token"]
        headers = {"Authorization": f"Bearer {session}"}
        assert ann.client.post("/checkout", headers=headers).status_code == 200

    assert [(each.action, each.outcome) for each in heard.records] == [
        ("access", "refused"),
        ("start", "succeeded"),
        ("finish", "succeeded"),
        ("access", "succeeded"),
    ]
    decided = [each for each in heard.events if isinstance(each, (StepUpAsked, StepUpMet))]
    assert [type(each) for each in decided] == [StepUpAsked, StepUpMet]


def test_status_that_finds_no_session_is_no_refusal(heard: Heard) -> None:
    """The route answers without a session."""
    with signed_in(heard.guard) as ann:
        assert TestClient(ann.client.app).get("/step-up/status").status_code == 200

    assert heard.records == []


def test_error_of_another_kind_has_failed(heard: Heard) -> None:
    """Neither its text nor its type is in the record."""
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []})

    with (
        pytest.raises(RuntimeError),
        reporting(heard.guard.decisions, request, "otp", "finish"),
    ):
        raise RuntimeError("secret")

    assert heard.said == [("finish", "failed", "otp", "error")]
    assert heard.records[0].subject is None
