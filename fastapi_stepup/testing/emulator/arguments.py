"""Members of JSON objects that people write: bodies of the admin API, users of a seed file."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Fields: TypeAlias = Mapping[str, type | tuple[type, ...]]

USER: Final[Fields] = {
    "login_id": str,
    "email": str,
    "phone": str,
    "login_ids": list,
    "name": str,
    "roles": list,
    "permissions": list,
    "tenants": dict,
}
"""The arguments of `create_user`."""


def arguments_of(body: object, fields: Fields, required: int = 1) -> dict[str, Any]:
    """Return the members of *body* as keyword arguments.

    Args:
        body: A decoded JSON value.
        fields: The known members, each with its type.
        required: The number of fields, counted from the first, that must be there.

    Raises:
        ValueError: *body* is not such an object.
    """
    if not isinstance(body, dict):
        raise ValueError("The body must be a JSON object.")  # noqa: TRY004 - one 400
    for name in list(fields)[:required]:
        if name not in body:
            raise ValueError(f"The body must be a JSON object with the member {name!r}.")
    for name, value in body.items():
        if name not in fields:
            raise ValueError(f"Unknown member {name!r}; known are {', '.join(fields)}.")
        if not isinstance(value, fields[name]):
            raise ValueError(f"The member {name!r} has the wrong type.")  # noqa: TRY004 - one 400
    return body
