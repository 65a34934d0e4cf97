"""The pages of the shop: hostile forms, other sites, headers, mistakes, outages."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from examples.tee_hee_tees.app import Settings, create_app
from examples.tee_hee_tees.catalogue import SHIRTS, Size, euros
from examples.tee_hee_tees.people import STAFF, STAFF_ROLE
from examples.tee_hee_tees.store import Store
from examples.tee_hee_tees.views import pretty
from fastapi_stepup.testing import DescopeEmulator
from tests.examples.shop import HERE, JSON, PICK, Shop


def test_step_up_script_comes_with_its_hash(shop: Shop) -> None:
    """The pages that may step up load the package's script, pinned and checked."""
    shop.sign_in()
    shop.post("/cart", PICK)
    tag = r'<script type="module" src="(/step-up/stepup\.js\?v=\w+)" integrity="sha384-[^"]{64}"'
    (url,) = re.findall(tag, shop.browser.get("/cart").text)
    assert "immutable" in shop.browser.get(url).headers["cache-control"]


def test_shirt_that_left_the_catalogue_is_not_sold(shop: Shop) -> None:
    """A line that an older catalogue left behind is neither shown nor ordered."""
    shop.sign_in()
    shop.step_up()
    with closing(sqlite3.connect(shop.store.path)) as connection, connection:
        connection.execute("INSERT INTO cart VALUES (?, 'sold-out', 'M', 1)", (shop.subject,))
    assert shop.browser.get("/cart").status_code == 200
    assert shop.call("/checkout").status_code == 409


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({**PICK, "shirt": "trousers"}, id="unknown-shirt"),
        pytest.param({**PICK, "shirt": "' OR 1=1 --"}, id="sql"),
        pytest.param({**PICK, "size": "XXXL"}, id="unknown-size"),
        pytest.param({**PICK, "quantity": "-1"}, id="negative"),
        pytest.param({**PICK, "quantity": "0"}, id="none"),
        pytest.param({**PICK, "quantity": "10"}, id="too-many"),
        pytest.param({**PICK, "quantity": "1.5"}, id="a-fraction"),
        pytest.param({**PICK, "price": "1"}, id="own-price"),
        pytest.param({}, id="empty"),
    ],
)
@pytest.mark.parametrize(
    "signed_in", [pytest.param(True, id="shopper"), pytest.param(False, id="stranger")]
)
def test_hostile_pick_is_refused(shop: Shop, form: dict[str, str], signed_in: bool) -> None:  # noqa: FBT001
    """A pick that no page offers is 422 and puts nothing into the cart."""
    if signed_in:
        shop.sign_in()
    answer = shop.post("/cart", form, Accept="text/html")
    assert answer.status_code == 422
    assert "That does not fit" in answer.text
    assert shop.rows("cart") == []


@pytest.mark.parametrize(
    ("form", "path"),
    [
        pytest.param({"email": "no address"}, "/sign-in", id="no-address"),
        pytest.param({"email": f"{'a' * 250}@example.com"}, "/sign-in", id="long-address"),
        pytest.param({"email": "a@b.c", "next": "evil"}, "/sign-in", id="unknown-page"),
        pytest.param({"email": "a@b.c", "next": "https://evil.example"}, "/sign-in", id="url"),
        pytest.param({"code": "1" * 13}, "/sign-in/code", id="long-code"),
        pytest.param({"code": "123456", "next": "//evil.example"}, "/sign-in/code", id="host"),
    ],
)
def test_hostile_sign_in_is_refused_without_echo(
    shop: Shop, form: dict[str, str], path: str
) -> None:
    """What the form does not offer is 422, sends no code, and no value of it comes back."""
    for accept in ("text/html", "application/json"):
        answer = shop.post(path, form, Accept=accept)
        assert answer.status_code == 422
        assert not any(value in answer.text for value in form.values())
    assert shop.descope.outbox == []


