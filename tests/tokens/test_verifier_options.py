"""The settings of TokenVerifier: what they take, that each has an effect, that none changes."""

import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import Event, TokenCache
from fastapi_stepup.testing import REMOVE
from fastapi_stepup.tokens.verifier import TokenVerifier
from tests.support.token_factory import (
    HOST,
    NOW,
    PROJECT_ID,
    SignatureChecks,
    claims,
    key_set,
    make_token,
    reason,
    verifier,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        pytest.param("project_id", ["", " ", None, "../x"], "project id", id="CF-002"),
        pytest.param(
            "leeway",
            [-1, 61, float("nan"), float("inf"), True, "5", None],
            "leeway",
            id="CF-003-leeway",
        ),
        pytest.param(
            "max_lifetime",
            [-1, 1.5, float("nan"), True, "1 day", b"1d", "x"],
            "max_lifetime=.* is",
            id="CF-003-no-lifetime",
        ),
        pytest.param("max_lifetime", [0, "0s"], "max_lifetime is None or", id="CF-003-lifetime-0"),
        pytest.param(
            "issuers",
            [[""], [" "], ["https://*.x"], [re.compile("x")], "https://x"],
            "issuers",
            id="CF-005",
        ),
        pytest.param("issuer_hosts", [HOST], "issuer_hosts takes", id="hosts-text"),
        pytest.param("audience", [[], "", [1], "*"], "audience", id="audience"),
        pytest.param("any_audience", ["false"], "any_audience", id="any-audience-text"),
        pytest.param("require_session_name", [1], "require_session_name", id="name-number"),
        pytest.param(
            "verdict_cache_size",
            [-1, 1_000_001, True, 4096.0, None, "0"],
            "verdict_cache_size",
            id="cache-size",
        ),
        pytest.param("is_revoked", [{"U2x"}], "is_revoked", id="hook"),
        pytest.param("types", [()], "types", id="types"),
        pytest.param("max_token_size", [1], "max_token_size", id="token-size"),
    ],
)
def test_options_that_cannot_be_used(
    option: str, values: list[Any], message: str, subtests: pytest.Subtests
) -> None:
    """At construction, with a message that names the option."""
    for value in values:
        with (
            subtests.test(value=value),
            pytest.raises(ConfigurationError, match=rf"\b{message}\b"),
        ):
            verifier(**{option: value})


def test_an_audience_and_any_audience_contradict_each_other() -> None:
    """The message says which of them to give."""
    with pytest.raises(ConfigurationError, match="either"):
        verifier(audience="a", any_audience=True)


@pytest.mark.parametrize(
    ("options", "passes", "fails", "expected"),
    [
        pytest.param({"leeway": 60}, {"exp": NOW - 59, "iat": NOW - 99},
                     {"exp": NOW - 60, "iat": NOW - 99}, "expired", id="leeway"),
        pytest.param({"max_lifetime": "10m"}, {"exp": NOW + 600}, {"exp": NOW + 601}, "lifetime",
                     id="max_lifetime"),
        pytest.param({"issuers": ["https://x.example"]}, {"iss": "https://x.example"},
                     {"iss": "https://y.example"}, "issuer", id="issuers"),
        pytest.param({"issuer_hosts": ["http://127.0.0.1:8000"]},
                     {"iss": f"http://127.0.0.1:8000/{PROJECT_ID}"},
                     {"iss": f"{HOST}/{PROJECT_ID}"}, "issuer", id="issuer_hosts-on-plain-http"),
        pytest.param({"audience": "api"}, {"aud": "api"}, {"aud": PROJECT_ID}, "audience",
                     id="audience"),
        pytest.param({"any_audience": True}, {"aud": "x"}, {"aud": 1}, "audience",
                     id="any_audience"),
        pytest.param({"require_session_name": True}, {}, {"drn": REMOVE}, "not_a_session",
                     id="require_session_name"),
    ],
)  # fmt: skip
async def test_each_option_has_an_effect(
    options: dict[str, Any], passes: dict[str, Any], fails: dict[str, Any], expected: str
) -> None:
    """Two tokens that differ in that point alone; both twice, so also from the cache."""
    checked = verifier(**options)

    for _ in range(2):
        assert await reason(checked, make_token(claims(**passes))) is None
        assert await reason(checked, make_token(claims(**fails))) == expected


