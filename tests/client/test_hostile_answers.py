"""Nothing that a server writes raises anything but StepUpFailed, or spoils the tokens."""

import json
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from fastapi_stepup import StepUpAuth, StepUpFailed, StepUpTokens
from tests.client.shop import CODE, HEADER, OLD, OTP, Prompt, Server, problem
from tests.client.site import CLIENTS, Site, call

START = "/step-up/otp/start"
VERIFY = "/step-up/otp/verify"

VALUES: list[Any] = [
    None,
    True,
    -1,
    1.5,
    1e300,
    10**40,
    "",
    "constructor",
    "__proto__",
    "__class__",
    "\ud800",
    "täst ☂",
    "a\r\nb: c",
    [],
    [None, 1, {}, ["x"]],
    {},
    {"detail": {"detail": []}},
]
TOKENS = [value for value in VALUES if value != "constructor" and not str(value).startswith("__")]


@pytest.mark.parametrize(
    "name", ["max_age", "acr_values", "amr", "unmet", "unmet_after_step_up", "step_up"]
)
def test_members_of_a_challenge(name: str) -> None:
    """A member of the wrong kind counts as none; the challenge is met, passed on or fails."""
    for value in VALUES:
        body = problem() | {name: value}
        server = Server({"/pay": lambda _, body=body: raw(401, body, HEADER)})  # type: ignore[misc]
        prompt = Prompt("123456")

        with server.client(StepUpAuth(OLD, prompt)) as client:
            assert client.get("/pay").status_code == 401, value

        for question in prompt.asked:
            assert question.max_age in {60, None}, value
            assert all(isinstance(one, dict) for one in question.unmet), value
            assert all(isinstance(one, str) for one in (*question.acr_values, *question.amr)), value


@pytest.mark.parametrize("name", ["start_uri", "verify_uri", "methods", "uris"])
def test_members_of_a_step_up(name: str) -> None:
    """Neither do those of `step_up` raise anything else."""
    for value in VALUES:
        body = problem(step_up=OTP | {name: value})
        server = Server({"/pay": lambda _, body=body: raw(401, body, "")})  # type: ignore[misc]

        with server.client(StepUpAuth(OLD, Prompt("123456", None))) as client:
            try:
                status = client.get("/pay").status_code
            except StepUpFailed:
                status = 401

        assert status == 401, value
        assert {request.url.host for request in server.requests} == {"shop.example"}, value


def test_uris_of_a_step_up(subtests: pytest.Subtests) -> None:
    """A URI that is none, or that leads elsewhere, is not gone to."""
    for uri in (
        "http://[",
        "https://[::1",
        "https://shop.example:99999/",
        "https://xn--a.example/",
        "https://xn--/",
        "https://\u2603.example/",
        "https://" + "a" * 300 + ".example/",
        "/" + "a" * 70_000,
        "/\x00",
        "//shop.example@evil.example/",
        "https://evil.example\\@shop.example/",
        "javascript:alert(1)",
        "data:,x",
        "https://ann:secret@shop.example/",
    ):
        body = problem(step_up=OTP | {"start_uri": uri, "methods": ["email"]})
        server = Server({"/pay": lambda _, body=body: raw(401, body, "")})  # type: ignore[misc]

        with subtests.test(ascii(uri)[:40]), server.client(StepUpAuth(OLD, Prompt())) as client:
            assert client.get("/pay").status_code == 401
            assert server.paths == ["/pay"]


def test_numbers_in_headers(subtests: pytest.Subtests) -> None:
    """A header that is no number of seconds counts as none."""
    for number in ("9" * 5000, "-1", "1e3", "0x10", "1.5", "²", "", "inf", " 5"):
        written = number.encode("latin-1")
        header = b'Bearer error="%s", max_age="%s"' % (CODE.encode(), written)
        throttled = httpx.Response(429, json={"code": "x"}, headers=[(b"Retry-After", written)])
        server = Server(
            {
                "/pay": lambda _, header=header: raw(401, {"step_up": OTP}, header),  # type: ignore[misc]
                VERIFY: lambda _, throttled=throttled: throttled,  # type: ignore[misc]
            }
        )
        prompt = Prompt("123456")

        with subtests.test(ascii(number)[:40]), server.client(StepUpAuth(OLD, prompt)) as client:
            with pytest.raises(StepUpFailed, match="x") as raised:
                client.get("/pay")

            assert (prompt.asked[0].max_age, raised.value.retry_after) == (None, None)


