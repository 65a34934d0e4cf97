"""Claims: deeply read-only, strict about `su`, and no claim in their text."""

import copy
import json
import pickle
import re
import subprocess
import sys
import unittest.mock
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from fastapi_stepup import Claims, StepUpGuard, claims_from
from fastapi_stepup.claims import CLAIMS_SCOPE_KEY, claims_of
from fastapi_stepup.testing import DescopeEmulator

REGISTERED = {"iss": "P2", "sub": "U2", "iat": 1_800_000_000, "exp": 1_800_000_600}


def claims(**members: object) -> Claims:
    """Return claims with the registered ones and *members*."""
    return Claims({**REGISTERED, **members})


def test_registered_claims_have_properties() -> None:
    """Times are epoch seconds as floats."""
    given = claims()

    assert (given.issuer, given.subject) == ("P2", "U2")
    assert (given.issued_at, given.expires_at) == (1_800_000_000.0, 1_800_000_600.0)
    assert isinstance(given.issued_at, float)
    assert isinstance(given.expires_at, float)


def test_stepped_up_by_true_alone() -> None:
    """The JSON value `true` under the exact name at the top level."""
    assert claims(su=True).stepped_up is True


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="TV-085-absent"),
        pytest.param({"su": False}, id="TV-085-false"),
        pytest.param({"su": None}, id="TV-085-null"),
        pytest.param({"su": "true"}, id="TV-086-text-true"),
        pytest.param({"su": "True"}, id="TV-086-text-True"),
        pytest.param({"su": "false"}, id="TV-086-text-false"),
        pytest.param({"su": 1}, id="TV-086-1"),
        pytest.param({"su": 0}, id="TV-086-0"),
        pytest.param({"su": 1.0}, id="TV-086-1.0"),
        pytest.param({"su": [True]}, id="TV-086-array"),
        pytest.param({"su": []}, id="TV-086-empty-array"),
        pytest.param({"su": {"a": 1}}, id="TV-086-object"),
        pytest.param({"su": {"su": True}}, id="TV-086-nested"),
        pytest.param({"su": "1"}, id="TV-086-text-1"),
        pytest.param({"su": ""}, id="TV-086-empty-text"),
        pytest.param({"SU": True}, id="TV-087-upper"),
        pytest.param({"su ": True}, id="TV-087-space-after"),
        pytest.param({" su": True}, id="TV-087-space-before"),
        pytest.param({"Su": True}, id="TV-087-mixed"),
        pytest.param({"\u017fu": True}, id="TV-087-long-s"),
        pytest.param({"su\x00": True}, id="TV-087-nul"),
        pytest.param({"nsec": {"su": True}}, id="client-chosen-claims"),
        pytest.param({"tenants": {"T1": {"su": True}}}, id="tenant"),
        pytest.param({"amr": ["otp", "mfa"]}, id="TV-089-amr-only"),
    ],
)
def test_anything_else_is_no_step_up(members: dict[str, object]) -> None:
    """What merely looks true, or is true elsewhere, counts for nothing."""
    assert claims(**members).stepped_up is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(["email", "mfa"], ("email", "mfa"), id="array"),
        pytest.param([], (), id="empty"),
        pytest.param("mfa", (), id="text"),
        pytest.param(None, (), id="null"),
        pytest.param({"mfa": True}, (), id="object"),
        pytest.param(7, (), id="number"),
        pytest.param([{"method": "otp"}, "sms", ["mfa"], None, 1, True], ("sms",), id="mixed"),
    ],
)
@pytest.mark.parametrize("name", ["amr", "permissions", "roles"])
def test_lists_keep_their_strings_only(name: str, value: object, expected: tuple[str, ...]) -> None:
    """Another shape counts for nothing; no text is taken apart letter by letter."""
    assert getattr(claims(**{name: value}), name) == expected
    assert getattr(claims(), name) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("phr", ("phr",), id="text"),
        pytest.param(["phr", "phrh"], ("phr", "phrh"), id="array"),
        pytest.param([{"a": 1}, "phr", 0], ("phr",), id="mixed"),
        pytest.param(0, (), id="number"),
        pytest.param(None, (), id="null"),
        pytest.param({"phr": 1}, (), id="object"),
    ],
)
def test_acr_is_a_string_or_an_array_of_them(value: object, expected: tuple[str, ...]) -> None:
    """Issuers write both; OpenID Connect has the string."""
    assert claims(acr=value).acr == expected
    assert claims().acr == ()