def test_options_may_come_from_a_generator() -> None:
    """They are read once and kept."""
    values = ("a", "b")
    for option in ("audience", "issuers", "issuer_hosts", "types"):
        sources: tuple[Any, ...] = ((v for v in values), values)
        given, listed = (verifier(**{option: source}) for source in sources)
        assert vars(given)["_rules"] == vars(listed)["_rules"]
        assert given._parser.types == listed._parser.types


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(verifier, id="CF-006-verifier"),
        pytest.param(
            lambda **options: StepUpGuard.for_descope(PROJECT_ID, **options), id="CF-006-guard"
        ),
    ],
)
def test_a_misspelt_option_is_an_error(make: Callable[..., object]) -> None:
    """No typo goes unnoticed, and there is no switch that turns checking off."""
    for name in ("audiance", "verify", "verify_signature", "verify_exp", "options", "insecure"):
        with pytest.raises(TypeError, match=name):
            make(**{name: False})


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Written out here, so that none changes by a slip."""
    checked = verifier()

    assert (checked.leeway, checked.max_lifetime, checked.audience) == (5, None, None)
    assert (checked.any_audience, checked.require_session_name) == (False, False)
    assert (checked.project_id, checked.issuers) == (PROJECT_ID, frozenset({PROJECT_ID}))
    assert (checked.issuer_hosts, checked.is_revoked) == (frozenset({HOST}), None)
    assert (checked._cache.size, checked._parser.max_size) == (4096, 16_384)
    assert checked._parser.types == {"jwt"}
    assert verifier(verdict_cache_size=1_000_000)._cache.size == 1_000_000


def test_settings_can_be_read() -> None:
    """As they were given, in the form in which they are used."""
    checked = verifier(
        issuers=["https://x.example"], issuer_hosts=[], any_audience=True, leeway=0,
        max_lifetime="1d", require_session_name=True,
    )  # fmt: skip

    assert checked.issuers == frozenset({PROJECT_ID, "https://x.example"})
    assert checked.issuer_hosts == frozenset()
    assert (checked.any_audience, checked.leeway, checked.max_lifetime) == (True, 0, 86_400)
    assert checked.require_session_name
    assert verifier(audience="a").audience == frozenset({"a"})
    names = ("https://x.example", PROJECT_ID, f"{HOST}/{PROJECT_ID}")
    assert [checked.accepts_issuer(name) for name in names] == [True, True, False]


def test_clocks_are_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither clock is bound at import or at construction, so that tests can freeze time."""
    checked = TokenVerifier(key_set(), project_id=PROJECT_ID)
    token = make_token(claims(exp=NOW + 30))
    moments = (
        (0.0, 1000.0, None, 1),
        (1.0, 1029.0, None, 0),
        (1.0, 1030.0, None, 1),
        (36.0, 1031.0, "expired", 1),
    )
    for wall, monotonic, expected, checks_made in moments:
        with SignatureChecks() as checks, monkeypatch.context() as frozen:
            frozen.setattr(time, "time", lambda now=NOW + wall: now)
            frozen.setattr(time, "monotonic", lambda now=monotonic: now)
            answer: Any = None
            try:
                # Without an event loop, which would read these clocks too.
                reason(checked, token).send(None)
            except StopIteration as done:
                answer = done.value
        assert (answer, checks.made) == (expected, checks_made)


def test_settings_cannot_change_later() -> None:
    """The checks and the cache rely on them."""
    checked = verifier(audience="api")

    for name in ("audience", "leeway", "issuers", "keys", "is_revoked"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(checked, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        del checked.audience
    assert checked.audience == frozenset({"api"})


async def test_two_verifiers_share_nothing() -> None:
    """A token that one accepts is checked anew by the other, on the same keys."""
    keys = key_set()
    lax, strict = verifier(keys), verifier(keys, audience="api")
    token = make_token()

    assert await reason(lax, token) is None
    assert await reason(strict, token) == "audience"
    assert await reason(lax, token) is None


@pytest.mark.slow
def test_checks_survive_python_o() -> None:
    """No rule is an assert."""
    script = """
import asyncio
from tests.support.token_factory import claims, make_token, header, private_key, reason, verifier
hostile = [
    make_token(claims(exp=1)), make_token(claims(drn="DSR")), make_token(claims(iss="x")),
    make_token(claims(aud="x")),
    make_token(key=private_key(number=1)), make_token(head=header("none"), alg="none"), "", "a.b.c",
    make_token(head=header(jwk={})), make_token(claims(cnf={})), make_token(claims(sub="")),
]
async def main():
    checked = verifier()
    print([await reason(checked, token) for token in (make_token(), *hostile)])
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-O", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    reasons = "expired not_a_session issuer audience signature algorithm malformed malformed"
    more = "header sender_constrained subject"
    assert done.stdout.strip() == str([None, *reasons.split(), *more.split()])


async def test_the_cache_is_on_by_default_and_reported() -> None:
    """One miss, then hits; none of either when it is turned off, and none for what is no token."""
    for size, expected in ((4096, ["miss", "hit", "hit", "miss"]), (0, [])):
        events: list[Event] = []
        checked = verifier(on_event=events.append, verdict_cache_size=size)
        for _ in range(3):
            await checked.verify(make_token())
        await reason(checked, "garbage")
        await reason(checked, None)
        assert [e.outcome for e in events if isinstance(e, TokenCache)] == expected


async def test_the_verifier_shows_no_token() -> None:
    """Repr, str, vars; and it cannot be pickled away."""
    checked = verifier()
    token = make_token()
    verified = await checked.verify(token)

    shown = repr(checked) + str(checked) + repr(vars(checked)) + repr(verified)
    assert not [part for part in token.split(".") if part in shown]
    assert PROJECT_ID in repr(checked)
    with pytest.raises(TypeError):
        pickle.dumps(checked)
