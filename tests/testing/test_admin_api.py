"""The admin API, by which programs in other languages control the emulator."""

from typing import Any

import jwt
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from tests.testing.conftest import Caller, Clock, error_of


def test_project_is_told(caller: Caller, emulator: DescopeEmulator) -> None:
    """A test in another language gets project id and issuer."""
    reply = caller.client.get("/_emulator/project").json()
    assert reply == {"project_id": emulator.project_id, "issuer": emulator.project_id}


def test_outbox_is_read(caller: Caller, emulator: DescopeEmulator) -> None:
    """Codes can be read, all or those of one login id."""
    caller.start("bob@example.com", action="signup-in")
    caller.start(delivery="sms")
    messages = caller.client.get("/_emulator/outbox").json()["messages"]
    assert [sent["login_id"] for sent in messages] == ["bob@example.com", "ann@example.com"]
    only = caller.client.get("/_emulator/outbox", params={"login_id": "ann@example.com"}).json()
    assert only == {
        "messages": [
            {
                "delivery": "sms",
                "to": "+15550100012",
                "login_id": "ann@example.com",
                "user_id": emulator.user("ann@example.com").user_id,
                "code": emulator.outbox[-1].code,
                "step_up": False,
                "link": "",
                "token": "",
                "live": True,
            }
        ]
    }


def test_requests_are_read(caller: Caller) -> None:
    """Received requests can be read; admin requests are not recorded."""
    caller.start()
    kept = caller.client.get("/_emulator/requests").json()["requests"]
    assert [(received["method"], received["path"]) for received in kept] == [
        ("POST", "/v1/auth/otp/signin/email")
    ]
    assert kept[0]["json"]["loginId"] == "ann@example.com"


def test_latest_requests_are_read(caller: Caller) -> None:
    """`last` limits the answer, whose total stays that of all; nonsense is a mistake."""
    for delivery in ("email", "sms"):
        caller.start(delivery=delivery)
    for last, paths in ((1, ["signin/sms"]), (0, []), (9, ["signin/email", "signin/sms"])):
        reply = caller.client.get("/_emulator/requests", params={"last": last}).json()
        assert [received["path"].partition("otp/")[2] for received in reply["requests"]] == paths
        assert reply["total"] == 2
    assert caller.client.get("/_emulator/requests?last=some").status_code == 400


def test_users_are_listed(caller: Caller, emulator: DescopeEmulator) -> None:
    """Each with addresses, roles, and the methods that were added, without secrets."""
    ann = emulator.user("ann@example.com")
    ann.name, ann.providers["google"], ann.password = "Ann", True, "secret"
    emulator.totp_secret("ann@example.com")
    assert caller.client.get("/_emulator/users").json() == {
        "users": [
            {
                "user_id": ann.user_id,
                "login_ids": ["ann@example.com"],
                "name": "Ann",
                "email": "ann@example.com",
                "phone": "+15550100012",
                "roles": [],
                "permissions": [],
                "tenants": {},
                "methods": ["authenticator app", "password", "google"],
            }
        ]
    }


