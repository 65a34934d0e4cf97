"""Magic links and enchanted links, and changes of address by all three methods that send."""

import httpx2
import pytest

from fastapi_stepup.testing import DescopeEmulator, Tokens
from fastapi_stepup.testing.emulator.links import with_query
from tests.testing.conftest import Caller, Clock, error_of

ANN = "ann@example.com"
PAGE = "https://shop.example/welcome?next=cart#top"
METHODS = ["magiclink", "enchantedlink"]


def start(
    caller: Caller,
    method: str,
    delivery: str = "email",
    *,
    action: str = "signin",
    login_id: str = ANN,
    token: str = "",
    **options: object,
) -> httpx2.Response:
    """Ask for a link."""
    body = {"loginId": login_id, "URI": PAGE, "loginOptions": options}
    return caller.post(f"{method}/{action}/{delivery}", body, token=token)


def verify(caller: Caller, method: str, token: str | None = None) -> httpx2.Response:
    """Send a link's token back, by default the latest."""
    sent = caller.emulator.outbox[-1].token if token is None else token
    return caller.post(f"{method}/verify", {"token": sent})


def collect(caller: Caller, reference: str) -> httpx2.Response:
    """Poll for the session of an enchanted link."""
    return caller.post("enchantedlink/pending-session", {"pendingRef": reference})


@pytest.mark.parametrize(
    ("delivery", "amr"), [("email", "email"), ("sms", "sms"), ("whatsapp", "whatsapp")]
)
def test_magic_link_steps_up(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, delivery: str, amr: str
) -> None:
    """The reply masks where the link went, and its token gives the session."""
    started = start(caller, "magiclink", delivery, token=ann.refresh_token, stepup=True)
    email, phone = {"maskedEmail": "a**@example.com"}, {"maskedPhone": "+1********12"}
    assert started.json() == (email if delivery == "email" else phone)
    sent = emulator.outbox[-1]
    assert (True, "", delivery) == (sent.step_up, sent.code, sent.delivery)
    assert sent.link == f"https://shop.example/welcome?next=cart&t={sent.token}#top"
    claims = caller.claims(verify(caller, "magiclink").json()["sessionJwt"])
    assert claims["su"] is True
    assert claims["amr"] == (["email"] if amr == "email" else ["email", amr, "mfa"])


@pytest.mark.parametrize(("delivery", "amr"), [("email", "email"), ("sms", "sms")])
def test_enchanted_link_steps_up(caller: Caller, ann: Tokens, delivery: str, amr: str) -> None:
    """It is pending until the link is clicked; then it is collected, once."""
    started = start(caller, "enchantedlink", delivery, token=ann.refresh_token, stepup=True).json()
    reference = started["pendingRef"]
    masked = "maskedEmail" if delivery == "email" else "maskedPhone"
    assert {"pendingRef", "linkId", masked} == started.keys()
    assert error_of(collect(caller, reference)) == (401, "E062503")
    assert verify(caller, "enchantedlink").json() == {}
    claims = caller.claims(collect(caller, reference).json()["sessionJwt"])
    assert claims["su"] is True
    assert claims["amr"] == (["email"] if amr == "email" else ["email", amr, "mfa"])
    assert error_of(collect(caller, reference)) == (401, "E062504")


@pytest.mark.parametrize("method", METHODS)
def test_link_works_once(caller: Caller, method: str) -> None:
    """A link that was clicked, and a token that was never sent, are expired."""
    start(caller, method)
    assert verify(caller, method).status_code == 200
    assert error_of(verify(caller, method)) == (401, "E062504")
    assert error_of(verify(caller, method, "0" * 64)) == (401, "E062504")


@pytest.mark.parametrize("method", METHODS)
def test_link_expires(caller: Caller, emulator: DescopeEmulator, clock: Clock, method: str) -> None:
    """A link is good until its lifetime is over."""
    start(caller, method)
    clock.now += emulator.code_lifetime
    assert error_of(verify(caller, method)) == (401, "E062504")


def test_pending_sign_in_expires(caller: Caller, emulator: DescopeEmulator, clock: Clock) -> None:
    """An expired reference and an unknown one are refused."""
    reference = start(caller, "enchantedlink").json()["pendingRef"]
    clock.now += emulator.code_lifetime
    assert error_of(collect(caller, reference)) == (401, "E062504")
    assert error_of(collect(caller, "0" * 64)) == (401, "E062504")


