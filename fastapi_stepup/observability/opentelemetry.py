"""hook: the events as OpenTelemetry metrics, and the outcome on the current span."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, assert_never

from fastapi_stepup import _clock
from fastapi_stepup.events import (
    Event,
    EventHook,
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
from fastapi_stepup.observability.key_age import KeyAge
from fastapi_stepup.observability.purposes import PurposeLabels

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "opentelemetry":
        raise
    msg = "OpenTelemetry metrics need an extra: pip install 'fastapi-stepup[opentelemetry]'."
    raise ImportError(msg) from None

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

OUTCOME: Final = "stepup.outcome"
AGES: Final = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
DURATIONS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def hook(
    meter: "Meter | None" = None, *, monotonic: Callable[[], float] = _clock.monotonic
) -> EventHook:
    """Return a hook for `on_event=` that counts with *meter*.

    - Sets `stepup.outcome` on the current span, the last one of a request stays. Starts no span.
    - Attributes have few values: no realm, user, path or key id is one.
    - Needs the API only. Without an SDK nothing is counted.

    Args:
        meter: Makes the instruments; one of the global provider by default.
        monotonic: Gives seconds that never go back; for tests.
    """
    return _Instruments(metrics.get_meter("fastapi_stepup") if meter is None else meter, monotonic)


class _Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: "Meter", monotonic: Callable[[], float]) -> None:
        def counter(name: str, unit: str, text: str) -> "metrics.Counter":
            return meter.create_counter(f"stepup.{name}", f"{{{unit}}}", text)

        def seconds(name: str, text: str, bounds: tuple[float, ...]) -> "metrics.Histogram":
            return meter.create_histogram(
                f"stepup.{name}", "s", text, explicit_bucket_boundaries_advisory=bounds
            )

        self.asked = counter("asked", "request", "Requests refused for want of a step-up.")
        self.age = seconds("age", "Age of step-ups that met a policy.", AGES)
        self.started = counter("started", "step_up", "Step-ups begun at the helper routes.")
        self.finished = counter("finished", "step_up", "Step-ups tried at the helper routes.")
        self.duration = seconds(
            "finish.duration", "Duration of requests that try a step-up.", DURATIONS
        )
        self.limited = counter("rate_limited", "request", "Helper requests over a limit.")
        self.rejected = counter("token.rejected", "token", "Rejected tokens.")
        self.cache = counter("token.cache", "lookup", "Look-ups of verified tokens.")
        self.reported = counter("report_only", "request", "Refusals that were only reported.")
        self.one_time = counter("one_time", "step_up", "One-time step-ups.")
        self.fetches = counter("keys.fetches", "refresh", "Refreshes of the key set.")
        self.attempts = counter("keys.fetch.attempts", "fetch", "Fetches, retries included.")
        self.skipped = counter("keys.skipped", "key", "Members of key sets that are skipped.")
        self.unknown = counter("keys.unknown", "token", "Tokens under a key that the set lacks.")
        self.purposes = PurposeLabels()
        self.keys = KeyAge(monotonic)
        meter.create_observable_gauge(
            "stepup.keys.age", [self._observe_age], "s", "Age of the key set."
        )
        meter.create_observable_gauge(
            "stepup.keys.state",
            [self._observe_state],
            "1",
            "Key set: 0 none yet, 1 fresh, 2 stale, 3 expired.",
        )

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912  # one case an event
        outcome: str | None = None
        match event:  # the most frequent ones first
            case TokenCache(found):
                self.cache.add(1, {"outcome": found})
            case StepUpMet(age):
                outcome = "met"
                self.age.record(age)
            case StepUpAsked(reason, entry_point):
                outcome = "asked"
                self.asked.add(1, {"reason": reason, "entry_point": entry_point})
            case TokenRejected(rejected):
                outcome = "rejected"
                self.rejected.add(1, {"error.type": rejected.value})
            case StepUpStarted(method):
                outcome = "started"
                self.started.add(1, {"method": method})
            case StepUpFinished(method, outcome, duration):
                self.finished.add(1, {"method": method, "outcome": outcome})
                self.duration.record(duration, {"method": method, "outcome": outcome})
            case RateLimited(what):
                outcome = "rate_limited"
                self.limited.add(1, {"what": what})
            case OneTimeUse(purpose, outcome):
                self.one_time.add(1, {"purpose": self.purposes.of(purpose), "outcome": outcome})
            case ReportOnly(code):
                outcome = "reported"
                self.reported.add(1, {"code": code})
            case UnknownKid(kid_outcome):
                self.unknown.add(1, {"outcome": kid_outcome})
            case FetchStarted():
                self.attempts.add(1)
            case FetchFailed(failure):
                self.fetches.add(1, {"outcome": failure.value})
            case KeySkipped(_, alarming):
                self.skipped.add(1, {"alarming": alarming})
            case FetchSucceeded():
                self.fetches.add(1, {"outcome": "succeeded"})
                self.keys.note(event)
            case StaleServed() | HardExpired():
                self.keys.note(event)
            case _:
                assert_never(event)
        if outcome is not None:
            trace.get_current_span().set_attribute(OUTCOME, outcome)

    def _observe_age(self, _: "CallbackOptions") -> Iterable["metrics.Observation"]:
        return [metrics.Observation(self.keys.age())] if self.keys.state else []

    def _observe_state(self, _: "CallbackOptions") -> Iterable["metrics.Observation"]:
        return [metrics.Observation(self.keys.state)]
