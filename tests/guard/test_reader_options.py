"""CredentialReader: its options, and readers of an app's own."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from fastapi_stepup import StepUpGuard, errors
from fastapi_stepup.guard.credentials import Credential, CredentialReader
from fastapi_stepup.testing import DescopeEmulator
from tests.guard.connections import Header, connection, read

NONE = errors.Unauthenticated
BAD = errors.InvalidRequest


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([("x-session", "Bearer t")], "t", id="with-scheme"),
        pytest.param([("X-Session", "bearer  t ")], "t", id="other-case"),
        pytest.param([("x-session", "t")], "t", id="bare"),
        pytest.param([("x-session", " t ")], "t", id="bare-in-blanks"),
        pytest.param([("x-session", "Basic t")], NONE, id="another-scheme"),
        pytest.param([("x-session", "t,u")], NONE, id="two-in-one"),
        pytest.param([("x-session", "")], NONE, id="empty"),
        pytest.param([("x-session", "t"), ("x-session", "t")], BAD, id="twice"),
        pytest.param([("authorization", "Bearer t")], NONE, id="authorization-alone"),
        pytest.param([("authorization", "Basic x"), ("x-session", "t")], "t", id="beside"),
        pytest.param([("x-session", "Basic t"), ("cookie", "DS=u")], NONE, id="no-fall-through"),
        pytest.param([("cookie", "DS=u")], "u", id="cookie"),
    ],
)
def test_another_field_may_have_the_token(
    fields: list[Header], expected: str | type[Exception]
) -> None:
    """Where a gateway keeps `Authorization` to itself; the rules for the field stay."""
    assert read(CredentialReader(header="X-Session"), connection(*fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([("authorization", "Basic eDp5")], NONE, id="alone"),
        pytest.param([("authorization", "Basic eDp5"), ("cookie", "DS=t")], "t", id="cookie"),
        pytest.param([("authorization", "BASIC x"), ("cookie", "DS=t")], "t", id="other-case"),
        pytest.param([("authorization", " Basic"), ("cookie", "DS=t")], "t", id="scheme-alone"),
        pytest.param(
            [("authorization", "Basic x"), ("authorization", "Bearer t")], "t", id="ours-second"
        ),
        pytest.param(
            [("authorization", "Bearer t"), ("authorization", "Basic x")], "t", id="ours-first"
        ),
        pytest.param(
            [("authorization", "Bearer t"), ("authorization", "Bearer t")], BAD, id="two-of-ours"
        ),
        pytest.param([("authorization", "Digest x"), ("cookie", "DS=t")], NONE, id="not-listed"),
        pytest.param([("authorization", "Basicx"), ("cookie", "DS=t")], NONE, id="longer"),
        pytest.param([("authorization", ""), ("cookie", "DS=t")], NONE, id="empty"),
    ],
)
def test_scheme_of_a_proxy_is_not_for_the_app(
    fields: list[Header], expected: str | type[Exception]
) -> None:
    """Listed schemes count as absent, and only those."""
    assert read(CredentialReader(other_schemes=["Basic"]), connection(*fields)) == expected


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        pytest.param("header", "", "name of a header field", id="header-empty"),
        pytest.param("header", "x session", "name of a header field", id="header-space"),
        pytest.param("header", "Cookie", "other than Cookie", id="header-cookie"),
        pytest.param("header", None, "name of a header field", id="header-none"),
        pytest.param(
            "other_schemes", "Basic", "^other_schemes is a tuple of words", id="schemes-text"
        ),
        pytest.param(
            "other_schemes", ["a b"], "^other_schemes is a tuple of words", id="schemes-space"
        ),
        pytest.param("other_schemes", 5, "^other_schemes is a tuple of words", id="schemes-number"),
        pytest.param(
            "other_schemes",
            ["Basic", None],
            "^other_schemes is a tuple of words",
            id="schemes-none",
        ),
        pytest.param("other_schemes", ["bEARER"], "Bearer is the one", id="schemes-bearer"),
        pytest.param("safe_methods", "GET", "^safe_methods is a tuple of words", id="methods-text"),
        pytest.param("safe_methods", ["POST"], "some of GET, HEAD, OPTIONS, TRACE", id="unsafe"),
        pytest.param("safe_methods", ["get"], "some of GET", id="methods-lower"),
    ],
)
def test_options_that_cannot_be_are_refused(option: str, value: Any, hint: str) -> None:
    """At construction, with what can be used."""
    options: dict[str, Any] = {option: value}

    with pytest.raises(errors.ConfigurationError, match=hint):
        CredentialReader(**options)


class FromQuery(CredentialReader):
    """Takes the token from a place that only this app knows."""

    def read(self, connection: HTTPConnection) -> Credential:
        """Return it."""
        return Credential(connection.headers["x-mine"], "header")

    def token(self, connection: HTTPConnection) -> str:
        """Return it."""
        return self.read(connection).token


@pytest.mark.anyio
async def test_guard_takes_a_reader_of_ones_own(descope: DescopeEmulator) -> None:
    """Of a class of the app's, or the package's with more options."""
    ann = descope.sign_in("ann@example.com")
    for reader in (FromQuery(), CredentialReader(header="x-mine")):
        guard = StepUpGuard.for_descope(descope.project_id, credentials=reader)
        with descope.attach(guard):
            claims = await guard.authorize(connection(("x-mine", ann.session_token)))
        assert claims.subject == ann.user_id
        assert guard.credentials is reader


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param({"credentials": "DS"}, "a CredentialReader, not str", id="text"),
        pytest.param({"credentials": CredentialReader}, "not type", id="class"),
        pytest.param(
            {"credentials": CredentialReader(), "session_cookie": "S"},
            "to the CredentialReader",
            id="session-cookie",
        ),
        pytest.param(
            {"credentials": CredentialReader(), "refresh_cookie": None},
            "to the CredentialReader",
            id="refresh-cookie",
        ),
        pytest.param(
            {"credentials": CredentialReader(), "allowed_origins": ["https://a.example"]},
            "to the CredentialReader",
            id="origins",
        ),
    ],
)
def test_reader_that_cannot_be_is_refused(options: dict[str, Any], hint: str) -> None:
    """One way to say it: no option is silently without effect."""
    with pytest.raises(errors.ConfigurationError, match=hint):
        StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", **options)


@pytest.mark.parametrize("field", ["forged", "Bearer forged"])
def test_reader_without_other_schemes_ignores_none(field: str) -> None:
    """The defaults are those of the contract."""
    reader = CredentialReader()

    assert (reader.header, reader.other_schemes) == ("authorization", frozenset())
    assert reader.safe_methods == {"GET", "HEAD", "OPTIONS", "TRACE"}
    assert read(reader, connection(("authorization", f"Basic {field}"))) is NONE


@pytest.mark.anyio
async def test_a_reader_of_its_own_is_asked_for_a_header_token_too(
    descope: DescopeEmulator,
) -> None:
    """Its `read` may refuse what the plain reader takes."""

    class Picky(CredentialReader):
        """A reader that takes no bearer tokens without a mark of the gateway."""

        def read(self, connection: HTTPConnection) -> Credential:
            if "x-gateway" not in connection.headers:
                raise errors.Unauthenticated
            return super().read(connection)

    guard = StepUpGuard.for_descope(
        descope.project_id, transport=descope.transport, credentials=Picky()
    )
    bearer = ("authorization", f"Bearer {descope.step_up('ann@example.com').session_token}")

    with pytest.raises(errors.Unauthenticated):
        await guard.authorize(connection(bearer))
    claims = await guard.authorize(connection(bearer, ("x-gateway", "1")))
    assert claims.subject


def test_reader_with_both_methods_is_asked_once() -> None:
    """Its `token` may call the base's, which then does not call its `read` on top."""

    def moved(connection: HTTPConnection) -> HTTPConnection:
        field = (b"authorization", connection.headers["x-forwarded"].encode())
        return HTTPConnection({**connection.scope, "headers": [field]})

    class Forwarded(CredentialReader):
        def read(self, connection: HTTPConnection) -> Credential:
            return super().read(moved(connection))

        def token(self, connection: HTTPConnection) -> str:
            return super().token(moved(connection))

    connection = HTTPConnection({"type": "http", "headers": [(b"x-forwarded", b"Bearer x.y.z")]})
    assert Forwarded().token(connection) == Forwarded().read(connection).token == "x.y.z"
