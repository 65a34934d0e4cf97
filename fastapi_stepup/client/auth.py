"""StepUpAuth: an `httpx.Auth` that steps its session up when a server asks for it."""

import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import httpx

from fastapi_stepup.challenge import Challenge

_CODE: Final = "insufficient_user_authentication"
_DELIVERIES: Final = ("email", "sms", "voice", "whatsapp")
_TRY_AGAIN: Final = frozenset({"otp_rejected", "otp_expired"})
_PAUSE: Final = 0.02


class SessionTokens(Protocol):
    """A session: what a sign-in hands out, such as `fastapi_stepup.testing.Tokens`."""

    @property
    def session_token(self) -> str:
        """The session JWT."""
        ...

    @property
    def refresh_token(self) -> str | None:
        """The refresh JWT; without it nobody can step up."""
        ...


@dataclass(frozen=True, slots=True)
class StepUpTokens:
    """A session. Its `repr` shows no token."""

    session_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUpQuestion:
    """What a prompt is asked: for a code, or for another way to get one.

    Attributes:
        method: How the code was sent; `"totp"` for the one of an authenticator app.
        destination: Where to, masked; `None` for `"totp"`.
        choices: All that could be asked for, *method* included.
        max_age: Seconds that a step-up is good for at this route; `None` when it does not say.
        acr_values: Authentication contexts that would do.
        amr: Ways of authenticating that would do.
        unmet: What is missing, as `{"requirement": …, "reason": …}`.
        problem: Code of the problem with the last answer, such as `"otp_rejected"`.
    """

    method: str
    destination: str | None
    choices: tuple[str, ...]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]
    problem: str | None = None


StepUpPrompt: TypeAlias = Callable[[StepUpQuestion], str | Awaitable[str | None] | None]


