"""Speaks as much of Redis as counting needs: `python -m tests.support.fake_redis PORT`.

So that what is done with Redis is run where there is none; that it is right is shown by the same
tests against a real server.
"""

import asyncio
import hashlib
import sys

_windows: dict[str, list[float]] = {}
_scripts: dict[str, str] = {}


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


def answer(words: list[str]) -> bytes:
    """Answer one command."""
    match words[0].upper(), words[1:]:
        case "EVALSHA", [sha, _, key, *arguments] if sha in _scripts:
            if "lpush" in _scripts[sha]:
                now, limit, expiry, _ = map(float, arguments)
                return acquire(key, now, int(limit), expiry)
            return window(key, float(arguments[0]))
        case "EVALSHA", _:
            return b"-NOSCRIPT no such script\r\n"
        case "KEYS", _:
            found = [b"$%d\r\n%s\r\n" % (len(key), key.encode()) for key in _windows]
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
