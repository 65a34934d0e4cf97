"""StepUpAuth with clients of httpx and httpx2, with wrong objects, and what its errors show."""

import base64
import json
import traceback
from types import SimpleNamespace, TracebackType
from typing import Annotated, Any

import httpx
import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from fastapi_stepup import (
    Claims,
    RequireStepUp,
    StepUpAuth,
    StepUpFailed,
    StepUpGuard,
    StepUpTokens,
    stepup_router,
)
from fastapi_stepup.testing import DescopeEmulator
from tests.client.shop import OLD, SHOP, Prompt, Server
from tests.client.site import CLIENTS, ONE_OF_EACH, Site, call

START = "/step-up/otp/start"
VERIFY = "/step-up/otp/verify"


def test_every_client_steps_up(client: str, shop: Site) -> None:
    """Request, step-up and repetition are of the client's own library."""
    auth = StepUpAuth(OLD, Prompt("123456"))

    response = call(client, f"{shop.url}/pay", auth, json={"shirt": "M"})

    assert response.json() == "POST /pay"
    assert shop.requests == ["POST /pay", f"POST {START}", f"POST {VERIFY}", "POST /pay"]
    assert shop.received[2].json == {
        "code": "123456",
        "delivery": "email",
        "refresh_token": "refresh",
    }
    assert type(response).__module__ == client.removesuffix("-async")


@pytest.mark.parametrize(
    ("client", "second"), list(zip(CLIENTS, [*CLIENTS][1:] + [*CLIENTS][:1], strict=True))
)
def test_one_object_for_clients_of_both(client: str, second: str, shop: Site) -> None:
    """The session of one is that of the other."""
    auth = StepUpAuth(OLD, Prompt("123456"))

    for one in (client, second):
        assert call(one, f"{shop.url}/pay", auth).status_code == 200

    assert shop.requests.count(f"POST {START}") == 1


