"""StepUpAuth with `authorize`: a challenge becomes a new authorization, once."""

import json
import threading
from contextlib import nullcontext
from typing import Any

import anyio.lowlevel
import httpx
import pytest

from fastapi_stepup import (
    AuthorizationRequest,
    StepUpAuth,
    StepUpCancelled,
    StepUpFailed,
    StepUpTokens,
    StepUpUnmet,
)
from fastapi_stepup.testing import OIDCIssuer
from tests.client.shop import CODE, HEADER, OLD, SHOP, Crowd, Prompt, Server, problem, refused
from tests.client.site import Site, call

# The challenge of an API that has no routes to step up.
BODY = {"code": CODE, "max_age": 60, "acr_values": ["urn:a", "urn:b"]}


def demanded() -> httpx.Response:
    """Return the refusal of an API that leaves it to the issuer."""
    return refused(BODY)


class Issuer:
    """A callback that gives these tokens, one a call, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[AuthorizationRequest] = []

    def __call__(self, asked: AuthorizationRequest) -> Any:
        """Authorize."""
        self.asked.append(asked)
        return self.answers.pop(0)


def test_refused_request_is_sent_again_with_new_tokens(client: str, shop: Site) -> None:
    """The callback gets what the API asks for; every client sends its body twice and no more."""
    issuer = Issuer("new")
    kept: list[StepUpTokens] = []
    auth = StepUpAuth(OLD, authorize=issuer, on_tokens=kept.append)

    answers = [call(client, f"{shop.url}/{path}", auth, json=["M"]) for path in ("pay", "refund")]

    assert [answer.json() for answer in answers] == ["POST /pay", "POST /refund"]
    assert [one.bearer for one in shop.received] == ["old", "new", "new"]
    assert [one.json for one in shop.received] == [["M"]] * 3
    (asked,) = issuer.asked
    assert (asked.acr_values, asked.max_age) == (("urn:a", "urn:b"), 60)
    # A text is an access token alone: the refresh token stays.
    assert kept == [auth.tokens] == [StepUpTokens("new", "refresh")]


@pytest.mark.anyio
async def test_asynchronous_callback() -> None:
    """It is awaited in the client's own event loop, and may bring a refresh token."""
    loops: list[int] = []

    async def authorize(asked: AuthorizationRequest) -> StepUpTokens:
        await anyio.lowlevel.checkpoint()
        loops.append(threading.get_ident())
        return StepUpTokens("new", "another")

    auth = StepUpAuth(OLD, authorize=authorize)
    transport = httpx.MockTransport(Server())
    async with httpx.AsyncClient(transport=transport, auth=auth, base_url=SHOP) as client:
        assert (await client.get("/pay")).json() == "paid"

    assert loops == [threading.get_ident()]
    assert auth.tokens == StepUpTokens("new", "another")


def test_parameters_of_the_authorization_request() -> None:
    """Class and age go into one request; an essential class takes the place of `acr_values`."""
    asked = AuthorizationRequest(acr_values=("urn:a", "urn:b"), max_age=0)
    assert asked.parameters() == {"acr_values": "urn:a urn:b", "max_age": "0"}
    essential = asked.parameters(essential=True)
    assert json.loads(essential.pop("claims")) == {
        "id_token": {"acr": {"essential": True, "values": ["urn:a", "urn:b"]}}
    }
    assert essential == {"max_age": "0"}
    for flag in (False, True):
        assert AuthorizationRequest(amr=("otp",)).parameters(essential=flag) == {}


UNMET = {"requirement": "acr", "reason": "missing"}
METADATA = f"{SHOP}/.well-known/oauth-protected-resource"
HEADERS = [
    pytest.param(
        HEADER,
        None,
        AuthorizationRequest(acr_values=("urn:a", "urn:b"), max_age=60),
        id="header-alone",
    ),
    pytest.param(
        f'Bearer error="{CODE}", resource_metadata="{METADATA}"',
        {"detail": BODY | {"max_age": 5, "amr": ["otp"], "unmet": [UNMET, 7]}},
        AuthorizationRequest(
            acr_values=("urn:a", "urn:b"),
            max_age=5,
            amr=("otp",),
            unmet=(UNMET,),
            resource_metadata=METADATA,
        ),
        id="body-first",
    ),
    pytest.param(
        "",
        BODY | {"acr_values": ["a b", "\ud800", 7, "c"]},
        AuthorizationRequest(acr_values=("c",), max_age=60),
        id="no-class",
    ),
]


