"""`inspect`: what a token is worth, check by check."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from fastapi_stepup import StepUpGuard, StepUpPolicy
from fastapi_stepup.cli import inspect as inspecting
from fastapi_stepup.cli.inspect import CHECKS, inspect_token, policy_from
from fastapi_stepup.cli.main import app
from fastapi_stepup.cli.output import Report
from fastapi_stepup.errors import ConfigurationError, RejectReason
from fastapi_stepup.testing import REMOVE, DescopeEmulator

ANN = "ann@example.com"


def tampered(token: str) -> str:
    """Return *token* with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


REJECTED: dict[RejectReason, Callable[[DescopeEmulator], str]] = {
    RejectReason.MALFORMED: lambda _: "no token",
    RejectReason.TOO_LARGE: lambda _: "a" * 20_000,
    RejectReason.HEADER: lambda descope: descope.token(header={"crit": ["exp"]}),
    RejectReason.ALGORITHM: lambda descope: descope.token(header={"alg": "RS512"}),
    RejectReason.TYPE: lambda descope: descope.token(header={"typ": "at+jwt"}),
    RejectReason.KEY_ID: lambda descope: descope.token(header={"kid": REMOVE}),
    RejectReason.UNKNOWN_KEY: lambda descope: descope.token(header={"kid": "another"}),
    RejectReason.SIGNATURE: lambda descope: tampered(descope.token()),
    RejectReason.CLAIM_MISSING: lambda descope: descope.token(exp=REMOVE),
    RejectReason.CLAIM_INVALID: lambda descope: descope.token(iat="1"),
    RejectReason.EXPIRED: lambda descope: descope.token(iat=1, exp=2),
    RejectReason.NOT_YET_VALID: lambda descope: descope.token(iat=2e9 + 1, exp=2e9 + 600),
    RejectReason.LIFETIME: lambda descope: descope.token(exp=time.time() + 10 * 86400),
    RejectReason.ISSUER: lambda descope: descope.token(iss="elsewhere"),
    RejectReason.AUDIENCE: lambda descope: descope.token(aud="elsewhere"),
    RejectReason.SUBJECT: lambda descope: descope.token(sub=""),
    RejectReason.NOT_A_SESSION: lambda descope: descope.token(drn="DSR"),
    RejectReason.SENDER_CONSTRAINED: lambda descope: descope.token(cnf={}),
    RejectReason.REVOKED: lambda descope: descope.token(sub="U2revoked"),
}


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard that has every check to make."""
    return StepUpGuard.for_descope(
        "P2abcdefghijklmnopqrstuvwxyz",
        max_lifetime="1d",
        is_revoked=lambda claims: claims.subject == "U2revoked",
    )


def outcomes(report: Report) -> dict[str, str]:
    """Return the outcome of each check."""
    (table,) = [section for section in report.sections if section.title == "Checks"]
    return {row.cells[0]: row.cells[1] for row in table.rows}


def test_every_reason_is_explained() -> None:
    """Each reason belongs to one check, and each check says what to do."""
    reasons = [reason for _, reasons, _ in CHECKS for reason in reasons]

    assert sorted(reasons) == sorted(RejectReason)
    assert all(advice.endswith(".") for _, _, advice in CHECKS)
    assert set(REJECTED) == set(RejectReason)


def test_rejected_token_names_the_check_that_failed(
    guard: StepUpGuard, descope: DescopeEmulator, subtests: pytest.Subtests
) -> None:
    """Checks before it passed, those after it were not reached, and the last line says the fix."""
    for reason in RejectReason:
        with subtests.test(reason=reason):
            report = inspect_token(REJECTED[reason](descope), guard=guard)

            (failed,) = [name for name, reasons, _ in CHECKS if reason in reasons]
            (advice,) = [advice for _, reasons, advice in CHECKS if reason in reasons]
            names = [name for name, _, _ in CHECKS]
            position = names.index(failed)
            assert outcomes(report) == (
                dict.fromkeys(names[:position], "passed")
                | {failed: f"failed: {reason}"}
                | dict.fromkeys(names[position + 1 :], "not reached")
            )
            assert report.summary == f"Rejected ({reason}). {advice}"
            assert report.found
            assert (report.data["verified"], report.data["reason"]) == (False, reason)


def test_good_token_passes_every_check_and_says_how_long(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """A stepped-up session meets what it meets until the step-up is too old or the token ends."""
    now = time.time()
    token = descope.step_up(ANN, amr=("email", "mfa"), age=60).session_token

    report = inspect_token(
        token,
        guard=guard,
        policies=("max_age=5m", "max_age=2h", "amr=webauthn,totp"),
        clock=lambda: now,
    )

    assert set(outcomes(report).values()) == {"passed"}
    assert not report.found
    recent, long, by_passkey = report.data["policies"]
    assert recent["met"]
    assert recent["until"] == pytest.approx(now - 60 + 300, abs=2)
    assert long["met"]
    assert recent["until"] < long["until"] < now + 3600
    assert by_passkey == {
        "policy": "amr=webauthn,totp",
        "met": False,
        "unmet": ["amr missing"],
        "until": None,
    }


def test_session_without_policies_is_asked_for_any_step_up(
    guard: StepUpGuard, descope: DescopeEmulator
) -> None:
    """The usual question is whether the session is stepped up."""
    report = inspect_token(descope.sign_in(ANN).session_token, guard=guard)

    assert [policy["unmet"] for policy in report.data["policies"]] == [["step_up missing"]]


def test_without_a_project_nothing_is_verified(
    monkeypatch: pytest.MonkeyPatch, descope: DescopeEmulator
) -> None:
    """Header, claims and times are shown as they stand, and the last line says what is missing."""
    monkeypatch.delenv("DESCOPE_PROJECT_ID", raising=False)
    result = CliRunner().invoke(app, ["inspect", "-"], input=descope.token())

    assert result.exit_code == 0
    assert "Checks" not in result.output
    assert "RS256" in result.output
    assert "from now" in result.output
    assert "give --project-id" in result.output


def test_unreachable_keys_say_nothing_about_the_token(descope: DescopeEmulator) -> None:
    """An outage is no reason: the report says so and points to `check`."""
    guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", transport=descope.transport)
    descope.fail(503, times=9)

    report = inspect_token(descope.token(), guard=guard)

    assert report.data["verified"] is None
    assert report.data["reason"] == "keys_unavailable"
    assert "fastapi-stepup check" in report.summary


@pytest.mark.parametrize("as_json", [False, True])
def test_values_of_claims_are_not_shown(
    as_json: bool,  # noqa: FBT001  # a parameter of the test
    capsys: pytest.CaptureFixture[str],
    descope: DescopeEmulator,
) -> None:
    """Neither token, subject, address nor a claim's text is in the output, in no notation."""
    user = descope.create_user(ANN)
    claims: dict[str, Any] = {"email": ANN, "roles": ["boss of all"], ANN: 1}
    claims |= {"phone_number": 15551234567, "login_count": 987654.25}
    token = descope.token(sub=user.user_id, tenants={"T2secret": {}}, **claims)
    options = ["inspect", "-", *(["--json"] if as_json else [])]
    output = CliRunner().invoke(app, options, input=token, env={"DESCOPE_PROJECT_ID": ""}).output

    for secret in (
        *token.split("."),
        ANN,
        "boss",
        "T2secret",
        "15551234567",
        "987654",
        user.user_id,
    ):
        assert secret not in output
    shown = CliRunner().invoke(
        app, [*options, "--show-claims"], input=token, env={"DESCOPE_PROJECT_ID": ""}
    )
    assert "boss of all" in shown.output
    assert token.rpartition(".")[2] not in shown.output


