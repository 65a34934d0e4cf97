"""`check`: does this set-up work, and what has to change if not."""

import asyncio
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Final

import httpx
from starlette.applications import Starlette

from fastapi_stepup import _clock
from fastapi_stepup._http import HTTPFailure, HTTPRequest
from fastapi_stepup.cli.findings import Finding, report_of
from fastapi_stepup.cli.lints import lints
from fastapi_stepup.cli.loading import guards_of, load
from fastapi_stepup.cli.output import Report, in_words
from fastapi_stepup.cli.routes import routes_of
from fastapi_stepup.errors import ConfigurationError, FailureReason, KeysUnavailable
from fastapi_stepup.guard.guard import StepUpGuard

_SLOW: Final = 1.0
_LISTED: Final = 5
_ADVICE: Final[dict[FailureReason, str]] = {
    FailureReason.CONNECT: "The host cannot be reached: check network, proxy and DESCOPE_BASE_URI.",
    FailureReason.TIMEOUT: "The host is too slow or does not answer: check network and proxy.",
    FailureReason.TRANSPORT: "The connection broke: check TLS and what stands between.",
    FailureReason.REDIRECT: "The host redirects, which is never followed: give the API's address.",
    FailureReason.CLIENT_ERROR: "The host knows no such project: check the project id.",
    FailureReason.THROTTLED: "The host is throttling: try again later.",
    FailureReason.SERVER_ERROR: "The host is out of order: try again later.",
    FailureReason.ISSUER: (
        "The metadata is of another issuer: compare them character by character, a slash at the "
        "end counts."
    ),
    FailureReason.METADATA: "The metadata names no https jwks_uri: give the guard jwks_uri=.",
}
_NO_KEY_SET: Final = "The answer is no usable key set: check that the address is Descope's API."


def check_setup(
    target: str | None = None,
    *,
    project_id: str | None = None,
    base_url: str | None = None,
    redis_url: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Callable[[], float] = _clock.wall,
    monotonic: Callable[[], float] = _clock.monotonic,
) -> Report:
    """Return what is good, and what has to change.

    Sends two requests for the project's key set, one `PING` to Redis, and nothing else.

    Args:
        target: An app as `load` takes it; its guards, policies and routes are looked at as well.
        project_id: The project; by default that of the app's guards, or of the environment.
        base_url: Another host of Descope's API.
        redis_url: The Redis of the limits.
        transport: Where HTTP goes instead of the network.
        clock: This machine's clock, in epoch seconds.
        monotonic: Gives seconds that never go back, to take the time of the answer by.

    Raises:
        LoadingFailed: There is no such app.
    """
    findings: list[Finding] = []
    looked_at: list[StepUpGuard] = []
    if target is not None:
        app = load(target)
        looked_at = guards_of(app)
        findings += [_routes(app, looked_at), *lints(app, looked_at)]
    if project_id is not None or not looked_at:
        try:
            looked_at = [
                StepUpGuard.for_descope(project_id, base_url=base_url, transport=transport)
            ]
        except ConfigurationError as error:
            findings.append(Finding("project", "bad", str(error)))
            looked_at = []
    for guard in dict.fromkeys(member for each in looked_at for member in each.members):
        findings += of_guard(guard, clock=clock, monotonic=monotonic)
    if redis_url is not None:
        findings.append(_redis(redis_url))
    return report_of(findings)


def of_guard(
    guard: StepUpGuard,
    *,
    clock: Callable[[], float] = _clock.wall,
    monotonic: Callable[[], float] = _clock.monotonic,
) -> list[Finding]:
    """Return what there is to say about where *guard* gets its keys from."""
    named = Finding("issuer", "good", guard.issuer or "")
    if guard.issuer is None:
        named = Finding("project", "good", f"{guard.project_id} at {guard.base_url}")
    return [named, *asyncio.run(_keys(guard, clock, monotonic))]


async def _keys(
    guard: StepUpGuard, clock: Callable[[], float], monotonic: Callable[[], float]
) -> list[Finding]:
    """Fetch the key set once by hand, for its `Date` and its speed, and once as the guard does.

    That of another issuer is fetched as the guard does only: the guard alone knows where it is.
    """
    findings = []
    if guard.issuer is None:
        started, earliest = monotonic(), clock()
        try:
            response = await guard.descope.http.send(HTTPRequest("GET", guard.keys.url))
        except HTTPFailure as failure:
            return [Finding("keys", "bad", _ADVICE.get(failure.reason, _NO_KEY_SET))]
        took = monotonic() - started
        findings = [_speed(took), _compared(response.headers.get("date"), guard, earliest, clock())]
    try:
        await guard.keys.warm_up()
    except KeysUnavailable:
        reason = guard.keys.health().last_error
        advice = _NO_KEY_SET if reason is None else _ADVICE.get(reason, _NO_KEY_SET)
        return [Finding("keys", "bad", advice)]
    health = guard.keys.health()
    algorithms = ", ".join(sorted(guard.keys.algorithms))
    said = f"{health.keys} usable for {algorithms}, {health.state}"
    return [Finding("keys", "good", said), *findings]


def _speed(took: float) -> Finding:
    if took > _SLOW:
        return Finding("speed", "look", f"The key set took {took:.1f} s; the first request waits.")
    return Finding("speed", "good", f"The key set took {took * 1000:.0f} ms.")


def _compared(date: str | None, guard: StepUpGuard, earliest: float, latest: float) -> Finding:
    """Compare the server's `Date`, which has whole seconds, with the time around the request."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "look", "The server says no time to compare this machine's with.")
    leeway = guard.verifier.leeway
    ahead, behind = earliest - (theirs + 1), theirs - latest
    if max(ahead, behind) <= leeway:
        return Finding("clock", "good", "This machine's clock agrees with the server's.")
    which = "ahead of" if ahead > behind else "behind"
    return Finding(
        "clock",
        "bad",
        f"This machine's clock is {in_words(max(ahead, behind))} {which} the server's; "
        f"{leeway:g} s are allowed for. Synchronise it (NTP).",
    )


def _redis(url: str) -> Finding:
    if find_spec("redis") is None:
        return Finding("redis", "bad", "Install the client: pip install 'fastapi-stepup[redis]'.")
    from redis import Redis, RedisError  # noqa: PLC0415  # an extra

    try:
        client = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
        with client:
            client.ping()
    except (RedisError, ValueError, OSError) as error:
        kind = type(error).__name__
        return Finding(
            "redis",
            "bad",
            f"Redis does not answer ({kind}): check address and password. Until then limits count "
            "in each process.",
        )
    return Finding("redis", "good", "Redis answers.")


def _routes(app: Starlette, guards: list[StepUpGuard]) -> Finding:
    if not guards:
        return Finding("routes", "bad", "No guard is in front of any route of this app.")
    open_ones = sorted(
        route.path for route in routes_of(app, guards) if route.is_open and route.mutates
    )
    if not open_ones:
        return Finding("routes", "good", "No open route changes state.")
    listed = ", ".join(open_ones[:_LISTED]) + (" …" if len(open_ones) > _LISTED else "")
    return Finding("routes", "look", f"Open routes change state: {listed}")
