"""Access keys, with which machines sign in (`/v1/auth/accesskey/exchange`).

Known of the real service:
- The key is in the bearer, after the project id.
- The login options are `customClaims`, nested in `nsec`, and `selectedTenant`.
- Such a session cannot be stepped up.

Guess: it has no `amr`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import WRONG_ACCESS_KEY, Refusal
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.keys import random_id


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key. Its `repr` shows no secret.

    Attributes:
        key_id: The `sub` of its sessions.
        secret: The secret that a machine exchanges for a session.
    """

    key_id: str = field(default_factory=lambda: random_id("K"))
    secret: str = field(default_factory=lambda: random_id("K"), repr=False)


class AccessKeys:
    """The access keys of a project.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._keys: dict[str, tuple[AccessKey, Mapping[str, object]]] = {}

    def routes(self) -> list[Route]:
        """Return the endpoint of this method."""
        return [post(self._project, "/v1/auth/accesskey/exchange", self._exchange)]

    def create(self, roles: Sequence[str], permissions: Sequence[str]) -> AccessKey:
        """Add an access key and return it."""
        key = AccessKey()
        claims = {"roles": list(roles), "permissions": list(permissions)}
        self._keys[key.secret] = (key, {name: value for name, value in claims.items() if value})
        return key

    def _exchange(self, call: Call) -> dict[str, object]:
        if call.key not in self._keys:
            raise Refusal(WRONG_ACCESS_KEY)
        key, granted = self._keys[call.key]
        options = call.members("loginOptions")
        chosen = {"nsec": options.get("customClaims"), "dct": options.get("selectedTenant")}
        sessions = self._project.sessions
        registered = sessions.registered(key.key_id)
        claims = {
            **registered,
            **granted,
            **{name: value for name, value in chosen.items() if value},
        }
        return {
            "keyId": key.key_id,
            "sessionJwt": sessions.sign(claims),
            "expiration": registered["exp"],
        }
