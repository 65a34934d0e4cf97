"""TokenVerifier under load: many threads, and floods of bad tokens."""

import asyncio
import gc
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.token_factory import (
    claims,
    flipped,
    header,
    make_token,
    reason,
    segment,
    verifier,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def test_threads_share_one_verifier() -> None:
    """64 threads with a loop each, good and bad tokens mixed, no wrong answer."""
    checked = verifier(verdict_cache_size=16)
    good = [make_token(claims(sub=f"U2{n}")) for n in range(24)]
    bad = [flipped(token, 2) for token in good[:8]]

    async def run(start: int) -> int:
        right = 0
        for turn in range(1000):
            number = (start + turn) % 32
            if number < 24:
                verified = await checked.verify(good[number])
                right += verified.subject == f"U2{number}"
            elif turn % 25:
                right += await reason(checked, "x" + bad[number - 24]) is not None
            else:
                right += await reason(checked, bad[number - 24]) == "signature"
            if turn % 250 == 0:
                checked.forget(f"U2{number}")
        return right

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda n: asyncio.run(run(n)), range(64))) == [1000] * 64


async def test_bad_tokens_leave_no_trace() -> None:
    """Fifty thousand different ones, and not one more object than before."""
    checked = verifier()
    await checked.verify(make_token())
    payload = make_token().split(".")[1]

    async def flood(count: int, salt: str) -> None:
        for number in range(count):
            head = segment(json.dumps(header(kid=f"{salt}{number}")).encode())
            await reason(checked, f"{head}.{payload}.{'A' * 342}")
            await reason(checked, f"{salt}{number}.{payload}.AAAA")

    await flood(500, "warm")
    gc.collect()
    before = len(gc.get_objects())
    await flood(12_000, "flood")
    gc.collect()
    assert len(gc.get_objects()) - before < 200
    assert len(checked._cache) == 1
    assert len(checked._parser._headers) == 1
