"""The observed shop: a scripted hour of it shows each metric, and each decision once."""

import json
import math
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # no types are shipped
from fastapi import Depends, FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from examples.observability.shop import observed_shop
from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.store import Store
from fastapi_stepup import RequireStepUp, StepUpGuard
from fastapi_stepup.cli.loading import guards_of
from fastapi_stepup.events import AuditRecord, Event, StepUpAsked, StepUpFinished, StepUpMet
from fastapi_stepup.observability import opentelemetry, prometheus
from fastapi_stepup.tokens.jwks import state
from tests.examples.shop import HERE, PICK, ROOT, Shop
from tests.observability.samples import SAMPLES

FOLDER = ROOT / "examples/observability"
ANN = "ann@example.com"


class Times:
    """Stands in for the module `time` where the age of the keys is told."""

    passed = 0.0

    def time(self) -> float:
        """Return epoch seconds; tokens live on."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds, of which some have passed at once."""
        return time.monotonic() + self.passed


@dataclass
class Hour:
    """A shop that is observed, and what was seen."""

    shop: Shop
    guard: StepUpGuard
    times: Times
    registry: CollectorRegistry
    reader: InMemoryMetricReader
    events: list[Event] = field(default_factory=list)
    records: list[AuditRecord] = field(default_factory=list)
    before_flood: set[str] = field(default_factory=set)
    after_flood: set[str] = field(default_factory=set)

    def scrape(self) -> dict[str, float]:
        """Return the samples of a real scrape, labels in alphabetical order."""
        found = {}
        for family in text_string_to_metric_families(generate_latest(self.registry).decode()):
            for sample in family.samples:
                pairs = sorted(sample.labels.items())
                labels = ",".join(f'{name}="{value}"' for name, value in pairs)
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def exported(self) -> set[str]:
        """Return the names of the metrics that the in-memory reader of OpenTelemetry has."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def buy(self, tokens: Any) -> int:
        """Check out with these tokens; the cart may be empty."""
        self.shop.browser.cookies.clear()
        return self.shop.browser.post("/checkout", headers=tokens.headers).status_code


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hour]:
    """An hour of a shop whose hooks are those of the example, and more."""
    times, tmp_path = Times(), tmp_path_factory.mktemp("hour")
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    events: list[Event] = []
    records: list[AuditRecord] = []
    hooks = [
        prometheus.hook(registry, monotonic=times.monotonic),
        opentelemetry.hook(MeterProvider([reader]).get_meter("t"), monotonic=times.monotonic),
        events.append,
    ]
    database = tmp_path / "shop.sqlite3"
    app = observed_shop(
        database=database, on_event=hooks, on_audit=[records.append], keys_max_stale=900
    )
    with (
        pytest.MonkeyPatch.context() as patched,
        TestClient(app, base_url=HERE, follow_redirects=False) as browser,
    ):
        patched.setattr(state, "time", times)
        shop = Shop(app, browser, app.state.emulator, Store(database))
        hour = Hour(shop, guards_of(app)[0], times, registry, reader, events, records)
        an_hour(hour, tmp_path)
        yield hour


class WithSecretKey(httpx.AsyncBaseTransport):
    """The emulator, with a key in its set that should never have been published."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        answer = await self.inner.handle_async_request(request)
        if not request.url.path.startswith("/v2/keys"):
            return answer
        body = json.loads(await answer.aread())
        body["keys"].append({"kty": "oct", "kid": "oops", "k": "c2VjcmV0"})
        return httpx.Response(answer.status_code, json=body)


def roll_out(hour: Hour, tmp_path: Path) -> None:
    """Run the shop in report-only mode, on a key set with a key that should not be there."""
    descope = hour.shop.descope
    decisions = hour.guard.decisions
    settings = Settings(
        database=tmp_path / "rollout.sqlite3",
        project_id=descope.project_id,
        transport=WithSecretKey(descope.transport),
        guard={
            "on_event": list(decisions.emit.hooks),
            "on_audit": list(decisions.audit.hooks),
            "report_only": True,
        },
    )
    with TestClient(create_app(settings), base_url=HERE) as browser:
        browser.post("/checkout", headers=descope.sign_in(ANN).headers)


def an_hour(hour: Hour, tmp_path: Path) -> None:
    """Do in the shop what happens in an hour: orders, wrong codes, strangers, an outage."""
    shop, descope = hour.shop, hour.shop.descope
    close = Depends(RequireStepUp(hour.guard, once="close-account"))
    assert isinstance(shop.app, FastAPI)
    shop.app.post("/close-account", dependencies=[close])(lambda: "closed")
    roll_out(hour, tmp_path)

    # An order: asked, a wrong code, the right one, and it goes through.
    shop.sign_in()
    shop.post("/cart", PICK)
    assert shop.call("/checkout").status_code == 401
    shop.call("/step-up/otp/start", {"delivery": "email"})
    assert shop.call("/step-up/otp/verify", {"delivery": "email", "code": "000000"}).is_error
    assert shop.step_up().status_code == 200
    assert shop.call("/checkout").status_code == 201
    # An account is closed once.
    assert shop.call("/close-account").status_code == 200
    assert shop.call("/close-account").status_code == 401
    # An attacker guesses until the limit is reached.
    guess = {"delivery": "email", "code": "000000"}
    assert [shop.call("/step-up/otp/verify", guess).status_code for _ in range(9)][-1] == 429
    # Others come with old step-ups, and with tokens of their own making.
    assert hour.buy(descope.step_up(ANN, age=100)) == 409
    assert hour.buy(descope.step_up(ANN, age=400)) == 401
    hour.before_flood = set(hour.scrape())
    flood(hour, 50)
    hour.after_flood = set(hour.scrape())
    # Descope's key endpoint fails: first the old set is served, then nothing is verified.
    descope.fail(503, times=1000)
    for minutes in (6, 6, 10):
        hour.times.passed += minutes * 60
        hour.buy(descope.step_up(ANN, age=5))
        wait_for_refresh(hour)


