"""Claims in pydantic and FastAPI: never made from input, written out as an object."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import pytest
from fastapi import Body, Cookie, Depends, FastAPI, Form, Header, Query, WebSocket
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from starlette.testclient import TestClient
from typing_extensions import TypedDict

from fastapi_stepup import Claims
from fastapi_stepup.errors import ConfigurationError

MEMBERS = {"iss": "P2", "sub": "U2", "tenants": {"T1": {"roles": ["buyer"]}}, "su": True}
CLAIMS = Claims(MEMBERS)
FIX = r"claims: Annotated\[Claims, Depends\(RequireStepUp\(guard\)\)\]"


class Model(BaseModel):
    """A model with claims in it."""

    claims: Claims


class Outer(BaseModel):
    """A model with such models in it."""

    models: list[Model]


class Root(RootModel[Claims]):
    """A model that is claims."""


@dataclasses.dataclass
class Record:
    """A dataclass with claims in it."""

    claims: Claims


class Typed(TypedDict):
    """A typed dict with claims in it."""

    claims: Claims


class Named(NamedTuple):
    """A named tuple with claims in it."""

    claims: Claims


PLACES: dict[str, Any] = {
    "plain": Claims,
    "optional": Claims | None,
    "union": Claims | str,
    "list": list[Claims],
    "dict": dict[str, Claims],
    "annotated": Annotated[Claims, "note"],
    "body": Annotated[Claims, Body(embed=True)],
    "form": Annotated[Claims, Form()],
    "query": Annotated[Claims, Query()],
    "header": Annotated[Claims, Header()],
    "cookie": Annotated[Claims, Cookie()],
    "depends-on-itself": Annotated[Claims, Depends()],
    "depends-on-the-class": Annotated[Any, Depends(Claims)],
    "model": Model,
    "model-in-a-model": Outer,
    "root-model": Root,
    "dataclass": Record,
    "typed-dict": Typed,
    "named-tuple": Named,
}


def endpoint_with(annotation: object) -> Callable[..., str]:
    """Return an endpoint with a parameter of that annotation."""

    def endpoint(parameter: Any) -> str:
        return "paid"

    endpoint.__annotations__["parameter"] = annotation
    return endpoint


def test_a_parameter_without_depends_is_refused_at_registration(
    subtests: pytest.Subtests,
) -> None:
    """Wherever in a signature or a model claims stand; the message says what to write."""
    for name, annotation in PLACES.items():
        with subtests.test(name), pytest.raises(ConfigurationError, match=FIX):
            FastAPI().post("/pay")(endpoint_with(annotation))


def test_dependencies_and_sockets_are_refused_too() -> None:
    """FastAPI fills their parameters in the same way."""
    app = FastAPI()

    async def socket(websocket: WebSocket, claims: Claims) -> None:
        """Never run."""

    with pytest.raises(ConfigurationError, match=FIX):
        app.websocket("/ws")(socket)
    with pytest.raises(ConfigurationError, match=FIX):
        app.get("/", dependencies=[Depends(endpoint_with(Claims))])(endpoint_with(int))


def test_a_model_that_is_in_use_already_still_takes_no_input() -> None:
    """Its schema is made by then, so the request fails instead of the registration."""

    class Answer(BaseModel):
        claims: Claims

    assert Answer(claims=CLAIMS).claims is CLAIMS
    app = FastAPI()
    app.post("/pay")(endpoint_with(Answer))
    response = TestClient(app).post("/pay", json={"claims": {"raw": MEMBERS}})

    assert response.status_code == 422
    assert response.json()["detail"][0]["type"] == "not_from_input"


def test_no_input_validates(subtests: pytest.Subtests) -> None:
    """Neither as Python objects nor as JSON, loosely or strictly."""
    adapter = TypeAdapter(Claims)
    inputs: list[object] = [MEMBERS, {"raw": MEMBERS}, None, "U2", [MEMBERS]]

    for sent in inputs:
        with subtests.test(repr(sent)):
            for strict in (False, True):
                with pytest.raises(ValidationError, match="never from input"):
                    adapter.validate_python(sent, strict=strict)
            with pytest.raises(ValidationError, match="never from input"):
                adapter.validate_json(TypeAdapter(Any).dump_json(sent))
    assert adapter.validate_python(CLAIMS) is CLAIMS


@pytest.mark.parametrize(
    ("annotation", "answer", "written"),
    [
        pytest.param(Claims, CLAIMS, MEMBERS, id="claims"),
        pytest.param(Claims | None, CLAIMS, MEMBERS, id="optional"),
        pytest.param(list[Claims], [CLAIMS], [MEMBERS], id="list"),
        pytest.param(Any, CLAIMS, MEMBERS, id="any"),
        pytest.param(Any, {"a": [CLAIMS]}, {"a": [MEMBERS]}, id="any-nested"),
        pytest.param(None, CLAIMS, MEMBERS, id="undeclared"),
        pytest.param(dict[str, Any], dict(CLAIMS), MEMBERS, id="dict"),
        pytest.param(dict[str, Any], dict(CLAIMS.raw), MEMBERS, id="dict-of-raw"),
        pytest.param(dict[str, Any], CLAIMS.raw, MEMBERS, id="raw"),
        pytest.param(Mapping[str, Any], CLAIMS.tenants, MEMBERS["tenants"], id="tenants"),
        pytest.param(Any, {"t": CLAIMS.tenants}, {"t": MEMBERS["tenants"]}, id="tenants-inside"),
        pytest.param(Typed, {"claims": CLAIMS}, {"claims": MEMBERS}, id="typed-dict"),
        pytest.param(Record, Record(CLAIMS), {"claims": MEMBERS}, id="dataclass"),
        pytest.param(None, Record(CLAIMS), {"claims": MEMBERS}, id="dataclass-undeclared"),
    ],
)
def test_claims_can_be_returned(annotation: object, answer: object, written: object) -> None:
    """As a whole or in part, with each return type, and the OpenAPI document can be made."""
    app = FastAPI()

    def endpoint() -> Any:
        return answer

    endpoint.__annotations__["return"] = annotation
    if annotation is None:
        del endpoint.__annotations__["return"]
    app.get("/")(endpoint)
    client = TestClient(app)

    assert client.get("/").json() == written
    assert client.get("/openapi.json").status_code == 200


def test_a_response_model_can_hold_claims() -> None:
    """Made by hand or from a dict; its schema calls them an object."""

    class Answer(BaseModel):
        claims: Claims

    app = FastAPI()

    @app.get("/made")
    def made() -> Answer:
        return Answer(claims=CLAIMS)

    @app.get("/dict", response_model=Answer)
    def as_dict() -> Any:
        return {"claims": CLAIMS}

    client = TestClient(app)
    assert client.get("/made").json() == client.get("/dict").json() == {"claims": MEMBERS}
    described = app.openapi()["components"]["schemas"]["Answer"]["properties"]["claims"]
    assert (described["type"], described["additionalProperties"]) == ("object", True)


def test_pydantic_and_fastapi_dump_claims_alike() -> None:
    """Python and JSON, whether the type is declared or not."""

    class Answer(BaseModel):
        claims: Claims
        anything: Any

    answer = Answer(claims=CLAIMS, anything=CLAIMS)
    both = {"claims": MEMBERS, "anything": MEMBERS}

    assert Answer.model_json_schema()["properties"]["claims"]["type"] == "object"
    assert answer.model_dump(mode="json") == both
    assert TypeAdapter(Any).validate_json(answer.model_dump_json()) == both
    assert answer.model_dump()["claims"] == CLAIMS.raw
    assert jsonable_encoder([CLAIMS]) == [MEMBERS]
