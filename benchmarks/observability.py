"""What metrics and audit records cost a request whose token is remembered."""

import statistics
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from benchmarks.contenders import each
from benchmarks.material import Material
from benchmarks.measuring import (
    Contender,
    Effort,
    Figure,
    Target,
    below,
    compared,
    quartiles,
    race,
)
from benchmarks.requests import scope_for
from fastapi_stepup import StepUpGuard, StepUpPolicy
from fastapi_stepup.events import AuditRecord, Event
from fastapi_stepup.observability import prometheus

_POLICY = StepUpPolicy(max_age="30m")


async def figures(effort: Effort) -> list[Figure]:
    """Return what hooks add to the verification of a remembered token, and to a guarded request."""
    material = Material()
    tokens = material.tokens(effort.batch, su=True)
    bare = material.guard()
    counted = material.guard(on_event=prometheus.hook(CollectorRegistry()))
    noted = material.guard(on_event=_forget)
    audited = material.guard(on_audit=_forget)
    verified = [
        each(guard.verifier.verify, cycle([tokens]), len(tokens))
        for guard in (bare, noted, counted)
    ]
    guarded = [_authorized(guard, tokens) for guard in (bare, noted, counted, audited)]
    times = await race([*verified, *guarded], rounds=effort.rounds)
    alone, empty, metered, asked, asked_empty, asked_metered, asked_audited = times
    token, request = "remembered token: {} adds", "guarded request: {} adds"
    hooked, empty_hook, audit = "the Prometheus hook", "a hook that does nothing", "an audit hook"
    return [
        _added(token.format(empty_hook), empty, alone),
        _added(token.format(hooked), metered, alone, target=below(3)),
        compared("remembered token: with the Prometheus hook / without", metered, alone),
        _added(request.format(empty_hook), asked_empty, asked),
        _added(request.format(hooked), asked_metered, asked),
        _added(request.format(audit), asked_audited, asked),
        compared("guarded request: with the Prometheus hook / without", asked_metered, asked),
    ]


def _forget(_: Event | AuditRecord) -> None:
    """Be a hook that does nothing."""


def _authorized(guard: StepUpGuard, tokens: Sequence[str]) -> Contender:
    scopes = [scope_for("/pay", token) for token in tokens]

    async def turn() -> None:
        for scope in scopes:
            await guard.authorize(Request(dict(scope)), _POLICY)

    return Contender(turn=turn, calls=len(scopes))


def _added(
    name: str, these: Sequence[float], those: Sequence[float], *, target: Target | None = None
) -> Figure:
    """Return by how many microseconds *these* times are longer, round by round."""
    added = [(this - that) * 1e6 for this, that in zip(these, those, strict=True)]
    low, median, high = quartiles(added)
    base: Any = statistics.median(those) * 1e6
    return Figure(
        name=name,
        value=median,
        low=low,
        high=high,
        unit="µs",
        target=target,
        note=f"to {base:.1f} µs",
    )
