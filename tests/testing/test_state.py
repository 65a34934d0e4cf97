"""Users, keys and sessions that outlive the emulator: as values, and in the command's files."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fastapi_stepup.testing import DescopeEmulator, SoftwarePasskey, Tokens
from fastapi_stepup.testing.__main__ import main
from fastapi_stepup.testing.emulator.files import StateFile, seed
from tests.testing.conftest import Caller, Clock, error_of

ORIGIN = "https://shop.example"


def restarted(emulator: DescopeEmulator, clock: Clock) -> Caller:
    """Return a caller of another emulator with the state of *emulator*, kept as JSON."""
    state = json.loads(json.dumps(emulator.export_state()))
    other = DescopeEmulator(clock=clock)
    other.import_state(state)
    return Caller(other)


def test_tokens_stay_good(caller: Caller, ann: Tokens, clock: Clock) -> None:
    """Session tokens verify under the kept keys, refresh tokens give new ones."""
    caller.emulator.rotate_keys()
    bob = caller.emulator.sign_in("bob@example.com")
    later = restarted(caller.emulator, clock)
    assert later.emulator.kids == caller.emulator.kids
    assert len(later.emulator.kids) == 2
    for tokens in (ann, bob):
        assert later.claims(tokens.session_token)["sub"] == tokens.user_id
        assert later.me(tokens.refresh_token).json()["userId"] == tokens.user_id
    sessions = later.emulator.sessions
    assert [session.claims["sub"] for session in sessions] == [ann.user_id, bob.user_id]


def test_user_keeps_everything(emulator: DescopeEmulator, clock: Clock) -> None:
    """Every field of a user is as it was; the id too."""
    ann = emulator.user("ann@example.com")
    ann.name, ann.roles, ann.permissions = "Ann", ["admin"], ["refund"]
    ann.tenants = {"t1": {"roles": ["x"]}}
    ann.providers["google"] = True
    ann.password = "correct horse"
    ann.login_ids = ("ann@example.com", "ann")
    kept = restarted(emulator, clock).emulator.user("ann")
    assert kept.as_json() == ann.as_json()
    assert (kept.password, kept.user_id) == ("correct horse", ann.user_id)


def test_authenticators_stay_good(caller: Caller, ann: Tokens, clock: Clock) -> None:
    """A passkey and an authenticator app sign in after the restart; a used code does not."""
    passkey = SoftwarePasskey(ORIGIN)
    body = {"loginId": "ann@example.com", "origin": ORIGIN}
    start = caller.post("webauthn/update/start", body, token=ann.refresh_token).json()
    made = {"transactionId": start["transactionId"], "response": passkey.create(start["options"])}
    assert caller.post("webauthn/update/finish", made).status_code == 200
    code = {"loginId": "ann@example.com", "code": caller.emulator.totp_code("ann@example.com")}
    assert caller.post("totp/verify", code, token=ann.refresh_token).status_code == 200

    later = restarted(caller.emulator, clock)
    start = later.post("webauthn/signin/start", body).json()
    answer = {"transactionId": start["transactionId"], "response": passkey.get(start["options"])}
    assert later.post("webauthn/signin/finish", answer).status_code == 200
    assert not later.post("totp/verify", code, token=ann.refresh_token).is_success
    code["code"] = later.emulator.totp_code("ann@example.com")
    assert later.post("totp/verify", code, token=ann.refresh_token).status_code == 200


def test_sessions_that_ended_are_left_out(caller: Caller, ann: Tokens, clock: Clock) -> None:
    """Logged out stays logged out, and what was started must be started again."""
    caller.start()
    assert caller.post("logout", token=ann.refresh_token).is_success
    later = restarted(caller.emulator, clock)
    assert (later.emulator.sessions, later.emulator.outbox) == ([], [])
    assert error_of(later.me(ann.refresh_token))[0] == 401


def test_key_set_without_its_private_half_is_refused(emulator: DescopeEmulator) -> None:
    """A state that was cut or edited is a mistake that says so."""
    state = emulator.export_state()
    public = emulator.signing_key.public_pem.decode()
    changes: list[dict[str, Any]] = [
        {"keys": [{"kid": "SK1", "private": public}]},
        {"keys": [{"kid": "SK1"}]},
        {"users": [{"user_id": "U1"}]},
        {"sessions": [{}]},
    ]
    for change in changes:
        with pytest.raises(ValueError, match="cannot be read"):
            emulator.import_state(state | change)
    foreign: list[Any] = [[], state | {"project_id": "P2other"}]
    for value in foreign:
        with pytest.raises(ValueError, match="not one of this project"):
            emulator.import_state(value)


@pytest.mark.parametrize("kind", ["signing", "passkey"])
def test_key_of_another_kind_is_refused(caller: Caller, ann: Tokens, kind: str) -> None:
    """RSA signs tokens, and a passkey's key is on an elliptic curve."""
    elliptic = (
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
        "-----END PRIVATE KEY-----\n"
    )
    state: dict[str, Any] = caller.emulator.export_state()
    if kind == "signing":
        state["keys"][0]["private"] = elliptic
    else:
        passkey = {"credential_id": "c", "rp_id": "localhost", "sign_count": 0}
        rsa = caller.emulator.signing_key.public_pem.decode()
        state["users"][0]["passkeys"] = [passkey | {"public_key": rsa}]
    with pytest.raises(ValueError, match=r"RSA private key|elliptic curve"):
        caller.emulator.import_state(state)


