"""The Python calls of the emulator."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_stepup import StepUpGuard, errors
from fastapi_stepup.testing import REMOVE, DescopeEmulator, Tokens
from fastapi_stepup.testing.emulator import python_api, sessions
from fastapi_stepup.testing.keys import compact_jws
from tests.testing.conftest import Caller, Clock, error_of


def test_default_project_id_has_the_form_of_a_real_one() -> None:
    """`P` and 27 characters, from which SDKs derive no region."""
    emulator = DescopeEmulator()
    assert (len(emulator.project_id), emulator.project_id[0]) == (28, "P")
    assert repr(emulator) == f"DescopeEmulator(project_id={emulator.project_id!r})"


@pytest.mark.parametrize("project_id", ["", "P 2", "P/2", "P:2"])
def test_project_id_that_fits_no_url_is_refused(project_id: str) -> None:
    """A project id is part of paths and of the bearer."""
    with pytest.raises(ValueError, match="letters, digits"):
        DescopeEmulator(project_id)


def test_addresses_are_taken_from_the_login_ids(emulator: DescopeEmulator) -> None:
    """A login id that looks like an address or a number is one, unless another is given."""
    bob = emulator.create_user("bob@example.com", login_ids=["+1 (555) 010-0099", "bob"])
    assert (bob.email, bob.phone) == ("bob@example.com", "+1 (555) 010-0099")
    eve = emulator.create_user("eve", email="eve@example.com")
    assert (eve.email, eve.phone) == ("eve@example.com", None)
    assert emulator.user("bob") is bob


@pytest.mark.parametrize(
    ("login_id", "message"), [("", "empty"), ("ann@example.com", "exists already")]
)
def test_login_id_must_be_new(emulator: DescopeEmulator, login_id: str, message: str) -> None:
    """A login id is not empty and belongs to one user."""
    with pytest.raises(ValueError, match=message):
        emulator.create_user(login_id)


def test_unknown_user_cannot_be_looked_up(emulator: DescopeEmulator) -> None:
    """`user` raises rather than answering None."""
    with pytest.raises(LookupError, match="no user"):
        emulator.user("nobody")


def test_sign_in_creates_the_user(emulator: DescopeEmulator) -> None:
    """A test need not create the user first; signing in again is the same user."""
    bob = emulator.sign_in("bob@example.com")
    assert emulator.user("bob@example.com").user_id == bob.user_id == bob.claims["sub"]
    assert emulator.step_up("bob@example.com").user_id == bob.user_id
    assert (bob.claims["amr"], bob.login_id) == (["email"], "bob@example.com")


def test_single_way_is_a_claim_of_one(emulator: DescopeEmulator) -> None:
    """A text is not taken for a sequence of letters."""
    assert emulator.sign_in("ann@example.com", amr="sms").claims["amr"] == ["sms"]


def test_tokens_are_ready_to_send(ann: Tokens) -> None:
    """The session goes into a header or into cookies, and into no `repr`."""
    assert ann.headers == {"Authorization": f"Bearer {ann.session_token}"}
    assert ann.cookies == {"DS": ann.session_token, "DSR": ann.refresh_token}
    assert ann.cookie_headers == {
        "Cookie": f"DS={ann.session_token}; DSR={ann.refresh_token}",
        "Sec-Fetch-Site": "same-origin",
    }
    assert repr(ann) == f"Tokens(user_id={ann.user_id!r})"


def test_sessions_of_one_moment_have_their_own_refresh_tokens(emulator: DescopeEmulator) -> None:
    """Two sign-ins in one second are two sessions."""
    first, second = emulator.sign_in("ann@example.com"), emulator.sign_in("ann@example.com")
    assert first.refresh_token != second.refresh_token


def test_many_sessions_of_one_moment_cost_one_signature_each(
    emulator: DescopeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred sign-ins of a user in one second sign two hundred tokens, all different."""
    signed: list[str] = []

    def sign(*parts: Any) -> str:
        signed.append(compact_jws(*parts))
        return signed[-1]

    monkeypatch.setattr(sessions, "compact_jws", sign)
    tokens = {emulator.sign_in("ann@example.com").refresh_token for _ in range(100)}
    assert (len(tokens), len(signed)) == (100, 200)


