"""Conditions that name the body otherwise than their route does.

FastAPI expects one object around all bodies as soon as two have different names. So a condition
with a name of its own would turn every request of every client into 422.
"""

from typing import Any

from fastapi.params import Form

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.guard.conditions import condition_name
from fastapi_stepup.web.dependencies import RequireSession


def check_body_names(route: Any) -> None:
    """Check that no condition of *route* adds a name for the body.

    Does not look at forms, whose fields have names of their own.

    Raises:
        ConfigurationError: One does; the message says which.
    """
    own: set[str] = set()
    named_by: dict[str, str] = {}
    waiting = [(getattr(route, "dependant", None), "")]
    while waiting:
        dependant, condition = waiting.pop()
        if dependant is None:
            continue
        call: Any = dependant.call
        if isinstance(call, RequireSession) and call.when is not None:
            condition = condition_name(call.when)
        for field in dependant.body_params:
            if condition and not isinstance(field.field_info, Form):
                named_by[field.name] = condition
            else:
                own.add(field.name)
        waiting.extend((each, condition) for each in dependant.dependencies)
    others = sorted(set(named_by) - own)
    if others and len(own | set(named_by)) > 1:
        names = own or set(named_by) - {others[0]}
        msg = (
            f"{named_by[others[0]]}, given as when= at {route.path}, calls the body {others[0]!r}, "
            f"the route {' and '.join(map(repr, sorted(names)))}: FastAPI then expects one object "
            "with both, and clients get 422. Give the parameter the same name in both."
        )
        raise ConfigurationError(msg)
