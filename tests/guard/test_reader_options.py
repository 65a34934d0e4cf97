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


def test_another_field_may_have_the_token(subtests: pytest.Subtests) -> None:
    """Where a gateway keeps `Authorization` to itself; the rules for the field stay."""
    rows: dict[str, tuple[list[Header], str | type[Exception]]] = {
        "with-scheme": ([("x-session", "Bearer t")], "t"),
        "other-case": ([("X-Session", "bearer  t ")], "t"),
        "bare": ([("x-session", "t")], "t"),
        "bare-in-blanks": ([("x-session", " t ")], "t"),
        "another-scheme": ([("x-session", "Basic t")], NONE),
        "two-in-one": ([("x-session", "t,u")], NONE),
        "empty": ([("x-session", "")], NONE),
        "twice": ([("x-session", "t"), ("x-session", "t")], BAD),
        "authorization-alone": ([("authorization", "Bearer t")], NONE),
        "beside": ([("authorization", "Basic x"), ("x-session", "t")], "t"),
        "no-fall-through": ([("x-session", "Basic t"), ("cookie", "DS=u")], NONE),
        "cookie": ([("cookie", "DS=u")], "u"),
    }
    for name, (fields, expected) in rows.items():
        with subtests.test(name):
            assert read(CredentialReader(header="X-Session"), connection(*fields)) == expected


def test_scheme_of_a_proxy_is_not_for_the_app(subtests: pytest.Subtests) -> None:
    """Listed schemes count as absent, and only those."""
    rows: dict[str, tuple[list[Header], str | type[Exception]]] = {
        "alone": ([("authorization", "Basic eDp5")], NONE),
        "cookie": ([("authorization", "Basic eDp5"), ("cookie", "DS=t")], "t"),
        "other-case": ([("authorization", "BASIC x"), ("cookie", "DS=t")], "t"),
        "scheme-alone": ([("authorization", " Basic"), ("cookie", "DS=t")], "t"),
        "ours-second": ([("authorization", "Basic x"), ("authorization", "Bearer t")], "t"),
        "ours-first": ([("authorization", "Bearer t"), ("authorization", "Basic x")], "t"),
        "two-of-ours": ([("authorization", "Bearer t"), ("authorization", "Bearer t")], BAD),
        "not-listed": ([("authorization", "Digest x"), ("cookie", "DS=t")], NONE),
        "longer": ([("authorization", "Basicx"), ("cookie", "DS=t")], NONE),
        "empty": ([("authorization", ""), ("cookie", "DS=t")], NONE),
    }
    for name, (fields, expected) in rows.items():
        with subtests.test(name):
            assert read(CredentialReader(other_schemes=["Basic"]), connection(*fields)) == expected


def test_options_that_cannot_be_are_refused(subtests: pytest.Subtests) -> None:
    """At construction, with what can be used."""
    rows: dict[str, tuple[str, Any, str]] = {
        "header-empty": ("header", "", "name of a header field"),
        "header-space": ("header", "x session", "name of a header field"),
        "header-cookie": ("header", "Cookie", "other than Cookie"),
        "header-none": ("header", None, "name of a header field"),
        "schemes-text": ("other_schemes", "Basic", "^other_schemes is a tuple of words"),
        "schemes-space": ("other_schemes", ["a b"], "^other_schemes is a tuple of words"),
        "schemes-number": ("other_schemes", 5, "^other_schemes is a tuple of words"),
        "schemes-none": ("other_schemes", ["Basic", None], "^other_schemes is a tuple of words"),
        "schemes-bearer": ("other_schemes", ["bEARER"], "Bearer is the one"),
        "methods-text": ("safe_methods", "GET", "^safe_methods is a tuple of words"),
        "unsafe": ("safe_methods", ["POST"], "some of GET, HEAD, OPTIONS, TRACE"),
        "methods-lower": ("safe_methods", ["get"], "some of GET"),
    }
    for name, (option, value, hint) in rows.items():
        with subtests.test(name):
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
