"""Tenants: the user's own, and selecting one (`/v1/auth/me/tenants`, `/v1/auth/tenant/select`).

Known of the real service: the calls, and that a selected tenant is the claim `dct`.

Guesses:
- Selecting a tenant loses `su`, as a refresh does; the option `select_keeps_step_up` changes that.
- It returns a new refresh JWT.
- A tenant that the user is not in is answered 400 `E011004`.
- A tenant's name is its id.
"""

from collections.abc import Mapping

from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import INVALID_ARGUMENT, Refusal
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post


class Tenants:
    """The tenants of a signed-in user.

    Args:
        project: The emulated project.
        keeps_step_up: Whether a session stays stepped up when a tenant is selected.
    """

    def __init__(self, project: Project, *, keeps_step_up: bool) -> None:
        self._project = project
        self._keeps_step_up = keeps_step_up

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        return [
            post(self._project, "/v1/auth/me/tenants", self._tenants),
            post(self._project, "/v1/auth/tenant/select", self._select),
        ]

    def _tenants(self, call: Call) -> dict[str, object]:
        session = self._project.sessions.find(call.token)
        chosen = [session.tenant] if call.body.get("dct") else call.body.get("ids")
        return {
            "tenants": [
                {"id": tenant, "name": tenant, "customAttributes": {}}
                for tenant in session.user.tenants
                if not isinstance(chosen, list) or tenant in chosen
            ]
        }

    def _select(self, call: Call) -> Mapping[str, object]:
        sessions = self._project.sessions
        session = sessions.find(call.token)
        tenant = call.text("tenant")
        if tenant not in session.user.tenants:
            raise Refusal(INVALID_ARGUMENT, "The user is not in this tenant")
        session.tenant = tenant
        sessions.renew(session)
        left = session.stepped_up_until - self._project.clock()
        stepped_up = self._keeps_step_up and left > 0
        tokens = sessions.issue(
            session,
            stepped_up=stepped_up,
            expires_in=left if stepped_up else None,
            changes=self._project.tampered(),
        )
        return self._project.jwt_response(tokens, session.user)
