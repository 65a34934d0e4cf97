"""Rules, path templates and an app's own convertors for property tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor

from fastapi_stepup import StepUpPolicy, StepUpRule

POLICIES = [StepUpPolicy(max_age=seconds) for seconds in range(1000)]


class CodeConvertor(Convertor[str]):
    """An app's own convertor, whose values are one segment."""

    regex = "[A-Z]{2}[0-9]+"

    def convert(self, value: str) -> str:
        """Return the text."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text."""
        return value


class AnythingConvertor(CodeConvertor):
    """An app's own convertor, whose values may have slashes."""

    regex = ".+"


@contextmanager
def own_convertors() -> Iterator[None]:
    """Let templates name the app's own convertors."""
    register_url_convertor("code", CodeConvertor())
    register_url_convertor("anything", AnythingConvertor())
    try:
        yield
    finally:
        for name in ("code", "anything"):
            del CONVERTOR_TYPES[name]


SEGMENTS = ["pay", "a", "i", "s", "k", "A", "1", "x.json", "\xe9", ".well-known"]
PARAMETERS = [
    "{p}",
    "{p:int}",
    "{p:float}",
    "{p:path}",
    "{p:uuid}",
    "{p:code}",
    "{p:anything}",
    "{p}.json",
    "x{p:int}",
]
TEMPLATES = st.builds(
    lambda head, parameter, tail, end: "/" + "/".join([*head, *parameter, *tail]).strip("/") + end,
    st.lists(st.sampled_from(SEGMENTS), max_size=2),
    st.lists(st.sampled_from(PARAMETERS), max_size=1),
    st.lists(st.sampled_from(SEGMENTS), max_size=2),
    st.sampled_from(["", "", "/*"]),
).map(lambda path: path.replace("//", "/"))
METHODS = st.one_of(st.none(), st.sets(st.sampled_from(["GET", "HEAD", "POST"]), min_size=1))
RULES = st.lists(
    st.builds(
        lambda path, access, methods: StepUpRule(path, access, methods=methods),
        TEMPLATES,
        st.sampled_from([*POLICIES[:3], "session", "public"]),
        METHODS,
    ),
    max_size=8,
)
