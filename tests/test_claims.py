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
    "rows",
    [
        pytest.param([{}, {"su": False}, {"su": None}], id="TV-085"),
        pytest.param(
            [
                {"su": value}
                for value in ("true", "True", "false", "1", "", 1, 0, 1.0, [True], [], {"a": 1})
            ],
            id="TV-086",
        ),
        pytest.param(
            [{name: True} for name in ("SU", "Su", "su ", " su", "\u017fu", "su\x00")], id="TV-087"
        ),
        pytest.param(
            [
                {"su": {"su": True}},
                {"nsec": {"su": True}},
                {"tenants": {"T1": {"su": True}}},
            ],
            id="elsewhere",
        ),
        pytest.param([{"amr": ["otp", "mfa"]}], id="TV-089"),
    ],
)
def test_anything_else_is_no_step_up(
    rows: list[dict[str, object]], subtests: pytest.Subtests
) -> None:
    """What merely looks true, or is true elsewhere, counts for nothing."""
    for members in rows:
        with subtests.test(ascii(members)):
            assert claims(**members).stepped_up is False


def test_lists_keep_their_strings_only(subtests: pytest.Subtests) -> None:
    """Another shape counts for nothing; no text is taken apart letter by letter."""
    rows: list[tuple[object, tuple[str, ...]]] = [
        (["email", "mfa"], ("email", "mfa")),
        ([], ()),
        ("mfa", ()),
        (None, ()),
        ({"mfa": True}, ()),
        (7, ()),
        ([{"method": "otp"}, "sms", ["mfa"], None, 1, True], ("sms",)),
    ]
    for name in ("amr", "permissions", "roles"):
        assert getattr(claims(), name) == ()
        for value, expected in rows:
            with subtests.test(f"{name}={value!r}"):
                assert getattr(claims(**{name: value}), name) == expected


def test_acr_is_a_string_or_an_array_of_them(subtests: pytest.Subtests) -> None:
    """Issuers write both; OpenID Connect has the string."""
    rows: list[tuple[object, tuple[str, ...]]] = [
        ("phr", ("phr",)),
        (["phr", "phrh"], ("phr", "phrh")),
        ([{"a": 1}, "phr", 0], ("phr",)),
        (0, ()),
        (None, ()),
        ({"phr": 1}, ()),
    ]
    assert claims().acr == ()
    for value, expected in rows:
        with subtests.test(repr(value)):
            assert claims(acr=value).acr == expected


def test_tenants_of_another_shape_are_none(subtests: pytest.Subtests) -> None:
    """Only an object maps tenants to what they grant."""
    assert dict(claims().tenants) == {}
    for value in (None, "T1", ["T1"], 1, True):
        with subtests.test(repr(value)):
            assert dict(claims(tenants=value).tenants) == {}


def test_tenants_are_read_as_they_are() -> None:
    """Tenant id to permissions and roles, read-only all the way down."""
    tenants: Any = claims(tenants={"T1": {"roles": ["admin"]}}).tenants

    assert tenants["T1"]["roles"] == ("admin",)
    with pytest.raises(TypeError):
        tenants["T1"]["roles"] = ("owner",)
    with pytest.raises(TypeError):
        tenants["T2"] = {}


def test_act_of_any_value_is_impersonation(subtests: pytest.Subtests) -> None:
    """A claim that should not be there is not explained away."""
    assert claims().impersonated is False
    acts: list[object] = [None, {}, {"sub": "U3"}, False, "", [], 0]
    for act in acts:
        with subtests.test(repr(act)):
            assert claims(act=act).impersonated is True
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


def test_claims_of_parsed_members_are_frozen_before_a_container_is_seen(
    subtests: pytest.Subtests,
) -> None:
    """They say what the others say, whatever is read first."""
    reads: dict[str, Callable[[Claims], object]] = {
        "raw": lambda c: c.raw,
        "get": lambda c: c.get("a"),
        "dict": dict,
        "repr": repr,
        "copy": copy.copy,
        "subject": lambda c: c.subject,
    }
    members = {**REGISTERED, "su": True, "amr": ["mfa"], "a": [{"b": [1]}], "act": {}}
    for name, read in reads.items():
        with subtests.test(name):
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


def test_what_is_no_step_up_never_equals_one() -> None:
    """Although `1 == True` to Python."""
    for value in (1, 1.0):
        assert claims(su=value) != claims(su=True)


def test_repr_shows_no_claim() -> None:
    """A project's JWT template can make `sub` an address."""
    for members in ({}, {"su": True}):
        given = Claims({"sub": "ann@example.com", "email": "ann@example.com", **members})

        assert re.fullmatch(
            rf"Claims\(stepped_up={bool(members)}, digest=[0-9a-f]{{32}}\)", repr(given)
        )
        assert str(given) == repr(given)


def test_repr_tells_sessions_apart(subtests: pytest.Subtests) -> None:
    """A response cache goes by the text of its arguments: another session, another text."""
    others: dict[str, dict[str, object]] = {
        "user": {"sub": "U3"},
        "issuer": {"iss": "P3"},
        "session": {"iat": 1_800_000_001},
        "step-up": {"su": True},
        "member": {"nsec": {"a": ["b"]}},
        "not-json": {"when": datetime(2030, 1, 1, tzinfo=UTC)},
    }
    for name, other in others.items():
        with subtests.test(name):
            assert repr(claims(**other)) != repr(claims())
            assert repr(claims(**other)) == repr(claims(**other))


def test_order_of_members_does_not_change_repr() -> None:
    """Equal claims have one text."""
    assert repr(Claims({"a": 1, "b": 2})) == repr(Claims({"b": 2, "a": 1}))


def test_repr_cannot_be_compared_with_guessed_claims() -> None:
    """The digest is keyed: another process has another text for the same claims."""
    program = "from fastapi_stepup import Claims; print(Claims({'sub': 'ann@example.com'}))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = repr(Claims({"sub": "ann@example.com"}))

    assert printed.partition("digest=")[0] == here.partition("digest=")[0]
    assert printed != here


def test_claims_can_be_copied_and_pickled(subtests: pytest.Subtests) -> None:
    """And the copy is as read-only."""
    given = claims(su=True, amr=["email"], nsec={"a": [{"b": 1}]})
    for twin in (copy.copy(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        with subtests.test():
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


def test_claims_from_without_an_entry_point_is_a_lookup_error(subtests: pytest.Subtests) -> None:
    """The message says what to put in front."""
    scopes: list[dict[str, object]] = [
        {},
        {CLAIMS_SCOPE_KEY: {}},
        {CLAIMS_SCOPE_KEY: None},
        {CLAIMS_SCOPE_KEY: REGISTERED["sub"]},
        {"state": {"claims": REGISTERED}, "user": "ann"},
    ]
    for scope in scopes:
        with (
            subtests.test(repr(scope)),
            pytest.raises(LookupError, match="RequireSession, RequireStepUp or StepUpMiddleware"),
        ):
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