@pytest.mark.parametrize(("header", "body", "expected"), HEADERS)
def test_challenge_is_read(header: str, body: Any, expected: AuthorizationRequest) -> None:
    """Header and body both do; a class that would be two, or cannot be sent, is left out."""
    reply = json.dumps(body).encode()
    headers = {"WWW-Authenticate": header} if header else {}
    answers = iter([httpx.Response(401, content=reply, headers=headers), httpx.Response(204)])
    server = Server({"/pay": lambda _: next(answers)})
    issuer = Issuer("new")

    with server.client(StepUpAuth(OLD, authorize=issuer)) as client:
        assert client.get("/pay").status_code == 204

    assert issuer.asked == [expected]


@pytest.mark.parametrize("given", ["weak", "old"], ids=["weaker", "the-same"])
def test_tokens_that_do_not_do_are_an_error_and_no_second_round(given: str) -> None:
    """The issuer is asked once, the API twice, and the tokens from before are kept."""
    server = Server()
    issuer = Issuer(given)
    kept: list[StepUpTokens] = []
    auth = StepUpAuth(OLD, authorize=issuer, on_tokens=kept.append)

    with server.client(auth) as client, pytest.raises(StepUpUnmet) as raised:
        client.post("/pay", json={})

    error = raised.value
    assert (error.code, error.problem) == ("unmet_authentication_requirements", problem())
    assert (len(issuer.asked), server.paths) == (1, ["/pay", "/pay"])
    assert (auth.tokens, kept) == (OLD, [])


@pytest.mark.parametrize("status", [403, 500])
def test_other_answer_is_returned(status: int) -> None:
    """Only a step-up challenge says that the new tokens do not do."""
    answers = iter([demanded(), httpx.Response(status)])
    server = Server({"/pay": lambda _: next(answers)})
    auth = StepUpAuth(OLD, authorize=Issuer("new"))

    with server.client(auth) as client:
        assert client.get("/pay").status_code == status

    assert auth.tokens.session_token == "new"


def test_page_behind_a_redirect_is_no_refusal_of_the_request() -> None:
    """A request that was carried out is not an error because the next page asks for more."""
    answers = iter([demanded(), httpx.Response(303, headers={"Location": "/page"})])
    server = Server({"/pay": lambda _: next(answers), "/page": lambda _: demanded()})
    auth = StepUpAuth(OLD, authorize=Issuer("new"))

    with server.client(auth) as client:
        assert client.post("/pay", follow_redirects=True).status_code == 401

    assert server.paths == ["/pay", "/pay", "/page"]
    assert auth.tokens.session_token == "new"


