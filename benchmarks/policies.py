"""What alternatives, conditions and one-time step-ups cost."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from typing import Annotated, Any, Final

import redis
from fastapi import Depends, FastAPI

from benchmarks.contenders import gets
from benchmarks.material import Material
from benchmarks.measuring import (
    Contender,
    Effort,
    Figure,
    at_most,
    compared,
    race,
    skipped,
)
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard, StepUpPolicy
from fastapi_stepup.guard.one_time_store import MemoryStore

_NAME: Final = "requests in process: RequireStepUp {} / without"
_REDIS: Final = "once, in Redis on loopback"


async def alternatives(effort: Effort) -> list[Figure]:
    """Return what a policy of eight alternatives costs next to one of one."""
    now = time.time()
    raw = {"iss": "i", "sub": "u", "iat": int(now) - 5, "exp": int(now) + 600, "su": True}
    claims = Claims({**raw, "amr": ["email", "mfa"]})
    one = StepUpPolicy(max_age="5m", amr="email")
    others = [StepUpPolicy(max_age="5m", amr=f"x{number}") for number in range(8)]
    first, last, none = one, others[0], others[0]
    for other in others[1:]:
        first = first | other if len(first.alternatives) < 8 else first
        last = last | other if len(last.alternatives) < 7 else last
        none |= other
    last |= one
    policies = (one, first, last, none)
    single, preferred, least, unmet = await race(
        [_assessed(policy, claims, now, effort.batch * 20) for policy in policies],
        rounds=effort.rounds,
    )
    name = "assess: eight alternatives, {} / one alternative"
    return [
        compared(name.format("the first is met"), preferred, single, target=at_most(3)),
        compared(name.format("the last is met"), least, single, target=at_most(3)),
        compared(name.format("none is met"), unmet, single, target=at_most(3)),
    ]


def _assessed(policy: StepUpPolicy, claims: Claims, now: float, size: int) -> Contender:
    async def turn() -> None:
        for _ in range(size):
            policy.assess(claims, now=now)

    return Contender(turn=turn, calls=size)


class _Forgetful(MemoryStore):
    """A store that can be emptied, so that tokens may be used in each round."""

    def forget(self) -> None:
        """Forget all that is used."""
        self._entries.clear()


async def guarded(effort: Effort) -> list[Figure]:
    """Return what `when=` and `once=` cost a guarded route."""
    material = Material()
    tokens = material.tokens(effort.batch, su=True)
    store = _Forgetful()
    in_memory = material.guard(one_time=store)
    plain = material.guard()
    contenders = [
        _route(plain, tokens),
        _route(plain, tokens, when=_always),
        _route(in_memory, tokens, store.forget, once="pay"),
    ]
    async with AsyncExitStack() as stack:
        url = stack.enter_context(_redis())
        if url is not None:
            client = stack.enter_context(closing(redis.Redis.from_url(url)))
            in_redis = material.guard(redis_url=url)
            stack.push_async_callback(in_redis.one_time.store.aclose)
            contenders.append(_route(in_redis, tokens, client.flushdb, once="pay"))
        alone, when, memory, *shared = await race(contenders, rounds=effort.rounds)
    figures = [
        compared(_NAME.format("with when"), when, alone),
        compared(_NAME.format("with once, in memory"), memory, alone),
    ]
    if not shared:
        return [*figures, skipped(_NAME.format(f"with {_REDIS}"), "redis-server is not installed")]
    note = "CPU time of this thread, without that of Redis and of the threads that wait for it"
    return [*figures, compared(_NAME.format(f"with {_REDIS}"), shared[0], alone, note=note)]


async def _always() -> bool:
    return True


def _route(
    guard: StepUpGuard, tokens: Sequence[str], prepare: Callable[[], Any] = list, **asked: Any
) -> Contender:
    app = FastAPI()
    step_up = RequireStepUp(guard, max_age="30m", **asked)

    @app.get("/pay")
    async def pay(_: Annotated[Claims, Depends(step_up)]) -> dict[str, str]:
        return {"order": "12"}

    return gets(app, "/pay", list(tokens), len(tokens), prepare=prepare)


@contextmanager
def _redis() -> Iterator[str | None]:
    """Run a Redis server until the context ends; the value is its URL, or `None`."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        port = reserved.getsockname()[1]
    arguments = [program, "--save", "", "--bind", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"redis://127.0.0.1:{port}"
            _wait_for(url)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        for _ in range(200):
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.05)
            else:
                return
    msg = "Redis did not start."
    raise TimeoutError(msg)