def wait_for_refresh(hour: Hour) -> None:
    """Let the refresh in the background fail."""
    deadline = time.monotonic() + 10
    while hour.guard.keys.health().last_error is None and time.monotonic() < deadline:
        time.sleep(0.02)


def flood(hour: Hour, number: int) -> None:
    """Send hostile tokens, each under a key id of its own and for a path of its own."""
    browser = hour.shop.browser
    for each in range(number):
        token = hour.shop.descope.token(header={"kid": f"hostile-{each}"}, sub=f"U2hostile{each}")
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": f"hostile-{each}"}
        assert browser.post(f"/refunds/hostile-{each}", headers=headers).status_code == 401


def test_hour_shows_each_metric(hour: Hour) -> None:
    """In a scrape and in an exporter; each kind of event has happened."""
    assert {type(event) for event in hour.events} == set(get_args(Event))
    scraped = hour.scrape()
    named = {sample.prometheus.partition("{")[0] for _, samples in SAMPLES for sample in samples}
    for name in named:
        values = [value for key, value in scraped.items() if key.partition("{")[0] == name]
        assert any(value > 0 and not math.isnan(value) for value in values), name
    assert hour.exported() == {sample.opentelemetry for _, found in SAMPLES for sample in found}
    assert scraped["stepup_keys_state"] == 3
    assert scraped["stepup_keys_age_seconds"] == pytest.approx(22 * 60, abs=60)
    assert scraped['stepup_one_time_total{outcome="spent",purpose="close-account"}'] == 1
    assert scraped['stepup_asked_total{entry_point="dependency",reason="step_up_used"}'] == 1


def test_flood_of_hostile_tokens_adds_no_series(hour: Hour) -> None:
    """Neither key ids, nor users, nor paths become labels."""
    assert hour.before_flood == hour.after_flood
    assert "stepup_keys_state" in hour.after_flood
    assert "hostile" not in " ".join(hour.scrape())


def test_each_decision_has_one_record(hour: Hour) -> None:
    """As many records as events of each kind, none with a user, an address or a token in clear."""
    counted = Counter((each.action, each.outcome, each.reason) for each in hour.records)
    happened = Counter(type(event) for event in hour.events)
    asked = [event.reason for event in hour.events if isinstance(event, StepUpAsked)]
    finished = [event for event in hour.events if isinstance(event, StepUpFinished)]
    assert counted["access", "succeeded", None] == happened[StepUpMet]
    assert Counter(reason for reason in asked) == {
        reason: count
        for (action, outcome, reason), count in counted.items()
        if (action, outcome) == ("access", "refused") and reason in asked
    }
    assert sum(n for key, n in counted.items() if key[0] == "finish") == len(finished)
    assert counted["finish", "succeeded", None] == 1
    assert counted["finish", "refused", "too_many_attempts"] == 1
    assert counted["one_time", "succeeded", None] == 1
    assert counted["access", "reported", "step_up_missing"] == 1
    assert counted["access", "refused", "unknown_key"] == 50
    assert counted["access", "failed", "keys_unavailable"] >= 1
    descope, text = hour.shop.descope, repr(hour.records)
    for secret in (ANN, descope.user(ANN).user_id, "eyJ"):
        assert secret not in text
    # Not looked for in times and digests, where any six digits may come up.
    words = {(each.method, each.reason, each.route, each.request_id) for each in hour.records}
    assert not [message for message in descope.outbox if str(message.code) in repr(words)]


def test_dashboard_and_alerts_read_what_there_is(hour: Hour) -> None:
    """Each metric and label that they name is in a scrape of this hour."""
    samples: dict[str, set[str]] = {}
    for key in hour.scrape():
        name, _, labels = key.partition("{")
        samples.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    alerts = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    expressions += [rule["expr"] for rule in rules]

    for expression in expressions:
        names = re.findall(r"stepup_\w+", expression)
        assert names
        known = set().union(*(samples[name] for name in names)) | {"job", "instance"}
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            assert set(labels.split(", ")) <= known, expression
    shown = " ".join(expressions)
    for name in samples:
        base = re.sub(r"_(sum|count|bucket|created)$", "", name)
        assert base in shown or "_created" in name, name
    assert {rule["alert"] for rule in rules} >= {"StepUpKeysAge", "StepUpAskedRises"}
    assert yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["rule_files"] == [
        "alerts.yml"
    ]


@pytest.mark.servers
def test_command_serves_the_shop_and_its_metrics(tmp_path: Path) -> None:
    """Two ports: users reach the shop, Prometheus the metrics; the audit trail is on stdout."""
    command = [sys.executable, "-m", "examples.observability", "--port", "0"]
    with subprocess.Popen(
        [*command, "--metrics-port", "0"],
        cwd=ROOT,
        env={"PATH": "", "SHOP_DATABASE": str(tmp_path / "shop.sqlite3")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        with urllib.request.urlopen(line.split()[-1], timeout=10) as answer:
            scraped = answer.read().decode()
        process.terminate()

    assert "stepup_keys_state" in scraped
    assert httpx.URL(line.split()[-1]).host == "127.0.0.1"
