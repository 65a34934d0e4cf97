"""install in apps that OpenTelemetry and Sentry instrument, in either order."""

from collections.abc import Callable
from typing import Any

import pytest
import sentry_sdk
from fastapi import Depends, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from fastapi_stepup import (
    RequireStepUp,
    StepUpGuard,
    install,
)
from fastapi_stepup.testing import DescopeEmulator, assert_step_up_challenge
from tests.support.exchange import bearer
from tests.web.test_head_first import BUILDS, send_upload, upload
from tests.web.test_install_beside_others import ENTRY_POINTS

ANN = "ann@example.com"


@pytest.mark.parametrize("install_first", [True, False])
def test_opentelemetry_traces_an_installed_app(
    install_first: bool,  # noqa: FBT001  # a parameter of the test
    guard: StepUpGuard,
) -> None:
    """Its instrumentation looks for Starlette's outermost middleware, and finds it."""
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = FastAPI()
    app.get("/open")(lambda: 1)
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: 1)
    if install_first:
        install(app, guard)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    if not install_first:
        install(app, guard)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    client = TestClient(app)

    assert client.get("/open").json() == 1
    refused = client.post("/pay", headers={"Origin": "https://shop.example"})
    assert refused.json()["code"] == "unauthenticated"
    assert refused.headers["access-control-expose-headers"] == "WWW-Authenticate"
    assert {"GET /open", "POST /pay"} <= {span.name for span in spans.get_finished_spans()}


@pytest.mark.parametrize("init_first", [True, False])
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_sentry_with_defaults_reports_no_refusal(
    init_first: bool,  # noqa: FBT001  # a parameter of the test
    entry_point: Callable[..., ASGIApp],
    guard: StepUpGuard,
    descope: DescopeEmulator,
) -> None:
    """A refusal is an answer; an error of the app is reported once."""
    reported: list[Any] = []

    def init() -> None:
        sentry_sdk.init("https://key@sentry.example/1", before_send=keep)

    def keep(event: Any, hint: Any) -> None:
        reported.append(event)

    if init_first:
        init()
    app = FastAPI()
    install(app, guard)
    app.get("/broken")(lambda: 1 / 0)
    served = entry_point(app, guard)
    if not init_first:
        init()
    client = TestClient(served, raise_server_exceptions=False)
    ann = descope.step_up(ANN)
    try:
        refused = client.post("/pay", headers=descope.sign_in(ANN).headers)
        events_of_refusal = list(reported)
        broken = client.get("/broken", headers=ann.headers)
    finally:
        sentry_sdk.init()

    assert_step_up_challenge(refused)
    assert (broken.status_code, events_of_refusal) == (500, [])
    assert len(reported) == 1


@pytest.mark.parametrize("build", BUILDS)
def test_sentry_with_defaults_does_not_let_an_upload_in(
    build: Callable[..., FastAPI], guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """It reads the body for its reports before FastAPI does, and is refused as well."""
    sentry_sdk.init("https://key@sentry.example/1", before_send=lambda *_: None)
    try:
        refused = send_upload(build(guard, upload), [])
        allowed = send_upload(build(guard, upload), bearer(descope))
    finally:
        sentry_sdk.init()

    assert (refused, allowed) == ((401, 0), (200, 15))