@pytest.mark.parametrize("page", ["evil", "//evil.example", "https://evil.example", "/cart"])
@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/code"])
def test_way_back_is_a_page_of_the_shop(shop: Shop, path: str, page: str) -> None:
    """`next` takes the names of pages and nothing else, so no link leads away from the shop."""
    shop.sign_in()
    assert shop.browser.get(path, params={"next": page}).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-evidence"),
        pytest.param({"Origin": "https://evil.example"}, id="foreign-origin"),
        pytest.param({"Origin": "null"}, id="opaque-origin"),
        pytest.param({"Origin": "http://testserver"}, id="other-scheme"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site", "Origin": HERE}, id="same-site"),
    ],
)
@pytest.mark.parametrize("path", ["/cart", "/cart/line", "/sign-in", "/sign-in/code", "/sign-out"])
def test_form_of_another_site_does_nothing(shop: Shop, path: str, headers: dict[str, str]) -> None:
    """Every form is refused without same-origin evidence, signed in or not."""
    for _ in range(2):
        answer = shop.browser.post(path, data=PICK, headers={"Accept": "text/html", **headers})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        shop.sign_in()
    assert shop.rows("cart") == []


def test_checkout_from_another_site_does_nothing(shop: Shop) -> None:
    """Not even a stepped-up session orders at another site's bidding."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.step_up()
    answer = shop.browser.post("/checkout", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    assert shop.rows("orders") == []


@pytest.mark.parametrize("pick", ["nonsense", "a:b:c:d", "free-hugs:M:99", "trousers:M:1", ""])
def test_pick_cookie_that_makes_no_sense_is_no_pick(shop: Shop, pick: str) -> None:
    """Signing in goes on, and the cart stays empty."""
    shop.browser.cookies.set("tees_pick", pick)
    assert shop.sign_in().status_code == 303
    assert shop.rows("cart") == []


def test_text_from_outside_is_escaped(shop: Shop) -> None:
    """An address with markup is shown as text, on the page and in the inbox."""
    shop.post("/sign-in", {"email": "<script>alert(1)</script>@example.com"})
    for path in ("/sign-in/code", "/inbox"):
        text = shop.browser.get(path).text
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text


def test_every_answer_has_the_security_headers(shop: Shop) -> None:
    """Nothing but the shop's own files runs; pages are not cached and files are asked for again."""
    answers = [shop.browser.get(path) for path in ("/", "/cart", "/nope", "/static/shop.js")]
    answers.append(shop.call("/checkout"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    caching = [answer.headers["cache-control"] for answer in answers]
    assert caching == ["no-store", "no-store", "no-store", "no-cache", "no-store"]


def test_pages_need_no_inline_script_or_style(shop: Shop) -> None:
    """What the policy forbids is not there: no inline script, style or handler, no other host."""
    shop.sign_in()
    shop.post("/cart", PICK)
    shop.store.add(shop.subject, SHIRTS["duck-typed"], Size.L, 1)
    shop.store.place_order(shop.subject)
    shop.descope.user("ann@example.com").roles = [STAFF_ROLE]
    shop.browser.get("/sign-in")
    pages = ("/", "/shirts/duck-typed", "/cart", "/orders", "/profile", "/sign-in?next=cart")
    for path in (*pages, "/refunds"):
        text = shop.browser.get(path, follow_redirects=True).text
        for script in re.findall("<script[^>]*>", text):
            assert re.search(' src="/(static/shop|step-up/stepup).js', script)
        for forbidden in ("style=", "<style", " onclick=", 'src="http', 'href="http'):
            assert forbidden not in text


@pytest.mark.parametrize("slug", [*SHIRTS])
def test_each_shirt_has_a_picture(shop: Shop, slug: str) -> None:
    """Every shirt of the catalogue is drawn, in its own cloth."""
    text = shop.browser.get(f"/shirts/{slug}").text
    assert '<text x="' in text
    assert SHIRTS[slug].fabric in text


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        pytest.param("GET", "/shirts/trousers", 404, "We do not have that shirt", id="shirt"),
        pytest.param("GET", "/nope", 404, "Nothing on this shelf", id="page"),
        pytest.param("DELETE", "/cart", 405, "Not like that", id="method"),
    ],
)
def test_mistakes_are_answered_the_way_they_were_asked(
    shop: Shop, method: str, path: str, status: int, words: str
) -> None:
    """A browser gets a page with words, a script gets JSON."""
    page = shop.browser.request(method, path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == status
    assert words in page.text
    answer = shop.browser.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]