def test_file_is_kept_and_private(tmp_path: Path, clock: Clock) -> None:
    """It is written after a request that changed something, and only then."""
    path = tmp_path / "state.json"
    emulator = DescopeEmulator(clock=clock)
    client = TestClient(StateFile(emulator, path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    client.get("/_emulator/project")
    assert path.read_text() == first
    client.post("/_emulator/sign-in", json={"login_id": "ann@example.com"})
    assert path.read_text() != first

    later = DescopeEmulator(clock=clock)
    StateFile(later, path)
    assert later.kids == emulator.kids
    assert [user.user_id for user in later.users] == [user.user_id for user in emulator.users]
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_seeded_users_are_there_once(tmp_path: Path, emulator: DescopeEmulator) -> None:
    """Those who exist stay as they are, so a seed and a state go together."""
    path = tmp_path / "seed.json"
    bob = {"login_id": "bob", "email": "bob@example.com", "roles": ["admin"]}
    path.write_text(json.dumps({"users": [{"login_id": "ann@example.com"}, bob]}))
    ann = emulator.user("ann@example.com")
    seed(emulator, path)
    seed(emulator, path)
    assert emulator.users == [ann, emulator.user("bob")]
    assert (ann.phone, emulator.user("bob").roles) == ("+15550100012", ["admin"])


def test_mistakes_in_files_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    """The command does not start, and names the file and the user."""
    rows: dict[str, tuple[str, str, str]] = {
        "no-json": ("--seed", "{", "seed.json: Expecting property name"),
        "list": ("--seed", "[]", 'the file must be {"users": [...]}'),
        "type": ("--seed", '{"users": [{"login_id": 1}]}', "user 1: The member"),
        "no-id": ("--seed", '{"users": [{}]}', "user 1: The body must"),
        "empty": ("--seed", '{"users": [{"login_id": ""}]}', "must not be empty"),
        "state-no-json": ("--state", "{", "state.json: Expecting property name"),
        "state-of-another": ("--state", "{}", "not one of this project"),
    }
    for name, (option, text, sentence) in rows.items():
        with subtests.test(name):
            path = tmp_path / f"{option[2:]}.json"
            path.write_text(text)
            assert main([option, str(path), "--port", "0"]) == 1
            assert sentence in capsys.readouterr().err


def test_missing_seed_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state may be new, a seed may not."""
    assert main(["--seed", str(tmp_path / "none.json"), "--port", "0"]) == 1
    assert "No such file" in capsys.readouterr().err
