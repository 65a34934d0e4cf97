"""Speaks as much of Redis as the package needs: `python -m tests.support.fake_redis PORT`.

So that what is done with Redis is run where there is none; that it is right is shown by the same
tests against a real server.
"""

import asyncio
import hashlib
import sys
import time

_windows: dict[str, list[float]] = {}
_scripts: dict[str, str] = {}
_holders: dict[str, tuple[str, float]] = {}


def acquire(key: str, now: float, limit: int, expiry: float) -> bytes:
    """Count once, if the moving window has room."""
    hits = [hit for hit in _windows.get(key, []) if hit >= now - expiry]
    if len(hits) >= limit:
        return b"$-1\r\n"
    _windows[key] = [now, *hits]
    return b":1\r\n"


def window(key: str, since: float) -> bytes:
    """Tell the oldest hit of the window, and how many there are."""
    hits = [hit for hit in _windows.get(key, []) if hit >= since]
    oldest = f"{min(hits)}".encode()
    return b"*2\r\n$%d\r\n%s\r\n:%d\r\n" % (len(oldest), oldest, len(hits))


def hold(key: str, holder: str, milliseconds: int) -> bytes:
    """Hold a key, as the script of the one-time store does."""
    known, until = _holders.get(key, (holder, 0.0))
    if until > time.monotonic() and known != holder:
        return b"+busy\r\n" if known else b"+used\r\n"
    _holders[key] = holder, time.monotonic() + milliseconds / 1000
    return b"+held\r\n"


def give_back(key: str, holder: str) -> bytes:
    """Free a key, if it is held by *holder*."""
    if _holders.get(key, ("", 0.0))[0] == holder:
        del _holders[key]
    return b"+done\r\n"


def run(script: str, key: str, arguments: list[str]) -> bytes:
    """Run one of the scripts, known by what is in it."""
    if "'held'" in script:
        return hold(key, arguments[0], int(arguments[1]))
    if "'DEL'" in script:
        return give_back(key, arguments[0])
    if "lpush" in script:
        now, limit, expiry, _ = map(float, arguments)
        return acquire(key, now, int(limit), expiry)
    return window(key, float(arguments[0]))


def answer(words: list[str]) -> bytes:
    """Answer one command."""
    match words[0].upper(), words[1:]:
        case "EVALSHA", [sha, _, key, *arguments] if sha in _scripts:
            return run(_scripts[sha], key, arguments)
        case "EVALSHA", _:
            return b"-NOSCRIPT no such script\r\n"
        case "SET", [key, value, "PX", milliseconds]:
            _holders[key] = value, time.monotonic() + int(milliseconds) / 1000
        case "KEYS", _:
            keys = [*_windows, *_holders]
            found = [b"$%d\r\n%s\r\n" % (len(key), key.encode()) for key in keys]
            return b"*%d\r\n" % len(found) + b"".join(found)
        case "SCRIPT", ["LOAD", text]:
            sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            _scripts[sha] = text
            return b"$%d\r\n%s\r\n" % (len(sha), sha.encode())
    return b"+OK\r\n"


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read commands and answer them until the client goes."""
    while head := await reader.readline():
        words = []
        for _ in range(int(head[1:])):
            length = int((await reader.readline())[1:])
            words.append((await reader.readexactly(length + 2))[:-2].decode())
        writer.write(answer(words))
    writer.close()


async def main(port: int) -> None:
    """Listen on loopback."""
    server = await asyncio.start_server(serve_client, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
