"""Contenders of races: a function on token after token, and requests to an app."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import cycle
from typing import Any

import jwt
from jwt import PyJWK
from starlette.types import ASGIApp

from benchmarks.material import PROJECT
from benchmarks.measuring import Contender
from benchmarks.requests import request

Verify = Callable[[str], Awaitable[object]]


def batches(tokens: list[str], size: int) -> Iterator[list[str]]:
    """Give ever other *size* of *tokens*, round and round."""
    return cycle([tokens[start : start + size] for start in range(0, len(tokens), size)])


def each(verify: Verify, groups: Iterator[list[str]], size: int, **options: Any) -> Contender:
    """Return the contender that awaits *verify* on the tokens of the next batch."""

    async def turn() -> None:
        for token in next(groups):
            await verify(token)

    return Contender(turn=turn, calls=size, **options)


def each_sync(call: Callable[[Any], object], groups: Iterable[list[Any]], size: int) -> Contender:
    """Return the contender that calls a plain function on the next batch."""
    endless = iter(groups)

    async def turn() -> None:
        for item in next(endless):
            call(item)

    return Contender(turn=turn, calls=size)


def gets(
    app: ASGIApp, path: str, tokens: list[str], size: int, *, field: str = "bearer", **options: Any
) -> Contender:
    """Return the contender that asks *app* for *path*, with the next of *tokens* each time.

    Any answer but a 200 is an error.
    """
    endless = batches(tokens, size)

    async def turn() -> None:
        group = next(endless)
        for number in range(size):
            await request(app, path, group[number % len(group)], field=field)

    return Contender(turn=turn, calls=size, **options)


def decoder(jwk: dict[str, Any]) -> Callable[[str], object]:
    """Return what people write with PyJWT, the key in hand."""
    key, algorithms = PyJWK(jwk).key, [jwk["alg"]]

    def decode(token: str) -> object:
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=PROJECT,
            options={"require": ["exp", "iat", "iss", "sub"]},
        )

    return decode
