"""StepUpAuth and redirects: its own requests follow none, and what was done is not done again."""

from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from fastapi_stepup import StepUpAuth, StepUpFailed
from tests.client.shop import HEADER, OLD, Prompt, problem
from tests.client.site import CLIENTS, ONE_OF_EACH, Received, Site, call, guarded, redirect

START = "/step-up/otp/start"
VERIFY = "/step-up/otp/verify"

one_of_each = pytest.mark.parametrize("client", ONE_OF_EACH)


@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        *(("httpx", START, status) for status in (301, 302, 303, 307, 308)),
        *((client, VERIFY, 307) for client in CLIENTS),
    ],
)
def test_step_up_request_follows_no_redirect(
    client: str, path: str, status: int, shop: Site, other: Site
) -> None:
    """Refresh token and code go to the route that was named, although the client follows."""
    shop.answers[path] = redirect(status, f"{other.url}/steal")

    with pytest.raises(StepUpFailed) as raised:
        call(client, f"{shop.url}/pay", StepUpAuth(OLD, Prompt("123456")))

    assert raised.value.code == "redirected"
    assert other.received == []
    assert shop.requests[-1] == f"POST {path}"


@one_of_each
def test_step_up_request_follows_no_redirect_on_its_own_origin(client: str, shop: Site) -> None:
    """Another path of the same origin is another place too."""
    shop.answers[START] = redirect(307, "/log")

    with pytest.raises(StepUpFailed, match=r"^redirected$"):
        call(client, f"{shop.url}/pay", StepUpAuth(OLD, Prompt("123456")))

    assert shop.requests == ["POST /pay", f"POST {START}"]


@one_of_each
def test_redirect_is_refused_whether_the_client_follows_or_not(client: str, shop: Site) -> None:
    """A client that does not follow redirects reports the same error."""
    shop.answers[VERIFY] = redirect(303, "/")
    auth = StepUpAuth(OLD, Prompt("123456"))

    with pytest.raises(StepUpFailed, match=r"^redirected$"):
        call(client, f"{shop.url}/pay", auth, follow_redirects=False)


@one_of_each
def test_step_up_works_after_a_redirected_one(client: str, shop: Site) -> None:
    """A step-up that failed leaves nothing behind."""
    auth = StepUpAuth(OLD, Prompt("123456"))
    shop.answers[START] = redirect(308, "/log")
    with pytest.raises(StepUpFailed):
        call(client, f"{shop.url}/pay", auth)
    shop.answers.clear()

    assert call(client, f"{shop.url}/pay", auth).json() == "POST /pay"


@pytest.mark.parametrize(
    ("client", "status"), [("httpx", 301), ("httpx", 302), *((client, 303) for client in CLIENTS)]
)
def test_post_that_was_carried_out_is_not_sent_again(client: str, status: int, shop: Site) -> None:
    """The page it led to is: it is what was refused."""
    shop.answers["/orders"] = redirect(status, "/orders/1")

    response = call(
        client, f"{shop.url}/orders", StepUpAuth(OLD, Prompt("123456")), json={"shirt": "M"}
    )

    assert response.json() == "GET /orders/1"
    assert shop.requests == [
        "POST /orders",
        "GET /orders/1",
        f"POST {START}",
        f"POST {VERIFY}",
        "GET /orders/1",
    ]
    assert shop.received[-1].body == b""


@pytest.mark.parametrize(
    ("client", "status"), [("httpx", 307), *((client, 308) for client in CLIENTS)]
)
def test_post_that_was_sent_on_is_repeated_where_it_was_refused(
    client: str, status: int, shop: Site
) -> None:
    """A redirect that keeps the method carried nothing out; the body is sent once more."""
    shop.answers["/pay"] = redirect(status, "/pay/")

    response = call(
        client, f"{shop.url}/pay", StepUpAuth(OLD, Prompt("123456")), content=b'{"shirt":"M"}'
    )

    assert response.json() == "POST /pay/"
    sent = [one for one in shop.received if one.path.startswith("/pay")]
    assert [one.path for one in sent] == ["/pay", "/pay/", "/pay/"]
    assert {one.body for one in sent} == {b'{"shirt":"M"}'}


@one_of_each
def test_every_step_of_a_chain_is_done_once(client: str, shop: Site) -> None:
    """Of several redirects only the last request is repeated."""
    shop.answers["/orders"] = redirect(303, "/cart/clear")
    shop.answers["/cart/clear"] = redirect(302, "/orders/1")

    call(client, f"{shop.url}/orders", StepUpAuth(OLD, Prompt("123456")))

    assert [one for one in shop.requests if "step-up" not in one] == [
        "POST /orders",
        "GET /cart/clear",
        "GET /orders/1",
        "GET /orders/1",
    ]


@one_of_each
def test_redirect_after_the_step_up_is_followed(client: str, shop: Site) -> None:
    """The repeated request is the app's own, and its answer is treated as ever."""

    def order(request: Received) -> Response:
        return redirect(303, "/orders/1") if request.bearer == "new" else guarded(request)

    shop.answers["/orders"] = order
    response = call(client, f"{shop.url}/orders", StepUpAuth(OLD, Prompt("123456")))

    assert response.json() == "GET /orders/1"


def back(url: str) -> Any:
    """Return the answer of a site that sends its visitors back to *url*."""
    return redirect(302, url)


@one_of_each
def test_challenge_behind_another_origin_is_passed_on(client: str, shop: Site, other: Site) -> None:
    """Neither another origin nor a URL that it chose makes the user confirm anything."""
    shop.answers["/away"] = redirect(302, f"{other.url}/pay")
    shop.answers["/round"] = redirect(302, f"{other.url}/back")
    shop.answers["/transfer"] = JSONResponse(problem(), 401, {"WWW-Authenticate": HEADER})
    other.answers["/back"] = back(f"{shop.url}/transfer")

    for path in ("/away", "/round"):
        response = call(client, shop.url + path, StepUpAuth(OLD, Prompt()), method="GET")
        assert response.status_code == 401

    assert {one.bearer for one in other.received} == {""}
    assert shop.requests == ["GET /away", "GET /round", "GET /transfer"]
