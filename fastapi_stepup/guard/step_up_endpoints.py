"""StepUpEndpoints: the `step_up` member of a refusal, which says where and how to step up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import HTTPConnection

from fastapi_stepup.claims import Claims
from fastapi_stepup.guard.paths import paths_of
from fastapi_stepup.policy.alternative import Clause, unmet_clauses
from fastapi_stepup.policy.policy import StepUpPolicy
from fastapi_stepup.providers.descope.amr import can_prove, is_machine

_OTP: Final = "otp"


@dataclass(frozen=True, slots=True)
class StepUpEndpoints:
    """The routes of one mounted helper router, and what it offers.

    Args:
        methods: What challenges list, in order.
        uris: For each kind of method the names of its routes, by what a challenge calls them.
        status_name: The name of the status route.
        flow_id: The Descope flow that front ends may run instead, if any.
        further_names: Names of further routes that a caller needs in order to step up.
        sessionless_names: Names of the routes that decide themselves where there is no session:
            they take a refresh token then, or are public.
        handlers: What serves these routes. A route of the app that happens to have one of these
            names is none of them.
        redirect_uris: The pages that links and providers lead back to.
        cookies: The attributes of the cookies, as far as the app sets them.
    """

    methods: tuple[str, ...]
    uris: Mapping[str, Mapping[str, str]]
    status_name: str
    flow_id: str | None = None
    further_names: tuple[str, ...] = ()
    sessionless_names: tuple[str, ...] = ()
    handlers: tuple[object, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    cookies: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all routes that challenges point to."""
        return (*(name for uris in self.uris.values() for name in uris.values()), self.status_name)

    def has(self, route: object) -> bool:
        """Return whether *route* is one of these."""
        name = getattr(route, "name", None)
        return self._serves(route) and (name in self.names or name in self.further_names)

    def needs_no_session(self, route: object) -> bool:
        """Return whether *route* is one of these that decides itself where there is no session."""
        name = getattr(route, "name", None)
        return self._serves(route) and name in self.sessionless_names

    def _serves(self, route: object) -> bool:
        endpoint = getattr(route, "endpoint", None)
        return any(each is endpoint for each in self.handlers)

    def methods_for(self, policy: StepUpPolicy | None, claims: Claims | None) -> tuple[str, ...]:
        """Return the methods by which the user of *claims* could come to meet *policy*.

        - None for an access key, which has no user.
        - Those that prove an `amr` value that the session lacks. None for an alternative of which
          they could prove a part only.
        - Where the session lacks no value: those that prove one again, else all.
        - Does not know which methods the user has enrolled: the status route does.
        """
        if claims is not None and is_machine(claims):
            return ()
        if policy is None:
            return self.methods
        known = () if claims is None else claims.amr
        leading: set[str] = set()
        for alternative in policy.alternatives:
            leading |= self._leading_to(alternative.amr, known)
        return tuple(method for method in self.methods if method in leading)

    def _leading_to(self, clauses: tuple[Clause, ...], known: tuple[str, ...]) -> set[str]:
        unmet = unmet_clauses(clauses, known)
        proving = [
            {method for method in self.methods if can_prove(method, clause, known)}
            for clause in unmet or clauses
        ]
        if unmet and not all(proving):
            return set()
        return set().union(*proving) or set(self.methods)

    def described(
        self, connection: HTTPConnection, methods: Sequence[str]
    ) -> dict[str, Any] | None:
        """Return the problem's `step_up` member; `None` where the routes are not in the app.

        Args:
            connection: The refused request.
            methods: What to offer of `methods`.
        """
        paths = paths_of(connection, *self.names)
        if paths is None:
            return None
        path_of = dict(zip(self.names, paths, strict=True))
        # The contract's two members are those of OTP, whose methods are its deliveries; every other
        # method is under its own name.
        kinds = {method if method in self.uris else _OTP for method in methods}
        offered = {
            kind: {uri: path_of[name] for uri, name in names.items()}
            for kind, names in self.uris.items()
            if kind in kinds
        }
        member: dict[str, Any] = {
            **offered.pop(_OTP, {}),
            "methods": list(methods),
            "status_uri": path_of[self.status_name],
        }
        if self.flow_id is not None:
            member["flow_id"] = self.flow_id
        if offered:
            member["uris"] = offered
        return member
