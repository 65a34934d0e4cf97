"""TokenVerifier under load: many threads, forks, and floods of bad tokens."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import warnings
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

pytestmark = pytest.mark.anyio


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_forgetting_takes_effect_while_threads_use_the_cache() -> None:
    """Five threads look tokens up and put them in; what was forgotten is verified in full.

    A walk over the entries would break here, and the revocation would be lost.
    """
    checked = verifier(verdict_cache_size=90)
    tokens = [make_token(claims(sub=f"U2{n % 12}", n=n)) for n in range(96)]
    failures: list[BaseException] = []

    def use(start: int) -> None:
        try:
            for turn in range(start, start + 3000):
                verifying = checked.verify(tokens[turn * 7 % 96])
                with pytest.raises(StopIteration):
                    verifying.send(None)
        except BaseException as error:  # noqa: BLE001  # a thread has no other way to say so
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=use, args=(n * 19,)) for n in range(5)]
    turn = 0
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            # Mostly subjects without tokens, so that the others find theirs and move them.
            checked.forget(f"U2{turn % 500}")
            turn += 1
    finally:
        sys.setswitchinterval(interval)

    assert failures == []
    cache = checked._cache
    held = {cached.claims.subject for cached in cache._tokens.values()}
    assert held == cache._digests.keys()
    assert sum(map(len, cache._digests.values())) == len(cache) <= 90
    assert cache.weight == sum(cached.weight for cached in cache._tokens.values())
    for number in range(12):
        checked.forget(f"U2{number}")
    assert (len(cache), cache.weight, cache._digests) == (0, 0, {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_verifies_although_the_lock_was_held() -> None:
    """Its cache has a lock of its own, and starts empty: the fork may have cut a change in two."""
    checked = verifier()
    token = make_token()
    asyncio.run(checked.verify(token))

    with checked._cache._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            signal.alarm(5)
            empty = len(checked._cache) == 0
            asyncio.run(checked.verify(token))
            checked.forget("U2x")
            os._exit(0 if empty and len(checked._cache) == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(checked._cache) == 1