@pytest.mark.parametrize("value", [None, "T1", ["T1"], 1, True])
def test_tenants_of_another_shape_are_none(value: object) -> None:
    """Only an object maps tenants to what they grant."""
    assert dict(claims(tenants=value).tenants) == {}
    assert dict(claims().tenants) == {}


def test_tenants_are_read_as_they_are() -> None:
    """Tenant id to permissions and roles, read-only all the way down."""
    tenants: Any = claims(tenants={"T1": {"roles": ["admin"]}}).tenants

    assert tenants["T1"]["roles"] == ("admin",)
    with pytest.raises(TypeError):
        tenants["T1"]["roles"] = ("owner",)
    with pytest.raises(TypeError):
        tenants["T2"] = {}


@pytest.mark.parametrize("act", [None, {}, {"sub": "U3"}, False, "", [], 0])
def test_act_of_any_value_is_impersonation(act: object) -> None:
    """A claim that should not be there is not explained away."""
    assert claims(act=act).impersonated is True
    assert claims().impersonated is False
    assert claims(nsec={"act": act}).impersonated is False


def test_get_reads_any_claim() -> None:
    """With a default for what is absent, not for what is null."""
    given = claims(email="ann@example.com", name=None)

    assert given.get("email") == "ann@example.com"
    assert given.get("name", "x") is None
    assert given.get("phone") is None
    assert given.get("phone", "x") == "x"


def test_nothing_can_be_changed() -> None:
    """Neither through the object, nor through its parts, nor through what it was made of."""
    source: dict[str, Any] = {**REGISTERED, "amr": ["email"], "nsec": {"list": [{"a": 1}]}}
    given: Any = Claims(source)
    source["su"] = True
    source["amr"].append("mfa")
    source["nsec"]["list"][0]["a"] = 2

    with pytest.raises(AttributeError, match=r"Claims\.raw is immutable"):
        given.raw = {"su": True}
    with pytest.raises(AttributeError, match="Claims is immutable"):
        del given.raw
    for name in ("stepped_up", "amr", "other"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(given, name, True)
    for part in (given.raw, given.raw["nsec"], given.raw["nsec"]["list"][0]):
        with pytest.raises(TypeError, match="read-only"):
            part["su"] = True
    assert {type(part) for part in (given.amr, given.raw["amr"], given.raw["nsec"]["list"])} == {
        tuple
    }
    assert (given.stepped_up, given.amr) == (False, ("email",))
    assert given.get("nsec")["list"][0]["a"] == 1


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda c: c.raw, id="raw"),
        pytest.param(lambda c: c.get("a"), id="get"),
        pytest.param(dict, id="dict"),
        pytest.param(repr, id="repr"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(lambda c: c.subject, id="subject-alone"),
    ],
)
def test_claims_of_parsed_members_are_frozen_before_a_container_is_seen(
    read: Callable[[Claims], object],
) -> None:
    """They say what the others say, whatever is read first."""
    members = {**REGISTERED, "su": True, "amr": ["mfa"], "a": [{"b": [1]}], "act": {}}
    lazy, eager = claims_of(copy.deepcopy(members)), Claims(members)

    read(lazy)
    assert lazy.get("a") == ({"b": (1,)},)
    assert type(lazy.get("a")[0]) is type(eager.get("a")[0])
    assert lazy.get("missing", [1]) == [1]
    assert (lazy, hash(lazy), repr(lazy)) == (eager, hash(eager), repr(eager))
    assert (lazy.amr, lazy.impersonated, lazy.stepped_up) == (("mfa",), True, True)