def test_control_characters_do_not_reach_the_terminal(descope: DescopeEmulator) -> None:
    """A hostile token cannot steer the terminal of an operator who looks at it."""
    token = descope.token(note="\x1b]0;owned\x07\x9b31m")

    output = (
        CliRunner()
        .invoke(app, ["inspect", "-", "--show-claims"], input=token, env={"DESCOPE_PROJECT_ID": ""})
        .output
    )

    assert not {"\x1b", "\x07", "\x9b"} & set(output)


def test_token_as_an_argument_is_refused(descope: DescopeEmulator) -> None:
    """It would stay in the shell's history; the message does not repeat it."""
    token = descope.token()

    result = CliRunner().invoke(app, ["inspect", token])

    assert result.exit_code == 2
    assert "standard input" in result.output
    assert token[:20] not in result.output


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", StepUpPolicy()),
        ("max_age=5m", StepUpPolicy(max_age=300)),
        ("amr=webauthn,totp max_age=90", StepUpPolicy(max_age=90, amr=["webauthn", "totp"])),
        ("acr=urn:x", StepUpPolicy(acr=["urn:x"])),
    ],
)
def test_policy_is_written_in_words(text: str, policy: StepUpPolicy) -> None:
    """`max_age`, `amr` and `acr`, in any order, with commas between values."""
    assert policy_from(text) == policy


@pytest.mark.parametrize("text", ["max_age", "age=5m", "max_age=5 minutes", "max_age=90s,1m"])
def test_policy_that_is_none_is_refused(text: str) -> None:
    """The message shows the notation, or what is wrong with the value."""
    with pytest.raises(ConfigurationError):
        policy_from(text)
    assert CliRunner().invoke(app, ["inspect", "--policy", text], input="x").exit_code == 2


def test_json_is_one_object(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """A program reads the outcome from standard output."""
    result = CliRunner().invoke(
        app, ["inspect", "--json"], input="no token", env={"DESCOPE_PROJECT_ID": ""}
    )

    parsed: dict[str, Any] = json.loads(result.output)
    assert parsed == {"verified": None, "reason": None, "header": {}, "claims": {}}


def test_age_counts_from_auth_time(guard: StepUpGuard, descope: DescopeEmulator) -> None:
    """As the policy counts it: a proof may be older than the token that tells of it."""
    now = int(time.time())
    token = descope.token(su=True, iat=now - 10, auth_time=now - 200)

    report = inspect_token(token, guard=guard, policies=("max_age=5m",))

    assert report.data["policies"][0]["until"] == now + 100


@pytest.mark.parametrize("found", [False, True])
def test_exit_status_says_whether_the_token_is_good(
    found: bool,  # noqa: FBT001  # a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script can ask: 0 for a token that passes, 1 for one that does not."""
    report = Report((), {}, found=found)
    monkeypatch.setattr(inspecting, "inspect_token", lambda *_, **__: report)

    assert CliRunner().invoke(app, ["inspect"], input="x").exit_code == int(found)


def test_time_that_is_none_is_said(descope: DescopeEmulator) -> None:
    """A hostile number ends no command."""
    result = CliRunner().invoke(
        app, ["inspect"], input=descope.token(exp=1e300), env={"DESCOPE_PROJECT_ID": ""}
    )

    assert result.exit_code == 0
    assert "no time" in result.output