def test_tokens_outlive_a_failed_connection() -> None:
    """The login was made: it is not asked for again when the request did not come through."""

    def broken(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer old":
            return demanded()
        raise httpx.ReadTimeout("too slow")

    auth = StepUpAuth(OLD, authorize=Issuer("new"))
    with Server({"/pay": broken}).client(auth) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/pay")

    assert auth.tokens == StepUpTokens("new", "refresh")


@pytest.mark.parametrize(
    ("subject", "paths"),
    [("ann", ["/pay", "/pay"]), ("bob", ["/pay"]), (None, ["/pay", "/pay"])],
    ids=["same", "other", "unreadable"],
)
def test_request_is_not_repeated_as_another_user(subject: str | None, paths: list[str]) -> None:
    """Where both tokens say who the user is, it has to be the same one."""
    issuer = OIDCIssuer()
    given = "opaque" if subject is None else issuer.token(subject, acr="mfa")
    answers = iter([demanded(), httpx.Response(204)])
    server = Server({"/pay": lambda _: next(answers)})
    auth = StepUpAuth(StepUpTokens(issuer.token("ann")), authorize=lambda _: given)
    refusal = pytest.raises(StepUpFailed, match=r"^subject_mismatch$")

    with server.client(auth) as client, refusal if subject == "bob" else nullcontext():
        client.get("/pay")

    assert server.paths == paths


def test_callback_that_gives_nothing_cancels() -> None:
    """The user did not sign in: a typed error."""
    auth = StepUpAuth(OLD, authorize=Issuer(None))

    with Server().client(auth) as client, pytest.raises(StepUpCancelled):
        client.get("/pay")


async def _coroutine(_: AuthorizationRequest) -> str:
    return "new"


class _Later:
    """Awaitable, and no coroutine."""

    def __await__(self) -> Any:
        yield


WRONG = [
    pytest.param(Issuer(_Later()), TypeError, "authorize is asynchronous", id="awaitable"),
    pytest.param(Issuer(7), TypeError, "must be a session.*got int", id="number"),
    pytest.param(Issuer("a secret"), ValueError, "no bearer token", id="not-sendable"),
    pytest.param(_coroutine, TypeError, "authorize is asynchronous", id="asynchronous"),
]


@pytest.mark.parametrize(("authorize", "error", "message"), WRONG)
def test_wrong_callback_is_explained(authorize: Any, error: type[Exception], message: str) -> None:
    """What it returned wrongly is named by its type, and shown nowhere."""
    auth = StepUpAuth(OLD, authorize=authorize)

    with Server().client(auth) as client, pytest.raises(error, match=message) as raised:
        client.get("/pay")

    frames = [entry.frame.f_locals for entry in raised.traceback if "client/" in str(entry.path)]
    assert "a secret" not in repr([f for f in frames if "authorize" not in f])


def test_either_a_prompt_or_a_callback() -> None:
    """Both, neither, and what cannot be called are errors at once."""
    for options in ({}, {"prompt": Prompt(), "authorize": Issuer()}):
        with pytest.raises(TypeError, match="either prompt or authorize"):
            StepUpAuth(OLD, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="authorize must be a function that returns new tokens"):
        StepUpAuth(OLD, authorize="new")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["new", "weak"])
def test_parallel_requests_share_one_authorization(answer: str) -> None:
    """All of them pass with its tokens, or all get the same error."""
    issuer = Issuer(answer)
    crowd = Crowd(3)

    def authorize(asked: AuthorizationRequest) -> Any:
        # Time for the others to come and wait, which they do in no way that could be seen.
        threading.Event().wait(0.3)
        return issuer(asked)

    auth = StepUpAuth(OLD, authorize=authorize)
    results: list[object] = []

    def pay() -> None:
        with crowd.client(auth) as client:
            try:
                results.append(client.get("/pay").json())
            except StepUpUnmet as error:
                results.append(error.code)

    threads = [threading.Thread(target=pay) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = "paid" if answer == "new" else "unmet_authentication_requirements"
    assert results == [expected] * 3
    assert len(issuer.asked) == 1


@pytest.mark.parametrize(("more", "rounds"), [({}, 1), ({"max_age": 5}, 2)], ids=["same", "other"])
def test_request_that_waited_asks_only_for_something_else(more: Any, rounds: int) -> None:
    """After another request's round, one with other requirements has a round; then it fails too."""
    issuer = Issuer("new", "new")
    crowd = Crowd(2, {"/payroll": lambda _: refused(BODY | more)})
    first_asked = threading.Event()

    def authorize(asked: AuthorizationRequest) -> Any:
        first_asked.set()
        threading.Event().wait(0.3)
        return issuer(asked)

    auth = StepUpAuth(OLD, authorize=authorize)
    errors: list[StepUpUnmet] = []

    def second(request: httpx.Request) -> httpx.Response:
        answer = Crowd.__call__(crowd, request)
        assert request.url.path == "/pay" or first_asked.wait(timeout=10)
        return answer

    def enter(path: str) -> None:
        transport = httpx.MockTransport(second)
        with httpx.Client(transport=transport, auth=auth, base_url=SHOP) as client:
            try:
                client.get(path)
            except StepUpUnmet as error:
                errors.append(error)

    threads = [threading.Thread(target=enter, args=(path,)) for path in ("/pay", "/payroll")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [error.problem for error in errors] == [BODY | more]
    assert len(issuer.asked) == rounds
