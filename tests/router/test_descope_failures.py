"""Answers when Descope fails, refuses or makes no sense, in every step."""

import json
import re
from typing import Any

import pytest

from tests.support.step_up_methods import (
    ANN,
    BODIES,
    BY_NAME,
    MethodCase,
    Person,
    Rewriting,
    each_method,
    refusal_of,
)

ERROR = (502, "descope_error", None)
TROUBLE: list[Any] = [
    pytest.param({"status": 500}, (503, "descope_unavailable", "5"), id="OT-018-500"),
    pytest.param(
        {"status": 502, "body": b"<html>bad gateway"},
        (503, "descope_unavailable", "5"),
        id="OT-018-502",
    ),
    pytest.param(
        {"status": 503, "retry_after": 9}, (503, "descope_unavailable", "9"), id="OT-018-503"
    ),
    pytest.param({"status": 429, "retry_after": 17}, (429, "too_many_attempts", "17"), id="OT-019"),
    pytest.param(
        {"status": 429, "retry_after": 600}, (429, "too_many_attempts", "600"), id="OT-019-long"
    ),
    pytest.param(
        {"status": 429, "retry_after": 10**9},
        (429, "too_many_attempts", "3600"),
        id="OT-019-absurd",
    ),
    pytest.param({"status": 429}, (429, "too_many_attempts", "60"), id="OT-019-silent"),
    pytest.param({"status": 302}, ERROR, id="OT-021-302"),
    pytest.param({"status": 307}, ERROR, id="OT-021-307"),
    pytest.param({"status": 404}, ERROR, id="OT-018-404"),
    pytest.param({"status": 409}, ERROR, id="OT-018-409"),
    pytest.param({"status": 401, "body": b"<html>"}, ERROR, id="OT-018-401-html"),
    pytest.param({"status": 200, "body": b"[]"}, ERROR, id="OT-022-array"),
    pytest.param({"status": 200, "body": 300_000 * b" "}, ERROR, id="OT-022-huge"),
    pytest.param(
        {"status": 200, "body": b'{"sessionJwt":1,"maskedEmail":1,"userId":1}'},
        ERROR,
        id="OT-022-odd-types",
    ),
]


@pytest.mark.parametrize(
    ("failure", "answer", "at"),
    [
        *(pytest.param(*row.values, "/v1/auth/otp/verify", id=row.id) for row in TROUBLE),
        pytest.param(*TROUBLE[0].values, "/v1/auth/me", id="OT-018-me"),
        pytest.param(*TROUBLE[3].values, "/v1/auth/otp/signin", id="OT-019-signin"),
    ],
)
def test_trouble_at_descope(
    ann: Person, failure: dict[str, Any], answer: tuple[int, str, str | None], at: str
) -> None:
    """Down is 503, nonsense is 502; nothing is tried twice, and no session ends by it."""
    ann.post("/otp/start", delivery="email")
    code = ann.descope.outbox[-1].code
    ann.descope.requests.clear()
    ann.descope.fail(times=5, path=at, **failure)

    finishes = at.endswith("verify")
    path = "/otp/verify" if finishes else "/otp/start"
    response = ann.post(path, delivery="email", **({"code": code} if finishes else {}))

    assert (*refusal_of(response), response.headers.get("retry-after")) == answer
    assert "www-authenticate" not in response.headers
    assert len(ann.asked_of_descope(at)) == 1


@pytest.mark.parametrize(
    ("failure", "answer"), [TROUBLE[0].values, TROUBLE[3].values, TROUBLE[12].values]
)
@each_method
def test_trouble_is_answered_alike_by_every_method(
    ann: Person,
    case: MethodCase,
    failure: dict[str, Any],
    answer: tuple[int, str, str | None],
) -> None:
    """In start and finish."""
    proof = case.proof(ann)
    path = case.asks.rpartition("/")[0]
    for attempt in (case.begin, lambda person: person.post(case.finish, **proof)):
        ann.descope.requests.clear()
        ann.descope.fail(times=5, path=path, **failure)
        response = attempt(ann)
        ann.descope.fail(200, times=0)

        if response is not None:
            assert (*refusal_of(response), response.headers.get("retry-after")) == answer
            assert len(ann.asked_of_descope(path)) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500])
@pytest.mark.parametrize("name", ["otp-email", "magiclink-email", "oauth"])
def test_text_of_descope_is_never_echoed(ann: Person, name: str, status: int) -> None:
    """Not its code, not its description, not its message."""
    case = BY_NAME[name]
    told = {"errorCode": "E000000", "errorDescription": "told", "errorMessage": f"told {ANN}"}
    proof = case.proof(ann)
    ann.descope.fail(status, times=9, path="/v1/auth", body=json.dumps(told).encode())

    for response in filter(None, (case.begin(ann), ann.post(case.finish, **proof))):
        refusal_of(response)
        assert not re.search(f"told|E000000|{ANN}", f"{response.text} {response.headers}")


