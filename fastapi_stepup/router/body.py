"""Reading a JSON body without echoing it."""

from contextlib import aclosing
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from fastapi_stepup._json import parse_object
from fastapi_stepup.errors import BodyTooLarge, InvalidBody, UnsupportedMediaType
from fastapi_stepup.tokens.jws import MAX_TOKEN

# The longest token, and space for a passkey's answer.
MAX_REQUEST_BODY: Final = MAX_TOKEN + 16 * 1024

AnyBody = TypeVar("AnyBody", bound=BaseModel)


async def read_body(request: Request, model: type[AnyBody]) -> AnyBody:
    """Return the JSON body of *request* as *model*. Refusals never echo it.

    Raises:
        UnsupportedMediaType: The body is not declared as `application/json`.
        BodyTooLarge: It is longer than these routes ever need.
        InvalidBody: It is not one JSON object with the members of *model*.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    received = bytearray()
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                received += chunk
                if len(received) > MAX_REQUEST_BODY:
                    raise BodyTooLarge
    except ClientDisconnect:
        raise InvalidBody from None
    members = parse_object(bytes(received))
    if members is None:
        raise InvalidBody
    try:
        return model.model_validate(members)
    except ValidationError as error:
        found = [(_field_name(e["loc"], model), e["type"]) for e in error.errors()]
    # Raised here: pydantic's error quotes its input, which holds a code or a token.
    raise InvalidBody([{"field": name, "problem": kind} for name, kind in dict.fromkeys(found)])


def _field_name(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return the member at fault when it is one of ours; a foreign name is not reflected."""
    name = str(location[0])
    return name if name in model.model_fields else "(unknown)"