@pytest.mark.parametrize("name", ["code", "detail", "destination"])
def test_members_of_a_refused_step_up(name: str) -> None:
    """The error has text that can be printed, whatever the problem holds."""
    for value in VALUES:
        body = {"code": "news", name: value}
        server = Server({VERIFY: lambda _, body=body: raw(400, body, "")})  # type: ignore[misc]

        with (
            server.client(StepUpAuth(OLD, Prompt("123456"))) as client,
            pytest.raises(StepUpFailed) as raised,
        ):
            client.get("/pay")

        assert str(raised.value).encode("utf-8"), value
        assert raised.value.code.encode("utf-8"), value


def test_destination_that_is_no_text(subtests: pytest.Subtests) -> None:
    """The destination in the question can be printed."""
    for value in VALUES:
        answer = raw(200, {"destination": value}, "")
        server = Server({START: lambda _, answer=answer: answer})  # type: ignore[misc]
        prompt = Prompt("123456")

        with subtests.test(ascii(value)), server.client(StepUpAuth(OLD, prompt)) as client:
            assert client.get("/pay").status_code == 200
            destination = prompt.asked[0].destination
            assert destination is None or destination.encode("utf-8").decode() == destination


def test_session_token_that_cannot_be_sent(subtests: pytest.Subtests) -> None:
    """It is no session: the old one is kept, and can still be sent."""
    for value in TOKENS:
        answer = raw(200, {"session_token": value}, "")
        server = Server({VERIFY: lambda _, answer=answer: answer})  # type: ignore[misc]
        server.answers["/open"] = lambda _: httpx.Response(200)
        auth = StepUpAuth(OLD, Prompt("123456"))

        with subtests.test(ascii(value)), server.client(auth) as client:
            with pytest.raises(StepUpFailed, match=r"^no_session$"):
                client.get("/pay")
            assert client.get("/open").status_code == 200
            assert auth.tokens == OLD


def test_refresh_token_that_cannot_be_sent(subtests: pytest.Subtests) -> None:
    """The refresh token that is held stays."""
    for value in TOKENS:
        answer = raw(200, {"session_token": "new", "refresh_token": value}, "")
        server = Server({VERIFY: lambda _, answer=answer: answer})  # type: ignore[misc]
        auth = StepUpAuth(OLD, Prompt("123456"))

        with subtests.test(ascii(value)), server.client(auth) as client:
            assert client.get("/pay").status_code == 200
            assert auth.tokens == StepUpTokens("new", "refresh")


BROKEN: list[Any] = [
    pytest.param(b"\xff\xfe\x00", {}, id="no-text"),
    pytest.param(b"[" * 100_000, {}, id="deep"),
    pytest.param(b"9" * 5000, {}, id="long-number"),
    pytest.param(b"{", {}, id="cut-off"),
    pytest.param(b"{}", {"Content-Type": "application/json; charset=nonsense"}, id="charset"),
]


@pytest.mark.parametrize(("content", "headers"), BROKEN)
@pytest.mark.parametrize("path", [START, VERIFY])
def test_body_that_is_no_json(path: str, content: bytes, headers: dict[str, str]) -> None:
    """A step-up that gets such an answer fails, with success or without."""
    for status in (200, 400):
        answer = httpx.Response(status, content=content, headers=headers)
        server = Server({path: lambda _, answer=answer: answer})  # type: ignore[misc]
        prompt = Prompt("123456")
        with server.client(StepUpAuth(OLD, prompt)) as client:
            if (path, status) == (START, 200):
                assert client.get("/pay").status_code == 200
                assert prompt.asked[0].destination is None
            else:
                with pytest.raises(StepUpFailed):
                    client.get("/pay")


@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        *((client, "/pay", 401) for client in CLIENTS),
        *(("httpx", path, status) for path, status in [(START, 200), (START, 400)]),
        *(("httpx", path, status) for path, status in [(VERIFY, 200), (VERIFY, 401)]),
    ],
)
def test_body_that_cannot_be_decompressed(client: str, path: str, status: int, shop: Site) -> None:
    """A step-up fails on such an answer; the app's own 200 is the app's to read."""
    shop.answers[path] = Response(b"no gzip", status, {"Content-Encoding": "gzip"})

    with pytest.raises(StepUpFailed, match=r"^unreadable$"):
        call(client, f"{shop.url}/pay", StepUpAuth(OLD, Prompt("123456")))


def raw(status: int, body: Any, header: str | bytes) -> httpx.Response:
    """Return JSON as a careless server writes it: halves of characters are escaped."""
    field = header.encode() if isinstance(header, str) else header
    headers = [(b"Content-Type", b"application/json")]
    headers += [(b"WWW-Authenticate", field)] if field else []
    return httpx.Response(status, text=json.dumps(body), headers=headers)