def test_sessions_are_listed(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """Each with its state and the claims of its latest session token."""
    expired = emulator.sign_in("old@example.com")
    clock.now += 28 * 24 * 3600
    revoked = emulator.sign_in("bob@example.com")
    emulator.revoke_keys()
    ended, ann = emulator.sign_in("ann@example.com"), emulator.step_up("ann@example.com")
    assert caller.post("logout", token=ended.refresh_token).is_success
    reply = caller.client.get("/_emulator/sessions").json()
    assert [(one["state"], one["claims"]) for one in reply["sessions"]] == [
        ("revoked", expired.claims),
        ("revoked", revoked.claims),
        ("logged out", ended.claims),
        ("active", ann.claims),
    ]
    clock.now += 28 * 24 * 3600
    latest = caller.client.get("/_emulator/sessions?last=1").json()
    assert [one["state"] for one in latest["sessions"]] == ["expired"]
    assert latest["total"] == 4
    assert latest["sessions"][0]["login_id"] == "ann@example.com"


def test_magic_link_is_opened(caller: Caller, emulator: DescopeEmulator) -> None:
    """Its session comes back, once; the message is live until then."""
    caller.post("magiclink/signin/email", {"loginId": "ann@example.com"})
    sent = emulator.outbox[-1]
    assert emulator.is_live(sent)
    opened = caller.client.post("/_emulator/links/open", json={"token": sent.token}).json()
    assert caller.claims(opened["session_token"])["amr"] == ["email"]
    assert caller.me(opened["refresh_token"]).is_success
    assert not emulator.is_live(sent)
    refused = caller.client.post("/_emulator/links/open", json={"token": sent.token})
    assert refused.status_code == 400
    assert refused.json()["error"] == "The link is unknown, expired, or used."


def test_enchanted_link_is_opened(caller: Caller, emulator: DescopeEmulator) -> None:
    """The client that waits gets the session."""
    started = caller.post("enchantedlink/signin/email", {"loginId": "ann@example.com"}).json()
    sent = emulator.outbox[-1]
    assert emulator.is_live(sent)
    assert emulator.open_link(sent.token) is None
    pending = {"pendingRef": started["pendingRef"]}
    assert caller.post("enchantedlink/pending-session", pending).status_code == 200
    assert not emulator.is_live(sent)


def test_link_of_a_flow_is_opened(caller: Caller, emulator: DescopeEmulator, ann: Tokens) -> None:
    """The page that polls goes on; another flow of the same user does not."""
    headers = caller.headers(ann.refresh_token)
    body: dict[str, Any] = {"flowId": "step-up", "componentsVersion": "3.14.1"}
    for _ in range(2):
        flow = caller.client.post("/v1/flow/start", json=body, headers=headers).json()

    def following(interaction: str) -> Any:
        asked = {"executionId": flow["executionId"], "interactionId": interaction}
        return caller.client.post("/v1/flow/next", json=asked, headers=headers).json()

    following("magiclink-email")
    assert following("polling")["action"] == "poll"
    token = emulator.outbox[-1].token
    assert caller.client.post("/_emulator/links/open", json={"token": token}).json() == {}
    completed = following("polling")
    assert completed["status"] == "completed"
    assert caller.claims(completed["authInfo"]["sessionJwt"])["su"] is True


def test_users_are_created(caller: Caller, emulator: DescopeEmulator) -> None:
    """A user is created with everything that `create_user` takes."""
    created = caller.client.post(
        "/_emulator/users",
        json={"login_id": "bob", "email": "bob@example.com", "login_ids": ["b"], "roles": ["x"]},
    )
    bob = emulator.user("b")
    assert (201, {"user_id": bob.user_id, "login_ids": ["bob", "b"]}) == (
        created.status_code,
        created.json(),
    )
    assert (bob.email, bob.roles) == ("bob@example.com", ["x"])


def test_tokens_are_minted(caller: Caller, clock: Clock) -> None:
    """Sign-in and step-up give tokens, of the age that is asked for."""
    body = {"login_id": "bob@example.com", "amr": ["sms"], "age": 60, "expires_in": 5}
    for route, stepped_up in (("sign-in", None), ("step-up", True)):
        tokens = caller.client.post(f"/_emulator/{route}", json=body).json()
        assert tokens.keys() == {"session_token", "refresh_token", "user_id", "login_id"}
        claims = jwt.decode(tokens["session_token"], options={"verify_signature": False})
        assert (stepped_up, ["sms"]) == (claims.get("su"), claims["amr"])
        assert (clock.now - 60, clock.now + 5) == (claims["iat"], claims["exp"])


def test_authenticator_app_is_read(caller: Caller, emulator: DescopeEmulator) -> None:
    """Secret and password of a user's app; an unknown user is a mistake."""
    shown = caller.client.get("/_emulator/totp", params={"login_id": "ann@example.com"}).json()
    expected = (emulator.totp_secret("ann@example.com"), emulator.totp_code("ann@example.com"))
    assert expected == (shown["secret"], shown["code"])
    refused = caller.client.get("/_emulator/totp")
    assert (refused.status_code, "no user" in refused.json()["error"]) == (400, True)


def test_provider_is_visited(caller: Caller) -> None:
    """A program signs in at the provider, or declines."""
    for deny, parameter in ((False, "code="), (True, "err=")):
        url = caller.post("oauth/authorize?provider=google").json()["url"]
        body = {"url": url, "login_id": "ann@example.com", "deny": deny}
        visited = caller.client.post("/_emulator/social-login", json=body)
        assert parameter in visited.json()["location"]
        assert caller.client.post("/_emulator/social-login", json=body).status_code == 400


def test_whatsapp_is_sent(caller: Caller) -> None:
    """The message of a NOTP sign-in is sent; a wrong number is a mistake."""
    started = caller.post("notp/whatsapp/signin", {"loginId": "ann@example.com"}).json()
    body = {"url": started["redirectUrl"], "phone": "+15550100099"}
    assert caller.client.post("/_emulator/whatsapp", json=body).status_code == 400
    sent = caller.client.post("/_emulator/whatsapp", json={"url": started["redirectUrl"]})
    assert sent.json() == {}
    pending = {"pendingRef": started["pendingRef"]}
    assert caller.post("notp/pending-session", pending).status_code == 200


def test_passkey_responses(caller: Caller, ann: Tokens) -> None:
    """The software passkey of an origin creates a credential and signs with it."""
    origin = "https://shop.example"
    started: dict[str, Any] = {"loginId": "ann@example.com", "origin": origin}
    for path, action in (("update", "create"), ("signin", "get")):
        start = caller.post(f"webauthn/{path}/start", started, token=ann.refresh_token).json()
        asked = {"options": start["options"], "origin": origin}
        reply = caller.client.post(f"/_emulator/passkey/{action}", json=asked).json()
        finish = {"transactionId": start["transactionId"], "response": reply["response"]}
        assert caller.post(f"webauthn/{path}/finish", finish).status_code == 200


def test_access_key_is_created(caller: Caller) -> None:
    """A machine's key is handed out and can be exchanged."""
    created = caller.client.post("/_emulator/access-keys", json={"roles": ["job"]})
    assert created.status_code == 201
    exchanged = caller.post("accesskey/exchange", token=created.json()["secret"]).json()
    assert exchanged["keyId"] == created.json()["key_id"]


def test_keys_are_rotated_and_revoked(caller: Caller, emulator: DescopeEmulator) -> None:
    """Both answer with the id of the key that signs from then on."""
    for action, count in (("rotate", 2), ("revoke", 1)):
        reply = caller.client.post(f"/_emulator/keys/{action}").json()
        keys = caller.client.get(f"/v2/keys/{emulator.project_id}").json()["keys"]
        assert (emulator.signing_key.kid, count) == (reply["kid"], len(keys))


def test_keys_are_listed(caller: Caller, emulator: DescopeEmulator) -> None:
    """The ids of the valid ones, the current one first."""
    first, second = emulator.signing_key.kid, emulator.rotate_keys().kid
    assert caller.client.get("/_emulator/keys").json() == {"kids": [second, first]}


def test_page_runs_its_own_files_only(caller: Caller) -> None:
    """The page and its files are served, under a policy that allows no inline script or style."""
    page = caller.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for file in ("page.css", "page.js", "icon.svg"):
        assert f'"_emulator/{file}"' in page.text
        assert caller.client.get(f"/_emulator/{file}").status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert caller.emulator.requests == []


def test_requests_fail_on_demand(caller: Caller) -> None:
    """A failure is ordered, and admin requests never fail."""
    body = {"status": 429, "times": 1, "retry_after": 3, "path": "/v1", "code": "E1"}
    assert caller.client.post("/_emulator/fail", json=body).json() == {}
    assert caller.client.get("/_emulator/project").status_code == 200
    refused = caller.start()
    assert error_of(refused) == (429, "E1")
    assert refused.headers["retry-after"] == "3"


def test_everything_is_reset(caller: Caller, emulator: DescopeEmulator) -> None:
    """A test in another language starts afresh."""
    caller.start()
    assert caller.client.post("/_emulator/reset").json() == {}
    assert emulator.outbox == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param({}, "with the member 'login_id'", id="missing"),
        pytest.param([], "must be a JSON object", id="list"),
        pytest.param({"login_id": "bob", "mail": ""}, "Unknown member 'mail'", id="unknown"),
        pytest.param({"login_id": 1}, "'login_id' has the wrong type", id="type"),
        pytest.param({"login_id": "ann@example.com"}, "exists already", id="known-user"),
    ],
)
def test_mistakes_are_explained(caller: Caller, body: Any, sentence: str) -> None:
    """A sentence says what is wrong with the request."""
    refused = caller.client.post("/_emulator/users", json=body)
    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


def test_empty_body_is_explained(caller: Caller) -> None:
    """A body is needed where a member is."""
    refused = caller.client.post("/_emulator/users")
    assert (refused.status_code, "login_id" in refused.json()["error"]) == (400, True)