class StepUpFailed(Exception):
    """The step-up did not come about. The text is the server's own sentence for a person.

    Attributes:
        code: Code of the server's problem, or `"cancelled"`.
        problem: The whole problem; empty when the server gave none.
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(
        self,
        code: str,
        *,
        problem: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.code = code
        self.problem: Mapping[str, Any] = problem or {}
        self.retry_after = retry_after
        super().__init__(str(self.problem.get("detail", code)))

    def _for_another(self) -> Self:
        """Return the error for another request that waited for the same prompt."""
        return type(self)(self.code, problem=self.problem, retry_after=self.retry_after)


class StepUpCancelled(StepUpFailed):
    """The prompt gave no code."""


class _Flight:
    """A step-up that is under way, for all requests that wait for it."""

    def __init__(self, refusal: "_Refusal") -> None:
        self.refusal = refusal
        self.done = threading.Event()
        self.failure: StepUpFailed | None = None


# What is done for a request, without doing it: a request to be sent and its answer given, a
# question to be asked, a flight to be waited for.
_Result = TypeVar("_Result")
_Plan: TypeAlias = Generator["httpx.Request | StepUpQuestion | _Flight", Any, _Result]


class StepUpAuth(httpx.Auth):
    """Sends a session token, and steps the session up when a route asks for it.

    ```python
    def prompt(question: StepUpQuestion) -> str | None:
        return input(f"Code sent to {question.destination}: ")


    with httpx.Client(base_url="https://shop.example", auth=StepUpAuth(tokens, prompt)) as client:
        client.post("/checkout", json=cart)
    ```

    A request that is answered with a step-up challenge (RFC 9470) of an app with `stepup_router`
    starts a step-up: a code is sent, *prompt* is asked for it, and the request is sent once more
    with the new session. What comes back then is returned, whatever it is, and so is every other
    answer, as it came. Requests that run in parallel, in threads or tasks, share one prompt. All
    that is sent goes through the client's own transport and timeouts.

    Request bodies are read into memory, so that they can be sent twice. Tokens go to one origin
    only; requests to others pass without them. Does not refresh a session that has expired, and
    does not sign anybody in. One object serves any number of clients, threads and event loops.

    A client's call raises `StepUpCancelled` when the prompt gives no code, and `StepUpFailed` when
    the step-up is refused; neither is an `httpx.HTTPError`. What the prompt itself raises comes out
    of the call that asked it.

    Args:
        tokens: The session to begin with.
        prompt: Gives the code, as text. One of the question's `choices` in place of a code has one
            sent that way: the same again, or another. `None` cancels. It may be asynchronous for an
            `httpx.AsyncClient`; there, a plain one is called in a thread.
        method: What to use first, if it is offered: `"email"`, `"sms"`, `"voice"`, `"whatsapp"` or
            `"totp"`; by default the first that is offered.
        origin: Where the tokens may go, such as `"https://shop.example"`; by default the origin of
            the first request.
        on_tokens: Called with each new session, to keep it.
        attempts: How many wrong codes are too many.

    References:
        RFC 9470 section 4.
    """

    def __init__(
        self,
        tokens: SessionTokens,
        prompt: StepUpPrompt,
        *,
        method: str | None = None,
        origin: str | None = None,
        on_tokens: Callable[[StepUpTokens], object] | None = None,
        attempts: int = 3,
    ) -> None:
        self._tokens = StepUpTokens(tokens.session_token, tokens.refresh_token)
        self._prompt = prompt
        self._method = method
        self._origin = None if origin is None else _origin(httpx.URL(origin))
        self._on_tokens = on_tokens
        self._attempts = attempts
        self._lock = threading.Lock()
        self._flight: _Flight | None = None

    def __repr__(self) -> str:
        return "StepUpAuth()"

    @property
    def tokens(self) -> StepUpTokens:
        """The session as it is now."""
        return self._tokens

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate *request* for an `httpx.Client`."""
        if not self._is_ours(request):
            yield request
            return
        request.read()
        plan = self._exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, httpx.Request):
                    answer = yield step
                    if step is not request or _is_refusal(answer):
                        answer.read()
                elif isinstance(step, StepUpQuestion):
                    answer = self._ask(step)
                else:
                    step.done.wait()
        except StopIteration:
            return
        finally:
            plan.close()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate *request* for an `httpx.AsyncClient`."""
        if not self._is_ours(request):
            yield request
            return
        await request.aread()
        plan = self._exchange(request)
        answer: Any = None
        try:
            while True:
                step = plan.send(answer)
                if isinstance(step, httpx.Request):
                    answer = yield step
                    if step is not request or _is_refusal(answer):
                        await answer.aread()
                elif isinstance(step, StepUpQuestion):
                    answer = await self._ask_async(step)
                else:
                    # Whoever leads may be in another thread or loop: no event reaches across.
                    while not step.done.is_set():  # noqa: ASYNC110
                        await anyio.sleep(_PAUSE)
        except StopIteration:
            return
        finally:
            plan.close()

    def _is_ours(self, request: httpx.Request) -> bool:
        origin = _origin(request.url)
        with self._lock:
            self._origin = self._origin or origin
        return origin == self._origin

    def _ask(self, question: StepUpQuestion) -> str | None:
        answer = self._prompt(question)
        if answer is None or isinstance(answer, str):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        msg = "The prompt is asynchronous: it needs an httpx.AsyncClient."
        raise TypeError(msg)

    async def _ask_async(self, question: StepUpQuestion) -> str | None:
        if _is_asynchronous(self._prompt):
            answer = self._prompt(question)
        else:
            # In a tuple: trio takes a coroutine from a thread for a mistake.
            (answer,) = await anyio.to_thread.run_sync(lambda: (self._prompt(question),))
        return await answer if inspect.isawaitable(answer) else answer

    def _exchange(self, request: httpx.Request) -> "_Plan[None]":
        asked = False
        while True:
            token = self._tokens.session_token
            request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            refusal = None if asked else _Refusal.read(request, response)
            if refusal is None:
                return
            asked = yield from self._join(refusal, request, token)

    def _join(self, refusal: "_Refusal", request: httpx.Request, token: str) -> "_Plan[bool]":
        """See to a step-up, and return whether it was for this *refusal*."""
        shared = False
        while True:
            with self._lock:
                if self._tokens.session_token != token:
                    return shared
                flight = self._flight
                if flight is None:
                    flight = self._flight = _Flight(refusal)
                    break
            yield flight
            if flight.failure is not None:
                raise flight.failure._for_another()  # noqa: SLF001 - of this module
            shared = flight.refusal.wants == refusal.wants
        try:
            self._tokens = yield from self._step_up(refusal, request)
        except StepUpFailed as failure:
            flight.failure = failure
            raise
        finally:
            with self._lock:
                self._flight = None
            flight.done.set()
        if self._on_tokens is not None:
            self._on_tokens(self._tokens)
        return True

    def _step_up(self, refusal: "_Refusal", request: httpx.Request) -> "_Plan[StepUpTokens]":
        wanted = self._method or ""
        method = wanted if wanted in refusal.routes else next(iter(refusal.routes))
        problem: str | None = None
        wrong = 0
        destination = yield from self._start(refusal, request, method)
        while True:
            answer = yield refusal.question(method, destination, problem)
            if answer is None:
                raise StepUpCancelled("cancelled")
            if answer in refusal.routes:
                method, problem = answer, None
                destination = yield from self._start(refusal, request, method)
                continue
            reply = yield self._post(refusal, request, method, "verify_uri", code=answer)
            if reply.is_success:
                return self._stepped_up(reply)
            failure = _failure(reply)
            wrong += 1
            if failure.code not in _TRY_AGAIN or wrong >= self._attempts:
                raise failure
            problem = failure.code
            if problem == "otp_expired":
                destination = yield from self._start(refusal, request, method)

    def _start(
        self, refusal: "_Refusal", request: httpx.Request, method: str
    ) -> "_Plan[str | None]":
        """Have a code sent, and return where to; an authenticator app has its own."""
        if method == "totp":
            return None
        reply = yield self._post(refusal, request, method, "start_uri")
        if not reply.is_success:
            raise _failure(reply)
        return _text(_json(reply).get("destination"))

    def _post(
        self,
        refusal: "_Refusal",
        request: httpx.Request,
        method: str,
        uri: str,
        **members: str,
    ) -> httpx.Request:
        if method in _DELIVERIES:
            members["delivery"] = method
        if self._tokens.refresh_token is not None:
            members["refresh_token"] = self._tokens.refresh_token
        return httpx.Request(
            "POST",
            refusal.routes[method][uri],
            headers={"Authorization": f"Bearer {self._tokens.session_token}"},
            json=members,
            extensions={"timeout": request.extensions.get("timeout", {})},
        )

    def _stepped_up(self, reply: httpx.Response) -> StepUpTokens:
        session = _json(reply)
        token = _text(session.get("session_token"))
        if token is None:
            raise StepUpFailed("no_session")
        refresh_token = _text(session.get("refresh_token"))
        return StepUpTokens(token, refresh_token or self._tokens.refresh_token)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A step-up challenge that can be met from here: what it asks for, and where."""

    routes: Mapping[str, Mapping[str, httpx.URL]]
    max_age: int | None
    acr_values: tuple[str, ...]
    amr: tuple[str, ...]
    unmet: tuple[Mapping[str, str], ...]

    @classmethod
    def read(cls, request: httpx.Request, response: httpx.Response) -> Self | None:
        """Return the challenge of *response*, or `None` when the app is to have the answer.

        The body is preferred, as it says more; for what it does not say the header is asked.
        """
        # Where a redirect may have led has no say in what the user is asked.
        here = _origin(request.url)
        if not _is_refusal(response) or _origin(response.url) != here:
            return None
        body = _json(response)
        problem = body["detail"] if isinstance(body.get("detail"), dict) else body
        challenge = _challenge(response)
        if problem.get("code") != _CODE and challenge is None:
            return None
        amr = _texts(problem.get("amr"))
        routes = _routes(problem, request.url)
        named = {} if "mfa" in amr else {name: routes[name] for name in routes if name in amr}
        # Stepped up just now, and not enough: only another method helps.
        if problem.get("unmet_after_step_up") is True:
            routes = named
        if not routes:
            return None
        max_age, unmet = problem.get("max_age"), problem.get("unmet")
        in_header = challenge or Challenge.bearer()
        return cls(
            routes=named or routes,
            max_age=max_age if isinstance(max_age, int) else in_header.max_age,
            acr_values=_texts(problem.get("acr_values")) or in_header.acr_values,
            amr=amr,
            unmet=tuple(unmet) if isinstance(unmet, list) else (),
        )

    @property
    def wants(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a step-up for it would do for another one of the same; a new one is new for all."""
        return self.amr, self.acr_values

    def question(self, method: str, destination: str | None, problem: str | None) -> StepUpQuestion:
        """Return what to ask the prompt."""
        return StepUpQuestion(
            method=method,
            destination=destination,
            choices=tuple(self.routes),
            max_age=self.max_age,
            acr_values=self.acr_values,
            amr=self.amr,
            unmet=self.unmet,
            problem=problem,
        )


def _challenge(response: httpx.Response) -> Challenge | None:
    try:
        challenges = Challenge.parse(response.headers.get("www-authenticate", ""))
    except ValueError:
        return None
    ours = (c for c in challenges if c.scheme.lower() == "bearer" and c.error == _CODE)
    return next(ours, None)


def _routes(problem: Mapping[str, Any], url: httpx.URL) -> dict[str, dict[str, httpx.URL]]:
    """Return the routes of the methods that are offered and can be used from here.

    None is when any of them is on another origin: nothing goes there.
    """
    step_up = problem.get("step_up")
    if not isinstance(step_up, dict):
        return {}
    uris = step_up.get("uris")
    totp = uris.get("totp") if isinstance(uris, dict) else None
    routes: dict[str, dict[str, httpx.URL]] = {}
    for method in _texts(step_up.get("methods")):
        names = ("verify_uri",) if method == "totp" else ("start_uri", "verify_uri")
        source = {"totp": totp}.get(method, step_up)
        if method not in (*_DELIVERIES, "totp") or not isinstance(source, dict):
            continue
        try:
            found = {name: url.join(source[name]) for name in names}
        except (KeyError, TypeError, httpx.InvalidURL):
            continue
        if any(_origin(target) != _origin(url) for target in found.values()):
            return {}
        routes[method] = found
    return routes


def _failure(reply: httpx.Response) -> StepUpFailed:
    body = _json(reply)
    problem = body["detail"] if isinstance(body.get("detail"), dict) else body
    wait = reply.headers.get("retry-after", "")
    return StepUpFailed(
        _text(problem.get("code")) or "failed",
        problem=problem,
        retry_after=int(wait) if wait.isascii() and wait.isdigit() else None,
    )


def _json(response: httpx.Response) -> dict[str, Any]:
    """Return the object in the body; an empty one when there is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: object) -> tuple[str, ...]:
    listed = values if isinstance(values, list) else []
    return tuple(value for value in listed if isinstance(value, str))


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_refusal(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.UNAUTHORIZED


def _is_asynchronous(prompt: StepUpPrompt) -> bool:
    call = type(prompt).__call__
    return inspect.iscoroutinefunction(prompt) or inspect.iscoroutinefunction(call)
