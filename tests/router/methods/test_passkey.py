"""Passkeys: the page's origin, and answers that do not fit."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import SoftwarePasskey
from tests.support.step_up_methods import ORIGIN, Person, refusal_of, signed_in

EVIL = "evil.example"


def test_passkey_is_only_asked_for_on_pages_of_the_app(
    ann: Person, subtests: pytest.Subtests
) -> None:
    """Its origin is the `Origin` field, and that must be the app's own or an allowed one."""
    rows: dict[str, dict[str, str]] = {
        "none": {},
        "null": {"Origin": "null"},
        "foreign": {"Origin": f"https://{EVIL}"},
        "suffix": {"Origin": f"{ORIGIN}.{EVIL}"},
        "scheme": {"Origin": "http://testserver"},
        "port": {"Origin": f"{ORIGIN}:8443"},
        "path": {"Origin": f"{ORIGIN}/"},
        "two-in-one": {"Origin": f"{ORIGIN}, https://{EVIL}"},
        "foreign-host": {"Origin": ORIGIN, "Host": EVIL},
        "fetch-metadata-alone": {"Sec-Fetch-Site": "same-origin"},
    }
    for name, headers in rows.items():
        with subtests.test(name):
            ann.descope.requests.clear()
            response = ann.client.post(
                "/step-up/passkey/start",
                headers=ann.tokens.headers | headers,
                json={"refresh_token": ann.tokens.refresh_token},
            )

            assert refusal_of(response) == (403, "cross_site_request")
            assert ann.asked_of_descope() == []


def test_two_origins_are_no_origin(ann: Person) -> None:
    """Which of them Descope should be told, nobody can say."""
    fields = [*ann.tokens.headers.items(), ("Origin", ORIGIN), ("Origin", ORIGIN)]

    response = ann.client.post(
        "/step-up/passkey/start",
        headers=cast("Any", fields),
        json={"refresh_token": ann.tokens.refresh_token},
    )

    assert refusal_of(response) == (403, "cross_site_request")


def test_passkey_works_on_an_allowed_origin() -> None:
    """A front end on another host is named in `allowed_origins`, and its origin is passed on."""
    guard = StepUpGuard.for_descope(
        "P2abcdefghijklmnopqrstuvwxyz", allowed_origins=["https://shop.example"]
    )
    with signed_in(guard) as ann:
        ann.enrol_passkey()
        headers = ann.tokens.headers | {"Origin": "HTTPS://Shop.example"}
        body = {"refresh_token": ann.tokens.refresh_token}
        response = ann.client.post("/step-up/passkey/start", headers=headers, json=body)

        sent = [r.json for r in ann.descope.requests if r.path.endswith("signin/start")]
    assert response.json()["options"]["rpId"] == "shop.example"
    assert [cast("dict[str, Any]", body)["origin"] for body in sent] == ["https://shop.example"]


def phished(answer: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What a browser answers on a page of somebody else."""
    stranger = SoftwarePasskey(f"https://{EVIL}")
    rp = {"rp": {"id": EVIL}, "user": {"id": "AAAA"}, "challenge": options["challenge"]}
    stranger.create(rp)
    asked = {"challenge": options["challenge"], "rpId": EVIL}
    phished: dict[str, Any] = json.loads(stranger.get(asked))
    return phished | {"id": answer["id"], "rawId": answer["rawId"]}


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda a, s: a | {"id": "AAAA", "rawId": "AAAA"}, id="unknown-credential"),
        pytest.param(lambda a, s: {"id": a["id"]}, id="no-response"),
        pytest.param(lambda a, s: a | {"response": {}}, id="empty-response"),
        pytest.param(
            lambda a, s: a | {"response": a["response"] | {"signature": "AAAA"}}, id="signature"
        ),
        pytest.param(lambda a, s: {}, id="nothing"),
        pytest.param(phished, id="phished"),
    ],
)
def test_passkey_answer_that_does_not_fit_is_rejected(
    ann: Person, forge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
) -> None:
    """Only the real answer to this very challenge steps up."""
    started = ann.post("/passkey/start").json()
    answer = json.loads(ann.descope.passkey(ORIGIN).get(started["options"]))

    response = ann.post(
        "/passkey/finish",
        transaction_id=started["transaction_id"],
        response=forge(answer, started["options"]),
    )

    assert refusal_of(response) == (400, "passkey_rejected")


def test_passkey_answer_to_another_challenge_is_rejected(ann: Person) -> None:
    """An answer is for one transaction."""
    first, second = ann.post("/passkey/start").json(), ann.post("/passkey/start").json()
    answer = json.loads(ann.descope.passkey(ORIGIN).get(first["options"]))

    response = ann.post("/passkey/finish", transaction_id=second["transaction_id"], response=answer)

    assert refusal_of(response) == (400, "passkey_rejected")


def test_start_gives_options_for_the_browser(ann: Person) -> None:
    """As `PublicKeyCredential.parseRequestOptionsFromJSON` takes them."""
    started = ann.post("/passkey/start").json()

    assert set(started) == {"transaction_id", "options"}
    assert started["options"].keys() >= {"challenge", "rpId", "allowCredentials"}


def test_refusal_without_an_origin_says_what_to_do(ann: Person) -> None:
    """A program with a bearer has no page; advice to send a bearer would not help it."""
    response = ann.client.post(
        "/step-up/passkey/start",
        headers=ann.tokens.headers,
        json={"refresh_token": ann.tokens.refresh_token},
    )

    assert "Origin" in response.json()["detail"]
    assert "bearer" not in response.json()["detail"]
