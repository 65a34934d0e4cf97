"""The OpenTelemetry hook: what a real in-memory reader and exporter get."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fastapi_stepup.errors import RejectReason
from fastapi_stepup.events import (
    Event,
    FetchStarted,
    OneTimeUse,
    RateLimited,
    ReportOnly,
    StepUpAsked,
    StepUpFinished,
    StepUpMet,
    StepUpStarted,
    TokenCache,
    TokenRejected,
    UnknownKid,
)
from fastapi_stepup.observability import opentelemetry
from tests.observability.samples import SAMPLES, Sample

UNITS = {
    "stepup.asked": "{request}",
    "stepup.finish.duration": "s",
    "stepup.age": "s",
    "stepup.keys.age": "s",
    "stepup.keys.state": "1",
}


def points(reader: InMemoryMetricReader) -> dict[tuple[str, frozenset[tuple[str, Any]]], Any]:
    """Return the data points that the reader has, by name and attributes."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert UNITS.get(metric.name, metric.unit) == metric.unit
                for point in metric.data.data_points:
                    attributes = frozenset((point.attributes or {}).items())
                    value = point.sum if hasattr(point, "sum") else point.value
                    found[metric.name, attributes] = value
    return found


@pytest.mark.parametrize(
    ("event", "expected"), [pytest.param(*row, id=type(row[0]).__name__) for row in SAMPLES]
)
def test_event_reaches_an_exporter(event: Event, expected: list[Sample]) -> None:
    """Each event changes its instruments, and no other."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    hook = opentelemetry.hook(meter, monotonic=lambda: 1000.0)

    hook(event)

    found = points(reader)
    wanted = {(each.opentelemetry, frozenset(each.attributes)): each.value for each in expected}
    assert {key: found[key] for key in wanted} == wanted
    assert {name for name, _ in found} - {"stepup.keys.state"} == {name for name, _ in wanted} - {
        "stepup.keys.state"
    }


def test_purposes_that_are_made_up_make_few_series() -> None:
    """As in Prometheus."""
    reader = InMemoryMetricReader()
    hook = opentelemetry.hook(MeterProvider([reader]).get_meter("app"))

    for number in range(150):
        hook(OneTimeUse(f"order-{number}", "spent"))

    counts = {key: value for key, value in points(reader).items() if key[0] == "stepup.one_time"}
    assert len(counts) == 101


def test_hostile_key_ids_make_no_series() -> None:
    """A thousand key ids are one data point."""
    reader = InMemoryMetricReader()
    hook = opentelemetry.hook(MeterProvider([reader]).get_meter("test"))

    for number in range(1000):
        hook(UnknownKid("negative", f"kid-{number}"))

    key = ("stepup.keys.unknown", frozenset({("outcome", "negative")}))
    assert points(reader)[key] == 1000
    assert "kid-" not in repr(points(reader))


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (StepUpMet(1), "met"),
        (StepUpAsked("amr_missing", "handler"), "asked"),
        (TokenRejected(RejectReason.ISSUER), "rejected"),
        (StepUpStarted("otp"), "started"),
        (StepUpFinished("otp", "finished", 1), "finished"),
        (RateLimited("try"), "rate_limited"),
        (OneTimeUse("pay", "spent"), "spent"),
        (ReportOnly("invalid_token"), "reported"),
        (TokenCache("hit"), None),
        (FetchStarted(1), None),
    ],
)
def test_decision_is_on_the_current_span(event: Event, outcome: str | None) -> None:
    """No span is started for it; events that decide nothing leave the span alone."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    hook = opentelemetry.hook(MeterProvider().get_meter("test"))

    with provider.get_tracer("test").start_as_current_span("request"):
        hook(event)

    (span,) = exporter.get_finished_spans()
    assert span.name == "request"
    assert dict(span.attributes or {}) == ({"stepup.outcome": outcome} if outcome else {})


def test_default_is_a_meter_of_the_global_provider() -> None:
    """Without an SDK nothing is counted, and nothing fails."""
    hook = opentelemetry.hook()

    for event, _ in SAMPLES:
        hook(event)
