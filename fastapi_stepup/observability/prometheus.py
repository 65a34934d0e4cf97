"""hook: the events as Prometheus metrics (extra `prometheus`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, assert_never, get_args

from fastapi_stepup import _clock
from fastapi_stepup.errors import ConfigurationError, FailureReason, RejectReason
from fastapi_stepup.events import (
    AskedReason,
    EntryPointName,
    Event,
    EventHook,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    FinishOutcome,
    HardExpired,
    KeySkipped,
    KidOutcome,
    LimitedStep,
    MethodName,
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
    from prometheus_client import REGISTRY, Counter, Gauge, Histogram
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "prometheus_client":
        raise
    msg = "Prometheus metrics need an extra: pip install 'fastapi-stepup[prometheus]'."
    raise ImportError(msg) from None

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

AGES: Final = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
DURATIONS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def hook(
    registry: "CollectorRegistry | None" = None,
    *,
    monotonic: Callable[[], float] = _clock.monotonic,
) -> EventHook:
    """Return a hook for `on_event=` that counts into *registry*.

    - Labels have few values: no realm, user, path or key id is one.
    - Several guards may share the hook. Counters then add up, and the age of the keys is that of
      the guard that reported last.
    - With `PROMETHEUS_MULTIPROC_DIR` the age of the keys is that of the last event about them.

    Args:
        registry: Where the metrics are registered; the client's own registry by default.
        monotonic: Gives seconds that never go back; for tests.

    Raises:
        ConfigurationError: The registry has these metrics already.
    """
    try:
        return _Metrics(REGISTRY if registry is None else registry, monotonic)
    except ValueError:
        text = "This registry has the metrics of another hook: give one hook to all guards."
    raise ConfigurationError(text)


class _Metrics:
    """The metrics of one registry. Children with known labels exist from the start, as zeros."""

    def __init__(self, registry: "CollectorRegistry", monotonic: Callable[[], float]) -> None:
        def counter(name: str, text: str, **labels: Any) -> Any:
            made = Counter(f"stepup_{name}", text, tuple(labels), registry=registry)
            return _children(made, labels)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"stepup_{name}", text, registry=registry, multiprocess_mode="livemax")

        methods, outcomes = get_args(MethodName), get_args(FinishOutcome)
        self.asked = counter(
            "asked",
            "Requests refused for want of a step-up.",
            reason=get_args(AskedReason),
            entry_point=get_args(EntryPointName),
        )
        self.age = Histogram(
            "stepup_age_seconds",
            "Age of step-ups that met a policy.",
            buckets=AGES,
            registry=registry,
        )
        self.started = counter("started", "Step-ups begun at the helper routes.", method=methods)
        self.finished = counter(
            "finished", "Step-ups tried at the helper routes.", method=methods, outcome=outcomes
        )
        self.duration = Histogram(
            "stepup_finish_seconds",
            "Duration of requests that try a step-up.",
            ("method", "outcome"),
            buckets=DURATIONS,
            registry=registry,
        )
        self.limited = counter(
            "rate_limited", "Helper requests over a limit.", what=get_args(LimitedStep)
        )
        self.rejected = counter(
            "tokens_rejected", "Rejected tokens.", error_type=[each.value for each in RejectReason]
        )
        self.cache = counter(
            "token_cache", "Look-ups of verified tokens.", outcome=("hit", "miss", "evict")
        )
        self.reported = Counter(
            "stepup_report_only", "Refusals that were only reported.", ("code",), registry=registry
        )
        self.one_time = Counter(
            "stepup_one_time",
            "One-time step-ups.",
            ("purpose", "outcome"),
            registry=registry,
        )
        self.fetches = counter(
            "keys_fetches",
            "Refreshes of the key set.",
            outcome=("succeeded", *(each.value for each in FailureReason)),
        )
        self.attempts = counter("keys_fetch_attempts", "Fetches of the key set, retries included.")
        self.skipped = counter(
            "keys_skipped", "Members of key sets that are skipped.", alarming=("false", "true")
        )
        self.unknown = counter(
            "keys_unknown", "Tokens under a key that the set lacks.", outcome=get_args(KidOutcome)
        )
        self.purposes = PurposeLabels()
        self.keys = KeyAge(monotonic)
        self.key_age = gauge("keys_age_seconds", "Age of the key set.")
        self.key_state = gauge("keys_state", "Key set: 0 none yet, 1 fresh, 2 stale, 3 expired.")
        self.key_age.set_function(self.keys.age)

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912  # one case an event
        match event:  # the most frequent ones first
            case TokenCache():
                self.cache[event.outcome].inc()  # faster than a pattern with arguments
            case StepUpMet():
                self.age.observe(event.age)
            case StepUpAsked(reason, entry_point):
                self.asked[reason, entry_point].inc()
            case TokenRejected(rejected):
                self.rejected[rejected.value].inc()
            case StepUpStarted(method):
                self.started[method].inc()
            case StepUpFinished(method, finish, duration):
                self.finished[method, finish].inc()
                self.duration.labels(method, finish).observe(duration)
            case RateLimited(what):
                self.limited[what].inc()
            case OneTimeUse(purpose, use):
                self.one_time.labels(self.purposes.of(purpose), use).inc()
            case ReportOnly(code):
                self.reported.labels(code).inc()
            case UnknownKid(kid_outcome):
                self.unknown[kid_outcome].inc()
            case FetchStarted():
                self.attempts.inc()
            case FetchFailed(failure):
                self.fetches[failure.value].inc()
            case KeySkipped(_, alarming):
                self.skipped["true" if alarming else "false"].inc()
            case FetchSucceeded():
                self.fetches["succeeded"].inc()
                self._note(event)
            case StaleServed() | HardExpired():
                self._note(event)
            case _:
                assert_never(event)

    def _note(self, event: FetchSucceeded | StaleServed | HardExpired) -> None:
        age = self.keys.note(event)
        self.key_state.set(self.keys.state)
        # Read with several processes only, where a gauge is a number in a file.
        self.key_age.set(age)


def _children(metric: Any, labels: dict[str, Any]) -> Any:
    """Return the children of *metric* by the values of their labels; itself if it has none."""
    if not labels:
        return metric
    names = list(labels)
    if len(names) == 1:
        return {value: metric.labels(value) for value in labels[names[0]]}
    return {
        (first, second): metric.labels(first, second)
        for first in labels[names[0]]
        for second in labels[names[1]]
    }
