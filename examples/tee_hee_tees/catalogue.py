"""What the shop sells. Prices live here, on the server, and nowhere else."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

MAX_QUANTITY: Final = 9


class Size(StrEnum):
    """A size that every shirt comes in."""

    S = "S"
    M = "M"
    L = "L"
    XL = "XL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shirt:
    """A shirt on the shelf.

    Args:
        slug: Its name in URLs, and of its print under `templates/prints/`.
        caption: What is written on it.
        blurb: One sentence for the shop window.
        price: Whole cents.
        fabric: The colour of the cloth, `#rrggbb`.
    """

    slug: str
    caption: str
    blurb: str
    price: int
    fabric: str


SHIRTS: Final = MappingProxyType(
    {
        shirt.slug: shirt
        for shirt in (
            Shirt(
                slug="tea-hee",
                caption="Tea-hee",
                blurb="Brewed for three minutes, giggled for five.",
                price=2400,
                fabric="#1f6f78",
            ),
            Shirt(
                slug="pants-not-found",
                caption="404: pants not found",
                blurb="We only sell shirts. The rest is between you and your router.",
                price=2200,
                fabric="#33325c",
            ),
            Shirt(
                slug="duck-typed",
                caption="Duck-typed",
                blurb="Looks like a duck, quacks like a duck, passes the tests.",
                price=2600,
                fabric="#2b59a8",
            ),
            Shirt(
                slug="eventually-consistent",
                caption="Eventually consistent",
                blurb="Will reply to your message. Will not say when.",
                price=2800,
                fabric="#f0c9a0",
            ),
            Shirt(
                slug="one-step-up",
                caption="One step up",
                blurb="For everyone who was already signed in and got asked again.",
                price=3000,
                fabric="#b23a5b",
            ),
            Shirt(
                slug="free-hugs",
                caption="Free hugs",
                blurb="Terms, conditions and tweezers apply.",
                price=2400,
                fabric="#f4e3c1",
            ),
            Shirt(
                slug="totally-me",
                caption="It's me, honest",
                blurb="Knowledge, possession, and a very convincing mask.",
                price=2600,
                fabric="#5f7f4a",
            ),
            Shirt(
                slug="all-accepted",
                caption="All cookies accepted",
                blurb="Strictly necessary, third-party, chocolate chip.",
                price=2200,
                fabric="#e9e4f5",
            ),
        )
    }
)


def euros(cents: int) -> str:
    """Return *cents* as a price tag, such as `€24.00`."""
    return f"€{cents // 100}.{cents % 100:02}"
