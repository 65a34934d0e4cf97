"""A shop in place of the network, and prompts, for the tests of StepUpAuth."""

import threading
from collections.abc import Callable
from typing import Any

import httpx

from fastapi_stepup import StepUpQuestion, StepUpTokens

SHOP = "https://shop.example"


CODE = "insufficient_user_authentication"


HEADER = f'Bearer realm="P2", error="{CODE}", max_age="60", acr_values="urn:a urn:b"'


OTP = {
    "start_uri": "/step-up/otp/start",
    "verify_uri": "/step-up/otp/verify",
    "methods": ["email", "sms", "totp", "oauth"],
    "uris": {"totp": {"verify_uri": "/step-up/totp/verify"}},
}


OLD = StepUpTokens("old", "refresh")


SESSION = {"session_token": "new", "refresh_token": None}


Reply = Callable[[httpx.Request], httpx.Response]


def problem(**members: Any) -> dict[str, Any]:
    """Return a refusal of the contract."""
    return {"code": CODE, "step_up": OTP, **members}


class Server:
    """A shop in place of the network: it asks for a step-up until the new token comes.

    Args:
        answers: Replies by path, in place of its own.
    """

    def __init__(self, answers: dict[str, Reply] | None = None) -> None:
        self.answers = answers or {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        path = request.url.path
        if path in self.answers:
            return self.answers[path](request)
        if path.startswith("/step-up/"):
            return httpx.Response(200, json=SESSION | {"destination": "a**@example.com"})
        paid = request.headers["authorization"] == "Bearer new"
        return httpx.Response(200, json="paid") if paid else refused()

    @property
    def paths(self) -> list[str]:
        """Paths of all requests."""
        return [request.url.path for request in self.requests]

    def client(self, auth: httpx.Auth) -> httpx.Client:
        """Return a client that reaches nothing else."""
        return httpx.Client(transport=httpx.MockTransport(self), auth=auth, base_url=SHOP)


def refused(body: Any = None, header: str = HEADER) -> httpx.Response:
    """Return a step-up 401."""
    return httpx.Response(
        401,
        json=problem() if body is None else body,
        headers={"WWW-Authenticate": header} if header else {},
    )


def elsewhere(**members: Any) -> httpx.Response:
    """Return a step-up 401 with these members of `step_up`."""
    return refused(problem(step_up=OTP | members))


class Prompt:
    """A prompt that gives these answers and keeps its questions."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[StepUpQuestion] = []

    def __call__(self, question: StepUpQuestion) -> str | None:
        """Answer."""
        self.asked.append(question)
        return self.answers.pop(0)


class Held:
    """A prompt that a test answers; `asked` counts its questions."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked = threading.Semaphore(0)
        self.release = threading.Semaphore(0)
        self.count = 0

    def __call__(self, question: StepUpQuestion) -> str | None:
        """Answer when released."""
        self.count += 1
        self.asked.release()
        assert self.release.acquire(timeout=10)
        # Time for the others to come and wait, which they do in no way that could be seen.
        threading.Event().wait(0.3)
        return self.answers.pop(0)


class Crowd(Server):
    """A server that waits until a number of requests have been refused."""

    def __init__(self, size: int, answers: dict[str, Reply] | None = None) -> None:
        super().__init__(answers)
        self.arrived = threading.Barrier(size)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer; the first refusals wait for each other."""
        if request.headers["authorization"] == "Bearer old" and request.url.path.startswith("/pay"):
            self.arrived.wait(timeout=10)
        return super().__call__(request)