@pytest.mark.parametrize(
    ("path", "error", "status", "code"),
    [
        ("/otp/verify", "E061102", 400, "otp_rejected"),
        pytest.param("/otp/verify", "E061103", 400, "otp_exhausted", id="OT-009-used-up"),
        ("/otp/verify", "E061104", 400, "otp_expired"),
        ("/otp/verify", "E130429", 429, "too_many_attempts"),
        ("/otp/verify", "E062108", 400, "otp_rejected"),
        pytest.param("/otp/verify", "E064001", 401, "invalid_token", id="OT-041-logged-out"),
        ("/totp/verify", "E061102", 400, "otp_rejected"),
        ("/totp/verify", "E061103", 400, "otp_exhausted"),
        ("/totp/verify", "E061005", 401, "invalid_token"),
        ("/magiclink/verify", "E062504", 400, "link_rejected"),
        ("/magiclink/verify", "E061005", 400, "link_rejected"),
        ("/magiclink/verify", "E064001", 400, "link_rejected"),
        ("/enchantedlink/verify", "E062504", 400, "link_rejected"),
        ("/enchantedlink/poll", "E062504", 400, "link_rejected"),
        ("/enchantedlink/poll", "E130429", 429, "too_many_attempts"),
        ("/notp/poll", "E999999", 400, "link_rejected"),
        ("/passkey/finish", "E011004", 400, "passkey_rejected"),
        ("/oauth/callback", "E061301", 400, "provider_rejected"),
        ("/sso/callback", "E061301", 400, "provider_rejected"),
        ("/magiclink/start", "E032101", 429, "too_many_attempts"),
        ("/magiclink/start", "E061005", 401, "invalid_token"),
        ("/enchantedlink/start", "E033005", 429, "too_many_attempts"),
        ("/notp/start", "E064001", 401, "invalid_token"),
    ],
)
def test_error_codes_of_descope(ann: Person, path: str, error: str, status: int, code: str) -> None:
    """What is known of Descope's error codes becomes a code of ours."""
    kind = path.split("/")[1]
    part = {"passkey": "webauthn"}.get(kind, kind)
    ann.descope.fail(401, times=2, path=f"/v1/auth/{part}", code=error)

    response = ann.post(path, **BODIES[path])

    assert refusal_of(response) == (status, code)
    assert error not in response.text


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        pytest.param("oauth", "url", "javascript:alert(1)", id="oauth-script"),
        pytest.param("oauth", "url", "http://evil.example/", id="oauth-http"),
        pytest.param("oauth", "url", "https://a b/", id="oauth-space"),
        pytest.param("oauth", "url", "https://a\\b/", id="oauth-backslash"),
        pytest.param("oauth", "url", "https:///x", id="oauth-no-host"),
        pytest.param("oauth", "url", "https://[x/", id="oauth-not-a-url"),
        pytest.param("oauth", "url", "https://a/\ud800", id="oauth-surrogate"),
        pytest.param("sso", "url", "//evil.example", id="sso-relative"),
        pytest.param("sso", "url", None, id="sso-missing"),
        pytest.param("notp", "redirectUrl", "whatsapp://send", id="notp-scheme"),
        pytest.param("notp", "pendingRef", 7, id="notp-reference"),
        pytest.param("notp", "image", "\ud800", id="notp-surrogate"),
        pytest.param("enchantedlink", "pendingRef", "", id="enchanted-reference"),
        pytest.param("enchantedlink", "linkId", True, id="enchanted-link-id"),
        pytest.param("enchantedlink", "linkId", "\udfff", id="enchanted-surrogate"),
        pytest.param("enchantedlink", "maskedEmail", "a\nb*", id="enchanted-address"),
        pytest.param("passkey", "options", "{", id="passkey-options"),
        pytest.param("passkey", "options", '{"publicKey":[]}', id="passkey-array"),
        pytest.param("passkey", "options", '{"rpId":"\\ud800"}', id="passkey-surrogate"),
        pytest.param("passkey", "transactionId", None, id="passkey-transaction"),
        pytest.param("magiclink-email", "maskedEmail", 7, id="magic-address"),
        pytest.param("otp-email", "maskedEmail", "a**\ud800", id="otp-surrogate"),
    ],
)
def test_start_that_answers_nonsense_is_nonsense(
    ann: Person, name: str, member: str, value: object
) -> None:
    """No user is sent to a page that is none, or polls with nothing; no answer breaks off."""
    case = BY_NAME[name]
    path = case.asks.rpartition("/")[0]
    transport = Rewriting(ann.descope.transport, path, lambda body: body | {member: value})

    with ann.guard.on_transport(transport):
        response = case.begin(ann)

    assert response is not None
    assert refusal_of(response) == (502, "descope_error")


@pytest.mark.parametrize(
    ("rewrite", "member", "expected"),
    [
        pytest.param({"linkId": 42}, "link_id", "42", id="number"),
        pytest.param({"maskedEmail": "a@b.c"}, "destination", "***", id="not-masked"),
    ],
)
def test_odd_but_usable_answers_are_used(
    ann: Person, rewrite: dict[str, object], member: str, expected: str
) -> None:
    """A link id may be a number; an address that is not masked is hidden."""
    path = "/v1/auth/enchantedlink"
    transport = Rewriting(ann.descope.transport, path, lambda body: body | rewrite)
    with ann.guard.on_transport(transport):
        assert ann.post("/enchantedlink/start").json()[member] == expected


def test_picture_that_is_too_large_is_left_out(ann: Person) -> None:
    """The URL does, without its picture."""
    rewrite = {"image": 200_000 * "x"}
    transport = Rewriting(ann.descope.transport, "/v1/auth/notp", lambda body: body | rewrite)
    with ann.guard.on_transport(transport):
        assert ann.post("/notp/start").json()["image"] is None