def test_what_json_cannot_hold_is_kept_as_it_is() -> None:
    """In claims made by hand, say for a test of an app."""
    when = datetime.now(UTC)

    assert claims(when=when, list=[when]).get("list") == (when,)
    assert claims(when=when).get("when") is when


def test_tuples_and_mappings_are_frozen_too() -> None:
    """Whatever holds a list or a dict: the one inside can be changed no more."""
    inside: dict[str, Any] = {"a": ([1], {"b": [2]}), "m": MappingProxyType({"c": [3]})}
    given = Claims(inside)
    inside["a"][0].append(4)

    assert given.get("a") == ((1,), {"b": (2,)})
    assert given.get("m") == {"c": (3,)}
    for frozen in (given.get("a")[1], given.get("m")):
        with pytest.raises(TypeError, match="read-only"):
            frozen["x"] = 1


def test_equality_and_hash_go_by_content() -> None:
    """So equal claims of two requests are interchangeable."""
    one, other = claims(amr=["email"]), claims(amr=["email"])

    assert one == other
    assert len({one, other, claims(amr=["sms"])}) == 2
    assert one != claims(amr=["sms"])
    assert one != one.raw
    assert one == unittest.mock.ANY
    assert hash(Claims({})) == hash(Claims({}))


@pytest.mark.parametrize("value", [1, 1.0])
def test_what_is_no_step_up_never_equals_one(value: float) -> None:
    """Although `1 == True` to Python."""
    assert claims(su=value) != claims(su=True)


@pytest.mark.parametrize("members", [{}, {"su": True}])
def test_repr_shows_no_claim(members: dict[str, object]) -> None:
    """A project's JWT template can make `sub` an address."""
    given = Claims({"sub": "ann@example.com", "email": "ann@example.com", **members})

    assert re.fullmatch(
        rf"Claims\(stepped_up={bool(members)}, digest=[0-9a-f]{{32}}\)", repr(given)
    )
    assert str(given) == repr(given)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"sub": "U3"}, id="user"),
        pytest.param({"iss": "P3"}, id="issuer"),
        pytest.param({"iat": 1_800_000_001}, id="session"),
        pytest.param({"su": True}, id="step-up"),
        pytest.param({"nsec": {"a": ["b"]}}, id="member"),
        pytest.param({"when": datetime(2030, 1, 1, tzinfo=UTC)}, id="not-json"),
    ],
)
def test_repr_tells_sessions_apart(other: dict[str, object]) -> None:
    """A response cache goes by the text of its arguments: another session, another text."""
    assert repr(claims(**other)) != repr(claims())
    assert repr(claims(**other)) == repr(claims(**other))


def test_order_of_members_does_not_change_repr() -> None:
    """Equal claims have one text."""
    assert repr(Claims({"a": 1, "b": 2})) == repr(Claims({"b": 2, "a": 1}))


def test_repr_cannot_be_compared_with_guessed_claims() -> None:
    """The digest is keyed: another process has another text for the same claims."""
    program = "from fastapi_stepup import Claims; print(Claims({'sub': 'ann@example.com'}))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }

    assert len(printed) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_claims_can_be_copied_and_pickled(copied: Any) -> None:
    """And the copy is as read-only."""
    given = claims(su=True, amr=["email"], nsec={"a": [{"b": 1}]})
    twin = copied(given)

    assert twin == given
    assert twin.amr == ("email",)
    with pytest.raises(TypeError):
        twin.get("nsec")["a"][0]["b"] = 2


