"""Base classes of all errors."""

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from starlette.exceptions import HTTPException

from fastapi_stepup.challenge import Challenge

PROBLEM_TYPE_PREFIX: Final = "urn:fastapi-stepup:problem:"
MAX_RETRY_AFTER: Final = 3600


class ConfigurationError(ValueError):
    """The program is set up wrong. The message says what to change."""


class Problem(dict[str, Any]):
    """An RFC 9457 problem as the `detail` of an `HTTPException`.

    FastAPI's handler writes it as JSON. Starlette's handler expects text and calls `encode`, which
    returns the same JSON.
    """

    def encode(self, charset: str = "utf-8") -> bytes:
        """Return the problem as JSON text in *charset*."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode(charset)


class StepUpError(HTTPException):
    """Base of every refusal and failure that a client is answered with.

    FastAPI and Starlette answer it with no handler registered, headers included.

    - `problem` is the RFC 9457 body.
    - `headers` holds `Cache-Control: no-store` and, where the status asks for one, one challenge.
    - `extensions` is the problem again, under the name that GraphQL servers read from an error
      that a resolver raised.
    - `log_line` has the reason for operators, and no token, claim or request data.

    A subclass sets `status`, `code`, `title` and `text`, and `challenges` and `challenge_error`
    where it sends a challenge. One that only groups others sets none.

    Args:
        realm: The protection space named in the challenge; the guard fills it in.
        retry_after: Seconds until a retry makes sense, sent as `Retry-After`: rounded up, and
            kept between 1 and `MAX_RETRY_AFTER`.
        members: Extension members of the problem.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    text: ClassVar[str]
    challenge_error: ClassVar[str | None] = None
    challenges: ClassVar[bool] = False

    retry_after: int | None
    members: dict[str, Any]
    realm: str | None
    resource_metadata: str | None = None
    problem: Problem

    def __init__(
        self, *, realm: str | None = None, retry_after: float | None = None, **members: Any
    ) -> None:
        self.retry_after = (
            None if retry_after is None else math.ceil(min(max(1, retry_after), MAX_RETRY_AFTER))
        )
        self.members = members
        self.realm = realm
        self.problem = Problem()
        super().__init__(self.status, detail=self.problem)  # type: ignore[arg-type]  # FastAPI's takes any
        self.bind(realm=realm)

    def bind(
        self, *, realm: str | None, resource_metadata: str | None = None, **members: Any
    ) -> None:
        """Set what the challenge names and add extension members; later values replace earlier."""
        self.realm = realm
        if resource_metadata is not None:
            self.resource_metadata = resource_metadata
        self.members = self.members | members
        self.problem.clear()
        self.problem |= {
            "type": PROBLEM_TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.text,
            "code": self.code,
            **self.members,
        }
        headers = {"Cache-Control": "no-store"}
        challenge = self.challenge()
        if challenge is not None:
            headers["WWW-Authenticate"] = str(challenge)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        self.headers: Mapping[str, str] = headers

    def challenge(self) -> Challenge | None:
        """Return the challenge that the answer carries, if its status asks for one."""
        if not self.challenges:
            return None
        described = self.text if self.challenge_error else None
        return Challenge.bearer(
            realm=self.realm,
            error=self.challenge_error,
            error_description=described,
            resource_metadata=self.resource_metadata,
        )

    @property
    def extensions(self) -> dict[str, Any]:
        """The problem, for the `extensions` of a GraphQL error."""
        return dict(self.problem)

    @property
    def log_line(self) -> str:
        """Status, code and reason in one line, for a log."""
        reason = self._reason()
        return f"{self.status} {self.code}" + (f" ({reason})" if reason else "")

    def _reason(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.text}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
