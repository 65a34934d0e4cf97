"""What pydantic, and FastAPI through it, may do with a type: write it out, never read it in."""

import sys
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, SchemaSerializer

# Functions of FastAPI and pydantic that are on the stack while they ask for a schema.
_PARAMETER: Final = ("fastapi.dependencies.utils", "analyze_param")
_MODEL_CLASS: Final = ("pydantic._internal._model_construction", "__new__")


def output_only_schema(
    kind: type, *, refusal: Exception, dump: Callable[[Any], dict[str, Any]]
) -> "CoreSchema":
    """Return a core schema that accepts instances of *kind* only, and dumps them as an object.

    - No input becomes an instance, in whatever place of a model or a signature *kind* stands.
    - For a parameter of a FastAPI endpoint or dependency it raises when the route is registered,
      also when *kind* is a member of the parameter's model.

    The stack tells a parameter from a return type; pydantic does not. Where a later version has
    other names on it, validation still fails on each input.

    Args:
        kind: The type.
        refusal: Raised for a parameter; its text is also the validation error.
        dump: Gives the object to write.
    """
    from pydantic.errors import PydanticUndefinedAnnotation  # noqa: PLC0415  # only if it is used
    from pydantic_core import core_schema  # noqa: PLC0415  # as above

    asking = _names_on_stack()
    if _PARAMETER in asking:
        raise refusal
    if _MODEL_CLASS in asking:
        # As for a forward reference: pydantic asks again when the model is used, and by then it
        # shows whether that is in a parameter.
        raise PydanticUndefinedAnnotation(kind.__name__, str(refusal))
    return core_schema.custom_error_schema(
        core_schema.is_instance_schema(kind),
        custom_error_type="not_from_input",
        custom_error_message=str(refusal),
        serialization=core_schema.plain_serializer_function_ser_schema(
            dump, return_schema=core_schema.dict_schema()
        ),
    )


@lru_cache(maxsize=1)
def serializer(dump: Callable[[Any], dict[str, Any]]) -> "SchemaSerializer":
    """Return what pydantic writes an object out with where its type is not declared (`Any`).

    Args:
        dump: Gives the object to write.
    """
    from pydantic_core import SchemaSerializer, core_schema  # noqa: PLC0415  # as above

    written = core_schema.plain_serializer_function_ser_schema(dump)
    return SchemaSerializer(core_schema.any_schema(serialization=written))


def _names_on_stack() -> set[tuple[str, str]]:
    names = set()
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads source files for each frame
    while frame is not None:
        names.add((frame.f_globals.get("__name__", ""), frame.f_code.co_name))
        frame = frame.f_back
    return names
