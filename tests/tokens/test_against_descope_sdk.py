"""Side by side with Descope's own Python SDK: the same tokens, the same keys, two answers."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from descope import AuthException, DescopeClient, DescopeClientAsync
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_stepup import Claims, RequireSession, RequireStepUp, StepUpGuard
from fastapi_stepup.testing import REMOVE, DescopeEmulator, SigningKey
from tests.support.token_factory import NOW

INVALID = "401 invalid_token"
INSUFFICIENT = "401 insufficient_user_authentication"


@dataclass
class Bench:
    """An emulator on a socket, an app behind our guard, and what both sides answered."""

    emulator: DescopeEmulator
    url: str
    client: TestClient
    descope: DescopeClient
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def ours(self, token: str, path: str) -> str:
        """Return status and problem code of the app's answer, or "accepts"."""
        reply = self.client.get(path, headers={b"Authorization": f"Bearer {token}".encode()})
        if reply.status_code == 200:
            return "accepts"
        return f"{reply.status_code} {reply.json()['detail']['code']}"

    def sdk(self, token: str) -> str:
        """Return what the synchronous client makes of *token*."""
        try:
            self.descope.validate_session(token)
        except Exception as error:  # noqa: BLE001  # that it is no AuthException is the finding
            return described(error)
        return "accepts"

    def sdk_async(self, token: str) -> str:
        """Return what the asynchronous client makes of *token*."""

        async def story() -> None:
            async with DescopeClientAsync(self.emulator.project_id, base_url=self.url) as client:
                await client.validate_session(token)

        answer = "accepts"
        try:
            asyncio.run(story())
        except Exception as error:  # noqa: BLE001  # as above
            answer = described(error)
        return answer


def described(error: Exception) -> str:
    """Return the status of an `AuthException`; what else escapes is a 500 in any app."""
    if isinstance(error, AuthException):
        return f"{error.status_code} AuthException"
    return f"raises {type(error).__name__}"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One emulator for all rows; the table is printed when the last one is done (`-s`, `-rA`)."""
    emulator = DescopeEmulator()
    with emulator.serve() as url:
        guard = StepUpGuard.for_descope(emulator.project_id, base_url=url)
        app = FastAPI()

        @app.get("/session")
        async def session(claims: Annotated[Claims, Depends(RequireSession(guard))]) -> str:
            return claims.subject

        @app.get("/step-up")
        async def step_up(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
            return claims.subject

        with TestClient(app) as client:
            descope = DescopeClient(emulator.project_id, base_url=url)
            at_work = Bench(emulator, url, client, descope)
            yield at_work
    header = ("token", "descope", "descope async", "fastapi-stepup")
    lines = ["  ".join(f"{cell:<36.36}" for cell in row) for row in (header, *at_work.rows)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("parts", "path", "expected"),
    [
        pytest.param({}, "/session", ("accepts", "accepts"), id="good-session"),
        pytest.param({"su": True}, "/step-up", ("accepts", "accepts"), id="stepped-up-session"),
        pytest.param({}, "/step-up", ("accepts", INSUFFICIENT), id="session-without-step-up"),
        pytest.param(
            {"drn": "DSR"}, "/session", ("accepts", INVALID), id="refresh-token-as-session"
        ),
        pytest.param({"iss": "P2foreign"}, "/session", ("accepts", INVALID), id="foreign-iss"),
        pytest.param({"iss": REMOVE}, "/session", ("accepts", INVALID), id="missing-iss"),
        pytest.param({"exp": REMOVE}, "/session", ("accepts", INVALID), id="missing-exp"),
        pytest.param({"exp": str(NOW + 9999)}, "/session", ("accepts", INVALID), id="exp-as-text"),
        pytest.param({"iat": REMOVE}, "/session", ("accepts", INVALID), id="missing-iat"),
        pytest.param({"sub": REMOVE}, "/session", ("accepts", INVALID), id="missing-sub"),
        pytest.param({"su": "true"}, "/step-up", ("accepts", INSUFFICIENT), id="su-as-text"),
        pytest.param({"su": 1}, "/step-up", ("accepts", INSUFFICIENT), id="su-as-number"),
        pytest.param({"nonce": "n"}, "/session", ("accepts", INVALID), id="oidc-id-token"),
        pytest.param({"cnf": {"jkt": "x"}}, "/session", ("accepts", INVALID), id="dpop-bound"),
        pytest.param({"header": {"typ": "logout+jwt"}}, "/session", ("accepts", INVALID), id="typ"),
        pytest.param(
            {"exp": NOW - 99, "iat": NOW - 999},
            "/session",
            ("401 AuthException", INVALID),
            id="expired",
        ),
        pytest.param(
            {"iat": NOW + 9999, "exp": NOW + 99999},
            "/session",
            ("400 AuthException", INVALID),
            id="issued-in-the-future",
        ),
        pytest.param(
            {"key": SigningKey()},
            "/session",
            ("raises InvalidSignatureError", INVALID),
            id="forged",
        ),
        pytest.param(
            {"aud": "other"}, "/session", ("raises InvalidAudienceError", INVALID), id="foreign-aud"
        ),
        pytest.param(
            {"header": {"alg": "HS256"}},
            "/session",
            ("500 AuthException", INVALID),
            id="hs256-by-public-key",
        ),
        pytest.param(
            {"header": {"alg": "none"}}, "/session", ("500 AuthException", INVALID), id="none"
        ),
        pytest.param(
            {"header": {"kid": "k9"}}, "/session", ("500 AuthException", INVALID), id="unknown-kid"
        ),
    ],
)
def test_tokens_side_by_side(
    bench: Bench,
    request: pytest.FixtureRequest,
    parts: dict[str, Any],
    path: str,
    expected: tuple[str, str],
) -> None:
    """We refuse, with the right answer, what the SDK lets through or answers 500."""
    token = bench.emulator.token(**parts)

    answers = bench.sdk(token), bench.sdk_async(token), bench.ours(token, path)
    bench.rows.append((request.node.callspec.id, *answers))

    assert answers == (expected[0], *expected)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("garbage", id="garbage"),
        pytest.param("a.b.c", id="three-letters"),
        pytest.param("é.é.é", id="not-ascii"),
    ],
)
def test_garbage_side_by_side(bench: Bench, request: pytest.FixtureRequest, token: str) -> None:
    """Garbage is the sender's fault: 401 and not 500."""
    answers = bench.sdk(token), bench.sdk_async(token), bench.ours(token, "/session")
    bench.rows.append((request.node.callspec.id, *answers))

    assert answers == ("500 AuthException", "500 AuthException", INVALID)


def test_forged_kids_cost_the_sdk_a_fetch_each(bench: Bench) -> None:
    """Fifty invented key ids: the SDK asks fifty times for the keys, we at most twice."""
    tokens = [bench.emulator.token(header={"kid": f"forged{n}"}) for n in range(50)]

    before = len(bench.emulator.requests)
    for token in tokens:
        with pytest.raises(AuthException):
            bench.descope.validate_session(token)
    theirs = len(bench.emulator.requests) - before
    assert {bench.ours(token, "/session") for token in tokens} == {INVALID}
    ours = len(bench.emulator.requests) - before - theirs

    bench.rows.append(("fetches for 50 invented kids", str(theirs), "", str(ours)))
    assert theirs == 50
    assert ours <= 2
