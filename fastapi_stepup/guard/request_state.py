"""What guards keep in the ASGI scope of a connection.

Each entry is a mapping from the guard to its own value: several guards may serve one request.
A mapping is replaced, never changed, because a copy of the scope shares it.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import HTTPConnection

from fastapi_stepup._secret import Secret
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, Claims
from fastapi_stepup.guard.credentials import header_fields
from fastapi_stepup.policy.policy import StepUpPolicy

PRESENTED_SCOPE_KEY: Final = "fastapi_stepup.presented"
POLICIES_SCOPE_KEY: Final = "fastapi_stepup.policies"
TOKENS_SCOPE_KEY: Final = "fastapi_stepup.tokens"


def kept_claims(connection: HTTPConnection, owner: object, verified_by: object) -> Claims | None:
    """Return the claims that *owner* kept, if they still belong to this connection.

    They do not when the scope was copied for a request with another credential, nor when other
    parts of the guard verified them. Does not check times.
    """
    scope = connection.scope
    known: Mapping[object, Claims] | None = scope.get(CLAIMS_SCOPE_KEY)
    claims = known.get(owner) if known else None
    if claims is None:
        return None
    presented = scope.get(PRESENTED_SCOPE_KEY, {}).get(owner)
    return claims if presented == _credential_fingerprint(connection, verified_by) else None


def keep_claims(
    connection: HTTPConnection, owner: object, verified_by: object, claims: Claims
) -> None:
    """Keep *claims* for *owner*; `claims_from` finds them there."""
    scope = connection.scope
    presented = _credential_fingerprint(connection, verified_by)
    known = scope.get(CLAIMS_SCOPE_KEY)
    if known is None:  # the usual case, and the faster way
        scope[CLAIMS_SCOPE_KEY], scope[PRESENTED_SCOPE_KEY] = {owner: claims}, {owner: presented}
    else:
        scope[CLAIMS_SCOPE_KEY] = {**known, owner: claims}
        scope[PRESENTED_SCOPE_KEY] = {**scope.get(PRESENTED_SCOPE_KEY, {}), owner: presented}


def drop_claims(connection: HTTPConnection, owner: object) -> None:
    """Forget the claims that *owner* kept."""
    known = connection.scope.get(CLAIMS_SCOPE_KEY, {})
    connection.scope[CLAIMS_SCOPE_KEY] = {g: c for g, c in known.items() if g is not owner}


def keep_token(connection: HTTPConnection, owner: object, token: Secret | None) -> None:
    """Keep a token that came in another way than the header fields: *owner* takes it from now on.

    `None` forgets an earlier one.
    """
    known = connection.scope.get(TOKENS_SCOPE_KEY, {})
    presented = _credential_fingerprint(connection, None)
    connection.scope[TOKENS_SCOPE_KEY] = {**known, owner: (presented, token)}


def kept_token(connection: HTTPConnection, owner: object) -> str | None:
    """Return the token that *owner* kept for this connection, not for one that it was copied to."""
    known = connection.scope.get(TOKENS_SCOPE_KEY)
    if known is None:
        return None
    presented, token = known.get(owner, (None, None))
    if token is None or presented != _credential_fingerprint(connection, None):
        return None
    kept: str = token
    return kept


def keep_policy(connection: HTTPConnection, owner: object, policy: StepUpPolicy | None) -> None:
    """Keep that *owner* let the connection in by *policy*; `None` stands for a session alone."""
    known = connection.scope.get(POLICIES_SCOPE_KEY)
    if known is None:  # the usual case, and the faster way
        connection.scope[POLICIES_SCOPE_KEY] = {owner: () if policy is None else (policy,)}
        return
    asked: tuple[StepUpPolicy, ...] | None = known.get(owner)
    if asked is None or (policy is not None and policy not in asked):
        more = () if policy is None else (policy,)
        connection.scope[POLICIES_SCOPE_KEY] = {**known, owner: (*(asked or ()), *more)}


def asked_policies(connection: HTTPConnection, owner: object) -> tuple[StepUpPolicy, ...] | None:
    """Return the policies by which *owner* let the connection in; `None` if it never did."""
    asked: tuple[StepUpPolicy, ...] | None = connection.scope.get(POLICIES_SCOPE_KEY, {}).get(owner)
    return asked


class _Presented:
    """All that decides which token a connection presents, and whether it may.

    Holds the header fields, and so the token: its `repr` shows nothing, and it is no tuple, whose
    items error reports would show.
    """

    __slots__ = ("_all",)

    def __init__(self, everything: tuple[object, ...]) -> None:
        self._all = everything

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Presented) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]  # compared only


def _credential_fingerprint(connection: HTTPConnection, verified_by: object) -> object:
    scope = connection.scope
    fields = tuple(header_fields(connection))
    return _Presented((verified_by, scope.get("method"), scope.get("scheme"), fields))
