"""Rejected: a check of a token failed."""

from fastapi_stepup.errors import RejectReason


class Rejected(Exception):
    """A check of a token failed; `TokenVerifier` answers with `InvalidToken` instead.

    It never leaves the package. The caller that catches it drops it with its traceback,
    because the variables of the frames in between hold the token.
    """

    def __init__(self, reason: RejectReason) -> None:
        self.reason = reason
        super().__init__(reason)