def test_test_client_of_starlette(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """It steps up against the emulator, by a request and as its default."""
    app = FastAPI()
    app.include_router(stepup_router(guard))

    @app.post("/checkout")
    async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
        return claims.subject

    ann = descope.sign_in("ann@example.com")
    auth = StepUpAuth(ann, lambda _: descope.outbox[-1].code)

    assert TestClient(app).post("/checkout", auth=auth).json() == ann.user_id


def test_both_take_it_for_an_auth() -> None:
    """Each library asks for an object of its own class."""
    for kind in (httpx.Auth, httpx2.Auth):
        assert isinstance(StepUpAuth(OLD, Prompt()), kind)


WRONG: list[Any] = [
    pytest.param(("token", Prompt()), {}, TypeError, "tokens must be a session", id="text"),
    pytest.param((None, Prompt()), {}, TypeError, "got NoneType", id="no-tokens"),
    pytest.param(({"session_token": "x"}, Prompt()), {}, TypeError, "got dict", id="dict"),
    pytest.param(
        (SimpleNamespace(session_token="x", refresh_token=1), Prompt()),
        {},
        TypeError,
        "tokens must be a session",
        id="refresh-token",
    ),
    pytest.param((StepUpTokens("a\nb"), Prompt()), {}, ValueError, "no bearer token", id="newline"),
    pytest.param((StepUpTokens("ä"), Prompt()), {}, ValueError, "no bearer token", id="umlaut"),
    pytest.param((StepUpTokens("", "r"), Prompt()), {}, ValueError, "is empty", id="empty"),
    pytest.param((StepUpTokens("x", ""), Prompt()), {}, ValueError, "is empty", id="no-refresh"),
    pytest.param((OLD, "123456"), {}, TypeError, "prompt must be a function", id="prompt"),
    pytest.param((OLD, Prompt()), {"origin": "shop.example"}, ValueError, "https://", id="host"),
    pytest.param(
        (OLD, Prompt()), {"origin": "https://x:port"}, ValueError, "https://", id="no-url"
    ),
    pytest.param((OLD, Prompt()), {"origin": "file:///x"}, ValueError, "https://", id="scheme"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "words"), WRONG)
def test_wrong_object_gets_a_sentence(
    arguments: tuple[Any, Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """It says what to pass, and shows no token."""
    with pytest.raises(error, match=words) as raised:
        StepUpAuth(*arguments, **options)

    assert "\n" not in str(raised.value)
    assert "a\nb" not in str(raised.value)


def test_tokens_go_to_one_origin_however_it_is_written(subtests: pytest.Subtests) -> None:
    """Scheme, host and port decide; the rest of a URL does not."""
    urls = {
        "https://shop.example:443/x": True,
        "HTTPS://SHOP.EXAMPLE": True,
        "https://ann@shop.example": True,
        "https://shop.example:8443": False,
        "http://shop.example": False,
        "https://shop.example.": False,
        "https://api.shop.example": False,
        "https://shop.example@evil.example": False,
    }
    for other, same in urls.items():
        server = Server()
        auth = StepUpAuth(OLD, Prompt(), origin=SHOP)
        server.answers["/"] = server.answers["/x"] = lambda _: httpx.Response(200)

        with subtests.test(other), server.client(auth) as client:
            client.get(other)

            assert ("authorization" in server.requests[0].headers) is same


def test_host_that_is_not_ascii() -> None:
    """It is the same origin in both of its forms."""
    server = Server({"/": lambda _: httpx.Response(200)})
    auth = StepUpAuth(OLD, Prompt(), origin="https://bücher.example")

    with server.client(auth) as client:
        client.get("https://xn--bcher-kva.example/")

    assert server.requests[0].headers["authorization"] == "Bearer old"


def jwt(subject: object) -> str:
    """Return text like a JWT of this subject."""
    payload = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        (jwt("U1"), jwt("U1"), True),
        (jwt("U1"), jwt("U2"), False),
        (jwt("U1"), "opaque", True),
        ("opaque", jwt("U2"), True),
        (jwt(1), jwt(2), True),
        ("a.W10.c", "a.bm8.c", True),
        ("a.!.c".replace("!", "-"), jwt("U1"), True),
    ],
)
def test_request_is_repeated_as_the_account_that_made_it(
    before: str, after: str, *, accepted: bool
) -> None:
    """A session of another user is not taken, and nothing is sent with it."""
    server = Server({VERIFY: lambda _: httpx.Response(200, json={"session_token": after})})
    server.answers["/pay"] = lambda request: (
        httpx.Response(200)
        if server.paths.count("/pay") > 1
        else httpx.Response(401, json={"code": "insufficient_user_authentication", "step_up": STEP})
    )
    auth = StepUpAuth(StepUpTokens(before, "refresh"), Prompt("123456"))

    with server.client(auth) as client:
        if accepted:
            assert client.get("/pay").status_code == 200
        else:
            with pytest.raises(StepUpFailed, match=r"^subject_mismatch$"):
                client.get("/pay")

    assert auth.tokens.session_token == (after if accepted else before)


STEP = {"start_uri": START, "verify_uri": VERIFY, "methods": ["email"]}
SECRETS = (jwt("U1"), jwt("U2"), "the-refresh-token", "987654", "new-refresh")
FAILURES: list[Any] = [
    pytest.param({VERIFY: JSONResponse({"code": "otp_rejected"}, 400)}, id="refused"),
    pytest.param({VERIFY: JSONResponse({"refresh_token": "new-refresh"})}, id="no-session"),
    pytest.param({VERIFY: JSONResponse(None, 307, {"location": "/"})}, id="redirected"),
    pytest.param(
        {VERIFY: JSONResponse({"session_token": jwt("U2"), "refresh_token": "new-refresh"})},
        id="another-user",
    ),
    pytest.param({START: JSONResponse({"code": "too_many_attempts"}, 429)}, id="start"),
]


def variables(trace: TracebackType | None) -> str:
    """Return the local variables of all frames of the package, as an error report shows them."""
    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    ours = [f for f in frames if "fastapi_stepup/client" in f.f_code.co_filename]
    assert ours
    return repr([frame.f_locals for frame in ours])


@pytest.mark.parametrize(
    ("client", "answers"),
    [
        *(pytest.param("httpx", *row.values, id=row.id) for row in FAILURES),
        *(pytest.param(client, *FAILURES[-1].values, id=client) for client in [*CLIENTS][1:]),
    ],
)
def test_no_frame_of_an_error_shows_a_secret(
    client: str, answers: dict[str, Any], shop: Site
) -> None:
    """Neither a token nor the code is in a local variable that an error leaves through."""
    shop.answers.update(answers)
    tokens = StepUpTokens(jwt("U1"), "the-refresh-token")

    with pytest.raises(StepUpFailed) as raised:
        call(client, f"{shop.url}/pay", StepUpAuth(tokens, Prompt("987654"), attempts=1))

    shown = variables(raised.tb)
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("client", ONE_OF_EACH)
def test_no_frame_shows_a_code_of_the_wrong_type(client: str, shop: Site) -> None:
    """The error says what came instead of text, not its value."""
    number: Any = 987654

    with pytest.raises(TypeError, match="returned int") as raised:
        call(client, f"{shop.url}/pay", StepUpAuth(OLD, lambda _: number))

    assert "987654" not in variables(raised.tb)
