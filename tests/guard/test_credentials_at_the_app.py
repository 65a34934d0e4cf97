"""Credentials at an app: what raw header fields mean to a client."""

from collections.abc import Iterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message

from fastapi_stepup import Challenge, Claims, RequireSession, StepUpGuard
from fastapi_stepup.testing import DescopeEmulator

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture
def app(guard: StepUpGuard, descope: DescopeEmulator) -> FastAPI:
    """An app with a page and a WebSocket that need a session."""
    app = FastAPI()
    signed_in = Annotated[Claims, Depends(RequireSession(guard))]

    @app.api_route("/", methods=METHODS)
    async def page(claims: signed_in) -> str:
        return claims.subject

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, claims: signed_in) -> None:
        await websocket.accept()
        await websocket.send_text(claims.subject)
        await websocket.close()

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of `app` on its own https origin."""
    with TestClient(app, base_url="https://app.example.com") as client:
        yield client


def code_of(status: int, challenge: str) -> str:
    """Return the catalogue's word for an answer: the status, and T, A or S for a 401."""
    found = [c.error for c in Challenge.parse(challenge)]
    kinds = {"invalid_token": "T", None: "A"}
    return f"{status}{kinds[found[0]]}" if status == 401 else str(status)


def ask(app: FastAPI, *headers: tuple[str, bytes], method: str = "GET") -> str:
    """Return what `app` answers to headers that no client library would send."""
    sent: list[Message] = []
    receive: Any = anyio.sleep_forever  # nothing has to be read to refuse a request

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("latin-1"), value) for name, value in headers],
    }
    anyio.run(app, scope, receive, send)
    start = sent[0]
    answered = {name: value.decode() for name, value in start["headers"]}
    return code_of(start["status"], answered.get(b"www-authenticate", ""))


def test_authorization_field_at_the_app(
    app: FastAPI, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """What the raw field means to a client; a good cookie beside it changes nothing."""
    rows: dict[str, tuple[bytes, str]] = {
        "HD-002": (b"Bearer %s", "200"),
        "HD-005-two": (b"Bearer %s,Bearer %s", "400"),
        "HD-006": (b"Bearer", "400"),
        "HD-009-two-words": (b"Bearer %s %s", "401T"),
        "HD-009-semicolon": (b"Bearer %s;x", "401T"),
        "HD-010": (b"Basic %s", "401A"),
        "HD-011": (b"Bearer%s", "401A"),
        "HD-013-latin-1": (b"Bearer %s\xe9", "401T"),
        "HD-013-neither": (b"Bearer %s\xff\xfe", "401T"),
        "HD-013-no-break-space": (b"Bearer \xc2\xa0%s", "401T"),
        "HD-014-nul": (b"Bearer %s\x00", "401T"),
        "HD-014-nul-before": (b"Bearer \x00%s", "401T"),
        "HD-014-cr": (b"Bearer %s\r", "401T"),
        "HD-014-lf": (b"Bearer %s\n", "401T"),
        "HD-014-crlf": (b"Bearer %s\r\nX-Evil: 1", "401T"),
        "HD-015-after-scheme": (b"Bearer\r\n %s", "401T"),
        "HD-015-after-token": (b"Bearer %s\r\n x", "401T"),
        "tab": (b"Bearer\t%s", "401T"),
        "70-kilobytes": (b"Bearer " + b"e" * 70_000, "401T"),
        "70-kilobytes-more": (b"Bearer %s" + b"e" * 70_000, "401T"),
        "dots": (b"Bearer ..", "401T"),
        "HD-027": (b"", "401A"),
    }
    for name, (template, expected) in rows.items():
        with subtests.test(name):
            token = descope.sign_in("ann@example.com").session_token.encode()
            value = template.replace(b"%s", token)
            cookie, site = ("cookie", b"DS=" + token), ("sec-fetch-site", b"same-origin")

            assert ask(app, ("authorization", value)) == expected
            assert ask(app, ("Authorization", value)) == expected
            assert ask(app, ("authorization", value), cookie, site, method="POST") == expected


def test_two_fields_at_the_app(app: FastAPI, descope: DescopeEmulator) -> None:
    """Whatever their case and order, and although one is good."""
    good = b"Bearer " + descope.sign_in("ann@example.com").session_token.encode()

    for names in [("authorization", "authorization"), ("Authorization", "authorization")]:
        for values in [(good, b"Bearer x"), (b"Bearer x", good), (good, good), (good, b"")]:
            assert ask(app, *zip(names, values, strict=True)) == "400"


def test_session_cookie_at_the_app(
    client: TestClient, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """GET with a cookie; CK-014 to CK-017."""
    rows: dict[str, tuple[str, str]] = {
        "CK-002": ("DS=%s", "200"),
        "CK-014-the-same": ("DS=%s; DS=%s", "200"),
        "CK-014-good-one-last": ("DS=x; DS=%s", "400"),
        "CK-015": ('DS="%s"', "401T"),
        "CK-015-octal": ("DS=%s\\056x", "401T"),
        "CK-017-other-name": ("DSR=%s", "401A"),
        "cleared": ("DS=", "401A"),
        "not-a-token": ("DS=x", "401T"),
        "case": ("ds=%s", "401A"),
    }
    for name, (template, expected) in rows.items():
        with subtests.test(name):
            cookie = template.replace("%s", descope.sign_in("ann@example.com").session_token)
            response = client.get("/", headers={"Cookie": cookie})

            assert (
                code_of(response.status_code, response.headers.get("www-authenticate", ""))
                == expected
            )


def test_refresh_token_is_no_session(client: TestClient, descope: DescopeEmulator) -> None:
    """Under either name: nothing is refreshed silently, and Descope is not asked to."""
    refresh = descope.sign_in("ann@example.com").refresh_token

    for cookie, expected in [(f"DSR={refresh}", "401A"), (f"DS={refresh}", "401T")]:
        response = client.get("/", headers={"Cookie": cookie})
        assert code_of(response.status_code, response.headers["www-authenticate"]) == expected
        assert "set-cookie" not in response.headers
    assert all(request.method == "GET" for request in descope.requests)


def test_cookies_turned_off_at_the_app(descope: DescopeEmulator) -> None:
    """A valid cookie is then no credential."""
    guard = StepUpGuard.for_descope(descope.project_id, session_cookie=None)
    app = FastAPI(dependencies=[Depends(RequireSession(guard))])
    app.add_api_route("/", lambda: "unreached")
    ann = descope.sign_in("ann@example.com")

    with descope.attach(guard):
        response = TestClient(app).get("/", headers=ann.cookie_headers)
    assert code_of(response.status_code, response.headers["www-authenticate"]) == "401A"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 200, id="CK-003"),
        pytest.param({"Origin": "https://app.example.com"}, 200, id="CK-003-origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="CK-005"),
        pytest.param({"Origin": "https://evil.example"}, 403, id="CK-006"),
        pytest.param({"Origin": "null"}, 403, id="CK-007"),
        pytest.param({"Origin": "https://app.example.com.evil.com"}, 403, id="CK-009"),
        pytest.param({}, 403, id="no-evidence"),
    ],
)
def test_cross_site_request_at_the_app(
    client: TestClient,
    descope: DescopeEmulator,
    headers: dict[str, str],
    expected: int,
    subtests: pytest.Subtests,
) -> None:
    """CK-003 to CK-011: 403 has no challenge, since another token would not help."""
    for method in [m for m in METHODS if m != "GET"]:
        with subtests.test(method=method):
            ann = descope.sign_in("ann@example.com")
            cookie = {"Cookie": f"DS={ann.session_token}"}
            response = client.request(method, "/", headers={**cookie, **headers})

            assert response.status_code == expected
            assert "www-authenticate" not in response.headers
            if expected == 403:
                assert response.json()["detail"]["code"] == "cross_site_request"


