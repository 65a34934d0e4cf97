"""The three ways of `docs/how-to/front-ends.md`, word for word, in the browser."""

import re
import subprocess
import sys
from contextlib import ExitStack
from typing import Final

from PIL import Image
from playwright.sync_api import expect

from tests.examples.scenarios.browser import ANN, ROOT, SCREENSHOTS, open_shop, visit

PAGE: Final = ROOT / "docs" / "how-to" / "front-ends.md"
SDK: Final = ROOT / "tests/sdk/node/node_modules/@descope/web-js-sdk/dist/index.umd.js"


def snippet(words: str) -> str:
    """Return the one block of the page that begins with *words*."""
    blocks = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(words)]
    return str(block)


def step_up_by_the_script(stack: ExitStack) -> None:
    """`stepUpFetch` opens the dialog and places the order."""
    with open_shop() as shop, visit(stack, shop, bypass_csp=True) as ann:
        ann.sign_in()
        ann.fill_cart("duck-typed")
        ann.go("/profile")
        ann.page.add_script_tag(
            type="module",
            content=snippet("import { stepUpFetch }") + "document.title = response.status;",
        )
        expect(ann.dialog.get_by_text("We sent a code")).to_be_visible()
        ann.confirm(shop.code)
        expect(ann.page).to_have_title("201")


def step_up_by_hand(stack: ExitStack) -> None:
    """The loop ends with the right code, with an order, or with the refusal when it is given up."""
    with open_shop() as shop, visit(stack, shop) as ann:
        ann.sign_in()
        ann.fill_cart("duck-typed")
        told: list[str] = []
        answers = iter([None, "000000x", None, "right"])

        def ask(words: str) -> str | None:
            told.append(words)
            answer = next(answers)
            return shop.code if answer == "right" else answer

        ann.page.expose_function("ask", ask)
        checkout = snippet("async function checkout")
        call = f"async () => {{ {checkout}; return (await checkout(ask)).status; }}"
        sent = "We sent a code to a**@example.com."
        assert [ann.page.evaluate(call) for _ in range(3)] == [401, 401, 201]
        assert told == [sent, sent, told[2], sent]


def step_up_by_the_sdk(stack: ExitStack) -> None:
    """Descope's web SDK signs in, steps up by code, and its session opens the guarded route."""
    with (
        open_shop() as shop,
        shop.descope.serve() as descope_url,
        visit(stack, shop, bypass_csp=True) as ann,
    ):
        ann.go("/")
        ann.page.add_script_tag(path=SDK)
        ann.page.expose_function("askForCode", lambda *_: shop.code)
        ann.page.add_script_tag(content=snippet("async function stepUpByCode"))
        signed_in = ann.page.evaluate(
            """async ([projectId, baseUrl, loginId]) => {
                const config = { projectId, baseUrl, persistTokens: true, autoRefresh: false };
                window.sdk = Descope(config);
                await sdk.otp.signUpOrIn.email(loginId);
                const { data } = await sdk.otp.verify.email(loginId, await askForCode());
                return data.user.userId;
            }""",
            [shop.descope.project_id, descope_url.replace("127.0.0.1", "localhost"), ANN],
        )
        order = """async (session) => {
            const headers = { Authorization: `Bearer ${session}` };
            return (await fetch("/checkout", { method: "POST", headers })).status;
        }"""
        shop.fill_cart_of(signed_in, "duck-typed")
        assert ann.page.evaluate(f"async () => ({order})(sdk.getSessionToken())") == 401
        stepped_up = ann.page.evaluate("(loginId) => stepUpByCode(sdk, loginId, askForCode)", ANN)
        assert ann.page.evaluate(order, stepped_up) == 201


def record(_: ExitStack) -> None:
    """The README's recording can be made again: short, small, and it moves."""
    film = SCREENSHOTS / "recording.webp"
    command = [sys.executable, "-m", "tests.examples.scenarios.record", str(film)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert film.stat().st_size < 600 * 1024
    with Image.open(film) as recording:
        assert getattr(recording, "n_frames", 1) > 10