@pytest.mark.anyio
@pytest.mark.parametrize("login_id", [pytest.param("ann@example.com", id="OB-005")])
async def test_claims_hold_no_token(
    guard: StepUpGuard, descope: DescopeEmulator, login_id: str
) -> None:
    """Neither `repr`, nor pickle, nor their members have the token or its signature in them."""
    token = descope.step_up(login_id).session_token
    given = await guard.verify(token)
    seen = f"{given!r} {given} {pickle.dumps(given)!r} {dict(given.raw)}"

    for part in (token, *token.split(".")):
        assert part not in seen
    assert token.split(".")[2] not in json.dumps(given.raw)
    with pytest.raises(TypeError):
        vars(given)


def connection(**scope: object) -> HTTPConnection:
    """Return a connection with *scope* beside the usual members."""
    return HTTPConnection({"type": "http", "headers": [], **scope})


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param({}, id="nothing"),
        pytest.param({CLAIMS_SCOPE_KEY: {}}, id="empty"),
        pytest.param({CLAIMS_SCOPE_KEY: None}, id="none"),
        pytest.param({CLAIMS_SCOPE_KEY: REGISTERED["sub"]}, id="text"),
        pytest.param({"state": {"claims": REGISTERED}, "user": "ann"}, id="elsewhere"),
    ],
)
def test_claims_from_without_an_entry_point_is_a_lookup_error(scope: dict[str, object]) -> None:
    """The message says what to put in front."""
    with pytest.raises(LookupError, match="RequireSession, RequireStepUp or StepUpMiddleware"):
        claims_from(connection(**scope))


def test_headers_cannot_store_claims() -> None:
    """A header of the key's name is not what an entry point stored."""
    sent = [(CLAIMS_SCOPE_KEY.encode(), b'{"su": true}')]

    with pytest.raises(LookupError):
        claims_from(connection(headers=sent))


def test_claims_of_two_guards_are_ambiguous_when_they_differ() -> None:
    """It is open whose are meant, so neither are given; the message says how to get them."""
    one, other = claims(), claims(sub="U3")

    assert claims_from(connection(**{CLAIMS_SCOPE_KEY: {"a": one}})) is one
    assert claims_from(connection(**{CLAIMS_SCOPE_KEY: {"a": one, "b": claims()}})) is one
    for stored in ({"a": one, "b": other}, {"b": other, "a": one}, {"a": one, "b": claims(su=1)}):
        with pytest.raises(LookupError, match=r"guard\.authorize"):
            claims_from(connection(**{CLAIMS_SCOPE_KEY: stored}))


def test_claims_from_reads_what_authorize_stored(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """On a request and on a WebSocket of a bare Starlette app, and not before."""

    async def endpoint(request: Request) -> JSONResponse:
        with pytest.raises(LookupError):
            claims_from(request)
        authorized = await guard.authorize(request)
        return JSONResponse([claims_from(request) is authorized, authorized.subject])

    async def socket(websocket: WebSocket) -> None:
        await guard.authorize(websocket)
        await websocket.accept()
        await websocket.send_text(claims_from(websocket).subject)
        await websocket.close()

    client = TestClient(Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", socket)]))
    ann = descope.sign_in("ann@example.com")

    assert client.get("/", headers=ann.headers).json() == [True, ann.user_id]
    with client.websocket_connect("/ws", headers=ann.headers) as session:
        assert session.receive_text() == ann.user_id


def test_two_guards_of_one_project_store_the_same_claims(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A second guard, say with another realm, does not make `claims_from` ambiguous."""
    second = StepUpGuard.for_descope(guard.project_id, realm="second")

    async def endpoint(request: Request) -> JSONResponse:
        for each in (guard, second):
            await each.authorize(request)
        return JSONResponse(claims_from(request).subject)

    client = TestClient(Starlette(routes=[Route("/", endpoint)]))
    ann = descope.sign_in("ann@example.com")

    with descope.attach(second):
        assert client.get("/", headers=ann.headers).json() == ann.user_id
