"""The Prometheus hook: what a real scrape says after each event."""

import math
import subprocess
import sys
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, FetchSucceeded, OneTimeUse, UnknownKid
from fastapi_stepup.observability import opentelemetry, prometheus
from tests.observability.samples import SAMPLES, Sample


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Return the samples of a scrape, each named with its labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@pytest.mark.parametrize(
    ("event", "expected"), [pytest.param(*row, id=type(row[0]).__name__) for row in SAMPLES]
)
def test_event_shows_up_in_a_scrape(event: Event, expected: list[Sample]) -> None:
    """Each event changes its metrics, and no other counter."""
    registry, clock = CollectorRegistry(), Clock()
    hook = prometheus.hook(registry, monotonic=clock)
    before = scraped(registry)

    hook(event)

    after = scraped(registry)
    assert {each.prometheus: after[each.prometheus] for each in expected} == {
        each.prometheus: each.value for each in expected
    }
    named = {each.prometheus.partition("{")[0].removesuffix("_sum") for each in expected}
    changed = {
        name
        for name, value in after.items()
        if value != before.get(name, 0.0) and "_created" not in name and not math.isnan(value)
    }
    assert all(any(name.startswith(metric) for metric in named) for name in changed)


def test_every_event_has_a_metric() -> None:
    """The table above has each kind of event; the type checker asks the same of the hook."""
    assert {type(event) for event, _ in SAMPLES} == set(get_args(Event))


@pytest.mark.parametrize(
    "hook", [prometheus.hook(CollectorRegistry()), opentelemetry.hook()], ids=["prom", "otel"]
)
def test_object_that_is_no_event_is_an_error(hook: Any) -> None:
    """An event without a case does not vanish; the guard reports a hook that raises."""
    with pytest.raises(AssertionError):
        hook("no event")


def test_purposes_that_are_made_up_make_few_series() -> None:
    """`guard.once` takes any name; the first hundred are labels, the rest is one."""
    registry = CollectorRegistry()
    hook = prometheus.hook(registry)

    for number in [*range(150), 0]:
        hook(OneTimeUse(f"order-{number}", "spent"))

    counts = {n: v for n, v in scraped(registry).items() if n.startswith("stepup_one_time_total")}
    assert len(counts) == 101
    assert counts['stepup_one_time_total{outcome="spent",purpose="order-0"}'] == 2
    assert counts['stepup_one_time_total{outcome="spent",purpose="other"}'] == 50


def test_hostile_key_ids_make_no_series() -> None:
    """A thousand key ids count as one series, and no sample names one."""
    registry = CollectorRegistry()
    hook = prometheus.hook(registry)
    hook(UnknownKid("negative", "first"))
    before = set(scraped(registry))

    for number in range(1000):
        hook(UnknownKid("negative", f"kid-{number}"))

    assert set(scraped(registry)) == before
    assert b"kid-" not in generate_latest(registry)


def test_age_of_the_keys_grows_between_events() -> None:
    """An alert on it works where no request comes and no event happens."""
    registry, clock = CollectorRegistry(), Clock()
    hook = prometheus.hook(registry, monotonic=clock)
    assert math.isnan(scraped(registry)["stepup_keys_age_seconds"])

    hook(FetchSucceeded(0.1, 1, 1, 0, 0, 300))
    clock.now += 900

    assert scraped(registry)["stepup_keys_age_seconds"] == 900


def test_guards_share_a_hook() -> None:
    """A second hook on a registry would count into metrics of the same names."""
    registry = CollectorRegistry()
    prometheus.hook(registry)

    with pytest.raises(ConfigurationError, match="give one hook to all guards"):
        prometheus.hook(registry)


def test_default_is_the_registry_of_the_client() -> None:
    """What `prometheus_client.generate_latest()` shows."""
    program = (
        "import prometheus_client\n"
        "from fastapi_stepup.observability import prometheus\n"
        "prometheus.hook()\n"
        "print(prometheus_client.generate_latest().decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert 'stepup_asked_total{entry_point="dependency",reason="amr_missing"} 0.0' in done.stdout


@pytest.mark.parametrize(
    ("adapter", "package"),
    [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")],
)
def test_missing_extra_is_said(adapter: str, package: str) -> None:
    """The import fails with the command to run; the package itself needs no extra."""
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import fastapi_stepup.events, fastapi_stepup.observability.audit\n"
        "try:\n"
        f"    import fastapi_stepup.observability.{adapter}\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.endswith(f" need an extra: pip install 'fastapi-stepup[{adapter}]'.\n")


def test_package_imports_no_adapter() -> None:
    """Every public name is used, and neither metrics nor audit were looked at."""
    program = (
        "import sys, fastapi_stepup\n"
        "for name in fastapi_stepup.__all__: getattr(fastapi_stepup, name)\n"
        "ours = ('prometheus_client', 'fastapi_stepup.observability.', 'fastapi_stepup.cli.')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("adapter", "package"),
    [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")],
)
def test_broken_installation_is_not_blamed_on_the_extra(adapter: str, package: str) -> None:
    """A package that is there and lacks one of its own modules says so itself."""
    program = (
        "import sys, types\n"
        "class Broken(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        raise ModuleNotFoundError('broken', name='its_own_part')\n"
        f"sys.modules[{package!r}] = Broken({package!r})\n"
        f"import fastapi_stepup.observability.{adapter}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert "ModuleNotFoundError: broken" in done.stderr
    assert "pip install" not in done.stderr
