"""Magic links, enchanted links, social and single sign-on: what leads through other pages."""

from typing import Any

import pytest

from tests.support.step_up_methods import (
    ANN,
    BOB,
    BODIES,
    BY_NAME,
    PAGES,
    PUBLIC,
    SAFE_HEADERS,
    Person,
    refusal_of,
)

LINKING = ["magiclink-email", "enchantedlink", "oauth", "sso"]


@pytest.mark.parametrize("asked", [None, *PAGES])
@pytest.mark.parametrize("name", LINKING)
def test_user_comes_back_to_a_configured_page(ann: Person, name: str, asked: str | None) -> None:
    """The first page is the default; each of them may be asked for."""
    case = BY_NAME[name]
    assert case.start is not None
    members = {**case.members, **({} if asked is None else {"redirect_uri": asked})}

    started = ann.post(case.start, **members)

    if "link" in name:
        link = ann.descope.outbox[-1].link
    else:
        link = ann.descope.social_login(started.json()["authorization_uri"], ANN)
    page = asked or PAGES[0]
    assert link.startswith(f"{page}{'&' if '?' in page else '?'}")


REDIRECTS = [
    pytest.param("//evil.example", id="OT-029-scheme-relative"),
    pytest.param("https:evil.example", id="OT-029-no-slashes"),
    pytest.param("/\\evil.example", id="OT-029-backslash"),
    pytest.param("javascript:alert(1)", id="OT-029-script"),
    pytest.param("%2f%2fevil.example", id="OT-029-encoded"),
    pytest.param("https://evil.example", id="OT-029-foreign"),
    pytest.param(f"{PAGES[0]}/", id="slash-more"),
    pytest.param(f"{PAGES[0]}?next=//evil.example", id="query-more"),
    pytest.param(f"{PAGES[0]}#x", id="fragment-more"),
    pytest.param(f"{PAGES[0]}.evil.example", id="suffix"),
    pytest.param("https://shop.example@evil.example/step-up", id="user-info"),
    pytest.param("https://SHOP.example/step-up", id="letter-case"),
    pytest.param("http://shop.example/step-up", id="scheme"),
    pytest.param("https://shop.example:443/step-up", id="port"),
    pytest.param(f" {PAGES[0]}", id="space"),
    pytest.param(f"{PAGES[0]}\n", id="newline"),
    pytest.param("", id="empty"),
]


@pytest.mark.parametrize("uri", REDIRECTS)
def test_only_configured_pages_are_led_back_to(ann: Person, uri: str) -> None:
    """The list is compared letter by letter, before anything is sent."""
    response = ann.post("/magiclink/start", delivery="email", redirect_uri=uri)

    assert refusal_of(response) == (422, "invalid_body")
    assert response.json()["errors"] == [{"field": "redirect_uri", "problem": "not_allowed"}]
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("uri", ["https://evil.example", 7, ["https://shop.example/step-up"]])
@pytest.mark.parametrize("name", LINKING)
def test_every_start_compares_the_page(ann: Person, name: str, uri: object) -> None:
    """And takes a text only."""
    case = BY_NAME[name]
    assert case.start is not None

    response = ann.post(case.start, **case.members, redirect_uri=uri)

    assert refusal_of(response) == (422, "invalid_body")
    assert ann.asked_of_descope() == []


@pytest.mark.parametrize("name", ["enchantedlink", "notp"])
def test_polling_is_202_until_it_is_done(ann: Person, name: str) -> None:
    """Pending is no error; afterwards the session is answered, once."""
    case = BY_NAME[name]
    started = case.begin(ann)
    assert started is not None
    pending = started.json()["pending_ref"]

    for _ in range(3):
        waiting = ann.post(case.finish, pending_ref=pending)
        assert (waiting.status_code, waiting.json()) == (202, {"status": "pending"})
        assert dict(waiting.headers).items() >= SAFE_HEADERS.items()
    case.prove(ann, started.json())

    assert ann.post(case.finish, pending_ref=pending).status_code == 200
    assert refusal_of(ann.post(case.finish, pending_ref=pending)) == (400, "link_rejected")


def test_enchanted_link_is_confirmed_without_a_session(ann: Person) -> None:
    """The device that opens the link needs none, and gets no token."""
    ann.post("/enchantedlink/start")
    token = ann.descope.outbox[-1].token

    first = ann.client.post(f"/step-up{PUBLIC}", json={"token": token})
    second = ann.client.post(f"/step-up{PUBLIC}", json={"token": token})

    assert (first.status_code, first.json()) == (200, {"status": "verified"})
    assert dict(first.headers).items() >= SAFE_HEADERS.items()
    assert "set-cookie" not in first.headers
    assert refusal_of(second) == (400, "link_rejected")


def test_unknown_used_and_expired_links_are_answered_alike(ann: Person) -> None:
    """The one route without a session does not say which links were sent."""
    ann.post("/enchantedlink/start")
    used = ann.descope.outbox[-1].token
    ann.client.post(f"/step-up{PUBLIC}", json={"token": used})

    replies = [
        ann.client.post(f"/step-up{PUBLIC}", json={"token": token})
        for token in (used, "unknown", used[::-1], 2000 * "x")
    ]

    assert {refusal_of(reply) for reply in replies} == {(400, "link_rejected")}
    assert len({reply.content for reply in replies}) == 1


@pytest.mark.parametrize("name", ["oauth", "sso"])
def test_step_up_at_the_provider_with_another_account_is_refused(
    ann: Person, bob: Person, name: str
) -> None:
    """Ann starts, Bob signs in there: no session of Bob goes to Ann."""
    case = BY_NAME[name]
    started = case.begin(ann)
    assert started is not None
    ann.login_id = BOB
    proof = case.prove(ann, started.json())

    assert refusal_of(ann.post(case.finish, **proof)) == (403, "subject_mismatch")


def test_start_replies(ann: Person) -> None:
    """The members of each start's answer, exactly."""
    told = {
        path: ann.post(path, **BODIES[path]).json()
        for path in ("/magiclink/start", "/enchantedlink/start", "/oauth/start", "/sso/start")
    } | {"/notp/start": ann.post("/notp/start").json()}

    members: dict[str, Any] = {path: set(answer) for path, answer in told.items()}
    assert members == {
        "/magiclink/start": {"delivery", "destination"},
        "/enchantedlink/start": {"pending_ref", "link_id", "destination"},
        "/oauth/start": {"authorization_uri"},
        "/sso/start": {"authorization_uri"},
        "/notp/start": {"pending_ref", "authorization_uri", "image"},
    }
    assert told["/enchantedlink/start"]["destination"] == "a**@example.com"
