"""Records a visit to the shop: `python -m tests.examples.scenarios.record [file]`."""

import io
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import expect

from tests.examples.scenarios.browser import ROOT, Visit, open_shop, visit

RECORDING: Final = ROOT / "examples" / "tee_hee_tees" / "recording.webp"
SIZE: Final = {"width": 1024, "height": 690}
CAPTION: Final = """(words) => {
    const caption = document.createElement("p");
    caption.textContent = words;
    caption.popover = "manual"; // above the dialog
    Object.assign(caption.style, {
        inset: "auto 0 0 0", width: "100%", margin: "0", padding: "12px 24px", border: "0",
        background: "#221a2b", color: "#ffffff", font: "600 19px/1.4 var(--text)",
    });
    document.querySelector("[data-caption]")?.remove();
    caption.dataset.caption = "";
    document.body.append(caption);
    caption.showPopover();
}"""


class Film:
    """Frames, and how long each is shown.

    Args:
        visitor: Whose window is filmed.
    """

    def __init__(self, visitor: Visit) -> None:
        self.visitor = visitor
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []
        self.words = ""

    def show(self, milliseconds: int, words: str | None = None) -> None:
        """Take a frame; *words* are the caption from here on."""
        self.words = words or self.words
        page = self.visitor.page
        page.evaluate(CAPTION, self.words)
        shot = page.screenshot(animations="disabled", caret="initial")
        self.frames.append(Image.open(io.BytesIO(shot)).convert("RGB"))
        self.durations.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write an animated WebP that starts over at its end, in a folder that need not exist."""
        path.parent.mkdir(parents=True, exist_ok=True)
        first, *others = self.frames
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self.durations,
            loop=0,
            quality=78,
            method=5,
        )


def record(path: Path) -> None:
    """Film the way from the shop window to the receipt."""
    with ExitStack() as stack:
        shop = stack.enter_context(open_shop())
        ann = stack.enter_context(visit(stack, shop, viewport=SIZE, color_scheme="light"))
        ann.sign_in()
        film = Film(ann)
        ann.go("/")
        ann.page.evaluate("document.querySelector('.dock').remove()")
        film.show(1600, "A shop. Ann is signed in, and has been for a while.")
        ann.page.get_by_role("link", name="Duck-typed").hover()
        film.show(900)
        ann.fill_cart("duck-typed")
        ann.page.evaluate("document.querySelector('.dock').remove()")
        film.show(1800, "A session is enough for the cart. Placing the order takes more.")
        ann.button("Place the order").hover()
        film.show(700)
        ann.button("Place the order").click()
        expect(ann.code).to_be_focused()
        expect(ann.beside.get_by_role("button", name=f"Use code {shop.code}")).to_be_visible()
        film.show(2600, "POST /checkout → 401, with an RFC 9470 challenge: prove that it is you.")
        for digit in shop.code:
            ann.code.press_sequentially(digit)
            film.show(170)
        film.show(700)
        ann.press("Confirm")
        ann.page.wait_for_url("**/orders/TH-*")
        ann.page.evaluate("document.querySelector('.dock').remove()")
        film.show(2400, "POST /checkout, once more → 201. The cart never left the page.")
        ann.page.locator(".counter").scroll_into_view_if_needed()
        ann.page.evaluate("document.querySelector('.counter').scrollIntoView()")
        film.show(
            3600, "Behind the counter: the challenge word for word, and claims with su: true."
        )
        film.save(path)


record(Path(*sys.argv[1:]) if sys.argv[1:] else RECORDING)