def test_header_needs_no_evidence(client: TestClient, descope: DescopeEmulator) -> None:
    """No page of another site can make a browser send it."""
    ann = descope.sign_in("ann@example.com")
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    assert client.post("/", headers={**ann.headers, **foreign}).status_code == 200


@pytest.mark.parametrize(
    ("url", "form"),
    [
        pytest.param("/?access_token=%s", {}, id="HD-022-access-token"),
        pytest.param("/?token=%s", {}, id="HD-022-token"),
        pytest.param("/?DS=%s", {}, id="HD-022-cookie-name"),
        pytest.param("/", {"access_token": "%s"}, id="HD-023"),
    ],
)
def test_tokens_elsewhere_are_not_looked_for(
    client: TestClient, descope: DescopeEmulator, url: str, form: dict[str, str]
) -> None:
    """RFC 6750 sections 2.2 and 2.3 are not supported; RFC 9700 forbids the query."""
    token = descope.sign_in("ann@example.com").session_token
    content = "&".join(f"{name}={value.replace('%s', token)}" for name, value in form.items())
    response = client.post(
        url.replace("%s", token),
        content=content,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert code_of(response.status_code, response.headers["www-authenticate"]) == "401A"


def test_websockets(client: TestClient, descope: DescopeEmulator) -> None:
    """A token in the query is none; a cookie needs same-origin evidence on every handshake."""
    ann = descope.sign_in("ann@example.com")
    cookie = {"Cookie": f"DS={ann.session_token}"}
    url = "wss://app.example.com/ws"
    refused: list[tuple[str, dict[str, str], int]] = [
        (f"{url}?token={ann.session_token}", {}, 401),
        (url, cookie, 403),
        (url, {**cookie, "Origin": "https://evil.example"}, 403),
        (url, {**cookie, "Origin": "null"}, 403),
        (url, {**cookie, "Sec-Fetch-Site": "cross-site"}, 403),
    ]

    for address, headers, status in refused:
        with pytest.raises(WebSocketDenialResponse) as denied:
            client.websocket_connect(address, headers=headers).__enter__()
        assert denied.value.status_code == status
    for headers in (
        ann.headers,
        {**ann.headers, "Origin": "https://evil.example"},
        {**cookie, "Origin": "https://app.example.com"},
        {**cookie, "Sec-Fetch-Site": "same-origin"},
    ):
        with client.websocket_connect(url, headers=headers) as session:
            assert session.receive_text() == ann.user_id


def test_hostile_host_is_not_reflected(client: TestClient, descope: DescopeEmulator) -> None:
    """Neither in the challenge nor in any link."""
    for headers in ({}, descope.sign_in("ann@example.com").cookie_headers):
        response = client.delete("/", headers={**headers, "Host": "evil.example"})
        assert "evil.example" not in f"{response.headers}{response.text}"
