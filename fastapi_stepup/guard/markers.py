"""The mark on a guarded endpoint, which the route inventory and merged challenges look for."""

from typing import Any, Final, Literal

from fastapi_stepup.policy.policy import StepUpPolicy

GUARD_MARK: Final = "__fastapi_stepup__"


def mark(endpoint: Any, guard: object, access: StepUpPolicy | Literal["public"]) -> None:
    """Mark *endpoint* as guarded by *guard*, or as open on purpose."""
    setattr(endpoint, GUARD_MARK, (guard, access))


def marked(endpoint: Any, guard: object) -> StepUpPolicy | Literal["public"] | None:
    """Return what *guard* asks at *endpoint* itself, if it is marked."""
    marked_by, access = getattr(endpoint, GUARD_MARK, (None, None))
    found: StepUpPolicy | Literal["public"] | None = access if marked_by is guard else None
    return found