def test_frozen_time_freezes_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default clock is `time.time` at the moment of the call."""
    emulator = DescopeEmulator()
    monkeypatch.setattr("time.time", lambda: 1_900_000_000.5)
    assert emulator.sign_in("ann@example.com").claims["iat"] == 1_900_000_000


def test_old_session_is_old_and_not_expired(emulator: DescopeEmulator, clock: Clock) -> None:
    """`age` moves `iat` back and leaves the whole lifetime, however old the session."""
    ann = emulator.step_up("ann@example.com", age=3600)
    assert (clock.now - 3600, clock.now + 600) == (ann.claims["iat"], ann.claims["exp"])


@pytest.mark.parametrize(("expires_in", "age"), [(60, 0), (0, 0), (-60, 60)])
def test_expiry_can_be_chosen(
    emulator: DescopeEmulator, clock: Clock, expires_in: int, age: int
) -> None:
    """`expires_in` counts from the present; an expired token was issued before it expired."""
    ann = emulator.sign_in("ann@example.com", expires_in=expires_in)
    assert (clock.now - age, clock.now + expires_in) == (ann.claims["iat"], ann.claims["exp"])


def test_token_is_a_good_session_by_default(caller: Caller, emulator: DescopeEmulator) -> None:
    """Without arguments it is a session of an unknown user, the same each time."""
    parsed = caller.post("validate", token=emulator.token()).json()["parsedJWT"]
    assert {"amr", "drn", "exp", "iat", "iss", "sub"} == parsed.keys()
    assert emulator.token() == emulator.token()


def test_claims_are_replaced_removed_and_nulled(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """`REMOVE` leaves a claim out, None is JSON null."""
    token = emulator.token(sub=ann.user_id, su="true", amr=REMOVE, name=None)
    parsed = caller.post("validate", token=token).json()["parsedJWT"]
    assert (ann.user_id, "true", None) == (parsed["sub"], parsed["su"], parsed["name"])
    assert "amr" not in parsed


def test_issuer_is_configurable(clock: Clock) -> None:
    """A custom domain or a JWT template changes `iss`."""
    issuer = "https://auth.example.com/P2"
    emulator = DescopeEmulator("P2", issuer=issuer, clock=clock)
    assert (issuer, issuer) == (emulator.issuer, emulator.sign_in("ann").claims["iss"])


def test_bearer_begins_with_the_project_id(caller: Caller, emulator: DescopeEmulator) -> None:
    """Another project, another scheme and no bearer are refused; any case of the scheme does."""
    for authorization in ("", "Bearer P2other", f"Basic {emulator.project_id}", "Bearer"):
        refused = caller.client.post(
            "/v1/auth/refresh", headers={"Authorization": authorization}, json={}
        )
        assert error_of(refused) == (401, "E011004")
    taken = caller.client.post(
        "/v1/auth/otp/signin/email",
        headers={"Authorization": f"bearer {emulator.project_id}"},
        json={"loginId": "ann@example.com"},
    )
    assert taken.status_code == 200


def test_auth_management_key_in_the_bearer_is_no_token(caller: Caller, ann: Tokens) -> None:
    """The third part of the bearer, or the second when there is no JWT, is not looked at."""
    assert caller.me(f"{ann.refresh_token}:K2key").status_code == 200
    assert error_of(caller.me("K2key")) == (401, "E061005")


@pytest.mark.parametrize(
    ("body", "code"), [(b"{", "E011001"), (b"\xff", "E011001"), (b"[]", "E011003")]
)
def test_body_must_be_a_json_object(caller: Caller, body: bytes, code: str) -> None:
    """Anything else is malformed."""
    refused = caller.client.post("/v1/auth/refresh", content=body, headers=caller.headers())
    assert error_of(refused) == (400, code)


def test_empty_body_is_an_empty_object(caller: Caller, ann: Tokens) -> None:
    """The Go SDK sends nothing with a refresh."""
    refreshed = caller.client.post("/v1/auth/refresh", headers=caller.headers(ann.refresh_token))
    assert refreshed.status_code == 200


def test_doubled_slashes_are_one(caller: Caller, emulator: DescopeEmulator) -> None:
    """A base URL with a trailing slash works with the Python SDK."""
    assert caller.client.get(f"http://testserver//v2//keys/{emulator.project_id}").is_success
    assert emulator.requests[-1].path == f"/v2/keys/{emulator.project_id}"


def test_unknown_paths_and_methods_are_answered_in_json(caller: Caller) -> None:
    """The Node SDK cannot read anything else."""
    assert error_of(caller.client.get("/v1/auth/nothing")) == (404, "E011001")
    refused = caller.client.get("/v1/auth/refresh")
    assert error_of(refused) == (405, "E011001")
    assert refused.headers["allow"] == "POST"


def test_requests_are_kept(caller: Caller, emulator: DescopeEmulator) -> None:
    """Received requests can be read, and their contents are not in a `repr`."""
    caller.client.post("/v1/auth/refresh?a=1", headers=caller.headers("x.y.z"), json={"b": 2})
    caller.client.get("/v1/auth/me")
    first, second = emulator.requests
    assert (first.method, first.path, first.query) == ("POST", "/v1/auth/refresh", "a=1")
    assert (f"Bearer {emulator.project_id}:x.y.z", {"b": 2}) == (
        first.headers["authorization"],
        first.json,
    )
    assert repr(first) == "ReceivedRequest(method='POST', path='/v1/auth/refresh')"
    assert second.json is None


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "E010009"), (502, "E010009"), (429, "E130429"), (401, "E061005"), (418, "E011001")],
)
def test_requests_fail_on_demand(
    caller: Caller, emulator: DescopeEmulator, status: int, code: str
) -> None:
    """The given number of requests fails, and the next one is served."""
    emulator.fail(status, times=2, retry_after=7)
    for _ in range(2):
        refused = caller.start()
        assert error_of(refused) == (status, code)
        assert refused.headers["retry-after"] == "7"
    assert caller.start().status_code == 200
    assert len(emulator.outbox) == 1


def test_one_endpoint_fails_on_demand(caller: Caller, emulator: DescopeEmulator) -> None:
    """Only requests below the path fail, in the order of the calls, with what was asked for."""
    emulator.fail(400, path="/v1/auth/otp", code="E112233")
    emulator.fail(200, path="/v1/auth/otp", body=b"<html>")
    assert caller.client.get(f"/v2/keys/{emulator.project_id}").status_code == 200
    assert error_of(caller.start()) == (400, "E112233")
    assert caller.start().content == b"<html>"
    assert caller.start().status_code == 200


def test_sessions_are_tampered_with_on_demand(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """The next sessions to leave by HTTP carry the claims asked for; Python calls are spared."""
    emulator.tamper(2, sub="U2", exp=REMOVE)
    caller.start()
    reply = caller.verify(emulator.outbox[-1].code).json()
    assert reply["sessionExpiration"] == 0
    assert emulator.sign_in("ann@example.com").claims["sub"] == ann.user_id
    subjects = [
        _claims(caller.post("refresh", token=ann.refresh_token).json())["sub"] for _ in range(2)
    ]
    assert subjects == ["U2", ann.user_id]
    assert _claims(reply)["sub"] == "U2"


def _claims(reply: dict[str, Any]) -> dict[str, object]:
    return Tokens(reply["sessionJwt"], "", "", "").claims


def test_reset_forgets_all_but_the_keys(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """Users, sessions, messages, requests, failures and tampering go."""
    caller.start()
    emulator.fail(500)
    emulator.tamper(su=True)
    key = emulator.signing_key
    emulator.reset()
    assert ([], [], key) == (emulator.outbox, emulator.requests, emulator.signing_key)
    assert error_of(caller.start()) == (400, "E062108")
    assert error_of(caller.me(ann.refresh_token)) == (401, "E061005")


def test_mounted_emulator_is_the_same(emulator: DescopeEmulator) -> None:
    """An app may mount it below a prefix, admin API included."""
    client = TestClient(Starlette(routes=[Mount("/descope", app=emulator)]))
    assert client.get(f"/descope/v2/keys/{emulator.project_id}").is_success
    assert emulator.requests[-1].path == f"/v2/keys/{emulator.project_id}"
    assert client.get("/descope/_emulator/project").is_success


def test_lifespan_is_answered(emulator: DescopeEmulator) -> None:
    """A server that insists on the lifespan protocol gets it."""
    with TestClient(emulator) as client:
        assert client.get(f"/v2/keys/{emulator.project_id}").is_success


def test_emulator_serves_threads_and_loops_at_once(emulator: DescopeEmulator) -> None:
    """Nothing in it is bound to an event loop or a thread."""
    all_started = threading.Barrier(4)

    async def fetch(login_id: str) -> None:
        await asyncio.to_thread(all_started.wait)
        async with httpx.AsyncClient(transport=emulator.transport) as client:
            for _ in range(5):
                await client.post(
                    "https://api.descope.com/v1/auth/otp/signup-in/email",
                    json={"loginId": login_id},
                    headers={"Authorization": f"Bearer {emulator.project_id}"},
                )

    # Thread ids are reused, and ten messages are the limit of a user: each loop has its own user.
    threads = [
        threading.Thread(target=asyncio.run, args=(fetch(f"user-{number}@example.com"),))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(emulator.outbox) == 20


def test_forked_process_uses_the_emulator(emulator: DescopeEmulator) -> None:
    """The child of a fork has locks of its own, whichever thread held the parent's."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with emulator._project.lock, emulator._request_log._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    python_api._after_fork_in_child()
    emulator.sign_in("ann@example.com")
    assert TestClient(emulator).get(f"/v2/keys/{emulator.project_id}").is_success
    done.set()
    thread.join()


def test_attached_guard_trusts_the_emulator(ann: Tokens) -> None:
    """The guard fetches the emulator's keys while it is attached, and its own before and after."""
    unreachable = httpx.MockTransport(lambda request: httpx.Response(500))
    guard = StepUpGuard.for_descope("P2test", transport=unreachable)
    with DescopeEmulator("P2test").attach(guard) as descope:
        bob = descope.sign_in("bob@example.com")
        assert asyncio.run(guard.verify(bob.session_token)).subject == bob.user_id
        assert [f"/v2/keys/{guard.project_id}"] == [request.path for request in descope.requests]
    with pytest.raises(errors.KeysUnavailable):
        asyncio.run(guard.verify(bob.session_token))


def test_guard_of_another_project_is_not_attached(emulator: DescopeEmulator) -> None:
    """It would refuse every token, so the mistake is named at once."""
    guard = StepUpGuard.for_descope("P2other")
    attached = emulator.attach(guard)
    with pytest.raises(ValueError, match=r"DescopeEmulator\(project_id=guard.project_id\)"):
        attached.__enter__()