def test_shop_stays_open_for_browsing_while_keys_cannot_be_had(tmp_path: Path) -> None:
    """Without keys pages of one's own answer 503 as a page, and the shop window is open."""
    other = DescopeEmulator()
    app = create_app(Settings(database=tmp_path / "shop.sqlite3"))
    app.state.emulator.fail(503, times=10, path="/v2/keys")
    with TestClient(app, base_url=HERE) as browser:
        browser.cookies.set("DS", other.sign_in("ann@example.com").session_token)
        assert browser.get("/").status_code == 200
        answer = browser.get("/cart", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "Back in a moment" in answer.text


def test_shop_on_a_real_project_has_no_inbox(tmp_path: Path) -> None:
    """With a project of one's own the same forms work, and no user sees the code of another."""
    descope = DescopeEmulator("P2SomebodysRealProject000001")
    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id=descope.project_id,
        transport=descope.transport,
    )
    app = create_app(settings)
    assert app.state.emulator is None
    with TestClient(app, base_url=HERE, follow_redirects=False) as browser:
        shop = Shop(app, browser, descope, Store(settings.database))
        shop.post("/sign-in", {"email": "ann@example.com"})
        assert shop.descope.outbox[-1].code not in browser.get("/sign-in/code").text
        assert browser.get("/inbox").status_code == 404
        assert shop.sign_in().status_code == 303
        shop.post("/cart", PICK)
        shop.step_up()
        assert shop.call("/checkout").status_code == 201


def test_sign_in_says_when_descope_cannot_be_reached(tmp_path: Path) -> None:
    """A connection that fails is an outage to the shopper, and no error of the shop."""

    def unplugged(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id="P2SomebodysRealProject000001",
        transport=httpx.MockTransport(unplugged),
    )
    with TestClient(create_app(settings), base_url=HERE) as browser:
        answer = browser.post(
            "/sign-in", data={"email": "ann@example.com"}, headers={"Origin": HERE}
        )
    assert answer.status_code == 503
    assert "cannot be reached" in answer.text


def test_session_without_a_new_refresh_token_keeps_the_old_one(tmp_path: Path) -> None:
    """Descope may send no refresh token on renewal; the cookie in the browser stays as it is."""
    descope = DescopeEmulator("P2SomebodysRealProject000001")
    ann = descope.sign_in("ann@example.com")

    async def forgetful(request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=descope.transport) as client:
            reply = await client.request(
                request.method, request.url, headers=request.headers, content=request.content
            )
        body = httpx.ByteStream(reply.content.replace(b'"refreshJwt"', b'"nothing"'))
        return httpx.Response(reply.status_code, stream=body, headers=JSON)

    settings = Settings(
        database=tmp_path / "shop.sqlite3",
        project_id=descope.project_id,
        transport=httpx.MockTransport(forgetful),
    )
    with TestClient(create_app(settings), base_url=HERE, follow_redirects=False) as browser:
        browser.cookies.set("DSR", ann.refresh_token)
        answer = browser.get("/sign-in?next=orders")
    assert answer.headers["location"] == "/orders"
    assert "DSR=" not in answer.headers["set-cookie"]


def test_price_tags_and_claims_read_well() -> None:
    """Cents have two digits, and claims are JSON whatever is nested in them."""
    assert [euros(5), euros(2400), euros(123456)] == ["€0.05", "€24.00", "€1234.56"]
    assert pretty({"su": True, "amr": ("email",)}) == (
        '{\n  "su": true,\n  "amr": [\n    "email"\n  ]\n}'
    )


def test_used_code_is_not_offered_again(shop: Shop) -> None:
    """The inbox shows a code until it was entered."""
    shop.post("/sign-in", {"email": "ann@example.com", "next": "home"})
    code = shop.descope.outbox[-1].code
    assert code in shop.browser.get("/inbox").text
    shop.post("/sign-in/code", {"code": code, "next": "home"})
    assert code not in shop.browser.get("/inbox").text


def test_error_page_keeps_the_navigation(shop: Shop) -> None:
    """A signed-in user who is lost still sees their pages, and the way out."""
    shop.sign_in()
    page = shop.browser.get("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert 'href="/orders"' in page.text
    assert "Sign out" in page.text


def test_people_see_addresses_and_not_ids(shop: Shop) -> None:
    """The profile shows the user's own address, the refund desk a masked one."""
    shop.sign_in()
    assert "ann@example.com" in shop.browser.get("/profile").text
    shop.store.add(shop.subject, SHIRTS["free-hugs"], Size.M, 1)
    shop.store.place_order(shop.subject)
    ann = shop.subject
    shop.sign_in(STAFF)
    desk = shop.browser.get("/refunds").text
    assert "a**@example.com" in desk
    assert ann not in desk