def test_link_is_of_its_method(caller: Caller) -> None:
    """A magic link's token completes no enchanted link, and vice versa."""
    start(caller, "magiclink")
    assert error_of(verify(caller, "enchantedlink")) == (401, "E062504")
    start(caller, "enchantedlink")
    assert error_of(verify(caller, "magiclink")) == (401, "E062504")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("action", ["signup", "signup-in"])
def test_sign_up_by_link(
    caller: Caller, emulator: DescopeEmulator, method: str, action: str
) -> None:
    """A new login id becomes a user, and the click confirms the address."""
    assert start(caller, method, action=action, login_id="bob@example.com").status_code == 200
    verify(caller, method)
    assert emulator.user("bob@example.com").verified_email


@pytest.mark.parametrize("method", METHODS)
def test_delivery_methods_of_links(caller: Caller, method: str) -> None:
    """Links are not read out in calls."""
    assert error_of(start(caller, method, "voice")) == (404, "E011001")
    assert caller.emulator.outbox == []


def test_link_without_a_page_leads_to_the_projects(caller: Caller) -> None:
    """The page is a setting of the project when the request names none."""
    caller.post("magiclink/signin/email", {"loginId": ANN})
    sent = caller.emulator.outbox[-1]
    assert sent.link == f"http://localhost:3000/verify?t={sent.token}"
    assert sent.token not in repr(sent)


@pytest.mark.parametrize("method", ["otp", *METHODS])
def test_changed_address_is_confirmed(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, method: str
) -> None:
    """The new address takes effect when what was sent to it came back, as a login id if asked."""
    user = emulator.user(ANN)
    body = {"loginId": ANN, "email": "new@example.com", "addToLoginIDs": True}
    started = caller.post(f"{method}/update/email", body, token=ann.refresh_token).json()
    assert started["maskedEmail"] == "n**@example.com"
    assert (user.email, emulator.outbox[-1].to) == (ANN, "new@example.com")
    if method == "otp":
        caller.verify(emulator.outbox[-1].code)
    else:
        verify(caller, method)
    assert (user.email, user.verified_email) == ("new@example.com", True)
    assert emulator.user("new@example.com") is user


@pytest.mark.parametrize("path", ["otp/update/phone/voice", "magiclink/update/phone"])
def test_changed_number_is_confirmed(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens, path: str
) -> None:
    """The delivery method of a number is in the path; without one it is a text message."""
    body = {"loginId": ANN, "phone": "+15550100099"}
    caller.post(path, body, token=ann.refresh_token)
    sent = emulator.outbox[-1]
    assert sent.to == "+15550100099"
    if sent.code:
        assert sent.delivery == "voice"
        caller.verify(sent.code, delivery="voice")
    else:
        assert sent.delivery == "sms"
        verify(caller, "magiclink")
    assert emulator.user(ANN).phone == "+15550100099"
    with pytest.raises(LookupError):
        emulator.user("+15550100099")


def test_change_with_mfa_joins_the_factors(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """The Python SDK sends `mfa` beside the login id."""
    body = {"loginId": ANN, "phone": "+15550100099", "mfa": True}
    caller.post("otp/update/phone/sms", body, token=ann.refresh_token)
    reply = caller.verify(emulator.outbox[-1].code, delivery="sms").json()
    assert caller.claims(reply["sessionJwt"])["amr"] == ["email", "sms", "mfa"]


def test_login_id_of_another_user_is_not_taken_over(
    caller: Caller, emulator: DescopeEmulator, ann: Tokens
) -> None:
    """Another user's login id stays theirs."""
    bob = emulator.create_user("bob@example.com")
    body = {"loginId": ANN, "email": "bob@example.com", "addToLoginIDs": True}
    caller.post("otp/update/email", body, token=ann.refresh_token)
    assert error_of(caller.verify(emulator.outbox[-1].code)) == (400, "E062107")
    assert emulator.user("bob@example.com") is bob
    assert emulator.user(ANN).email == ANN


def test_query_is_added_to_any_address() -> None:
    """Parameters that are there stay."""
    assert with_query("https://a.example", t="1") == "https://a.example?t=1"
    assert with_query("app://open?x=&y=2", t="a b") == "app://open?x=&y=2&t=a+b"
