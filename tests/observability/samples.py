"""One event of each kind, with the metrics that it must change."""

from dataclasses import dataclass

from fastapi_stepup.errors import FailureReason, RejectReason
from fastapi_stepup.events import (
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    HardExpired,
    KeySkipped,
    OneTimeUse,
    RateLimited,
    ReportOnly,
    StaleServed,
    StepUpAsked,
    StepUpFinished,
    StepUpMet,
    StepUpStarted,
    TokenCache,
    TokenRejected,
    UnknownKid,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A value as Prometheus' text format has it, and as OpenTelemetry names it."""

    prometheus: str
    opentelemetry: str
    attributes: tuple[tuple[str, str | bool], ...]
    value: float


FINISHED = (("method", "otp"), ("outcome", "refused"))

SAMPLES: list[tuple[Event, list[Sample]]] = [
    (
        FetchStarted(1),
        [Sample("stepup_keys_fetch_attempts_total", "stepup.keys.fetch.attempts", (), 1)],
    ),
    (
        FetchSucceeded(0.1, 1, 1, 0, 0, 300),
        [
            Sample(
                'stepup_keys_fetches_total{outcome="succeeded"}',
                "stepup.keys.fetches",
                (("outcome", "succeeded"),),
                1,
            ),
            Sample("stepup_keys_state", "stepup.keys.state", (), 1),
            Sample("stepup_keys_age_seconds", "stepup.keys.age", (), 0),
        ],
    ),
    (
        FetchFailed(FailureReason.TIMEOUT, 1, 5),
        [
            Sample(
                'stepup_keys_fetches_total{outcome="timeout"}',
                "stepup.keys.fetches",
                (("outcome", "timeout"),),
                1,
            )
        ],
    ),
    (
        KeySkipped("use", alarming=True),
        [
            Sample(
                'stepup_keys_skipped_total{alarming="true"}',
                "stepup.keys.skipped",
                (("alarming", True),),
                1,
            )
        ],
    ),
    (
        StaleServed(400),
        [
            Sample("stepup_keys_state", "stepup.keys.state", (), 2),
            Sample("stepup_keys_age_seconds", "stepup.keys.age", (), 400),
        ],
    ),
    (
        HardExpired(4000),
        [
            Sample("stepup_keys_state", "stepup.keys.state", (), 3),
            Sample("stepup_keys_age_seconds", "stepup.keys.age", (), 4000),
        ],
    ),
    (
        UnknownKid("throttled", "kid-of-a-stranger"),
        [
            Sample(
                'stepup_keys_unknown_total{outcome="throttled"}',
                "stepup.keys.unknown",
                (("outcome", "throttled"),),
                1,
            )
        ],
    ),
    (
        TokenRejected(RejectReason.EXPIRED),
        [
            Sample(
                'stepup_tokens_rejected_total{error_type="expired"}',
                "stepup.token.rejected",
                (("error.type", "expired"),),
                1,
            )
        ],
    ),
    (
        TokenCache("hit"),
        [
            Sample(
                'stepup_token_cache_total{outcome="hit"}',
                "stepup.token.cache",
                (("outcome", "hit"),),
                1,
            )
        ],
    ),
    (
        ReportOnly("invalid_token"),
        [
            Sample(
                'stepup_report_only_total{code="invalid_token"}',
                "stepup.report_only",
                (("code", "invalid_token"),),
                1,
            )
        ],
    ),
    (
        StepUpAsked("step_up_expired", "middleware"),
        [
            Sample(
                'stepup_asked_total{entry_point="middleware",reason="step_up_expired"}',
                "stepup.asked",
                (("reason", "step_up_expired"), ("entry_point", "middleware")),
                1,
            )
        ],
    ),
    (
        StepUpMet(42.5),
        [
            Sample("stepup_age_seconds_sum", "stepup.age", (), 42.5),
        ],
    ),
    (
        StepUpStarted("passkey"),
        [
            Sample(
                'stepup_started_total{method="passkey"}',
                "stepup.started",
                (("method", "passkey"),),
                1,
            )
        ],
    ),
    (
        StepUpFinished("otp", "refused", 0.25),
        [
            Sample(
                'stepup_finished_total{method="otp",outcome="refused"}',
                "stepup.finished",
                FINISHED,
                1,
            ),
            Sample(
                'stepup_finish_seconds_sum{method="otp",outcome="refused"}',
                "stepup.finish.duration",
                FINISHED,
                0.25,
            ),
        ],
    ),
    (
        RateLimited("public_try"),
        [
            Sample(
                'stepup_rate_limited_total{what="public_try"}',
                "stepup.rate_limited",
                (("what", "public_try"),),
                1,
            )
        ],
    ),
    (
        OneTimeUse("delete-account", "used"),
        [
            Sample(
                'stepup_one_time_total{outcome="used",purpose="delete-account"}',
                "stepup.one_time",
                (("purpose", "delete-account"), ("outcome", "used")),
                1,
            )
        ],
    ),
]
