"""What the shop's forms send, and what it keeps in a browser between two of them."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from examples.tee_hee_tees.catalogue import MAX_QUANTITY, SHIRTS, Size

PICK_COOKIE: Final = "tees_pick"
ADDRESS_COOKIE: Final = "tees_address"
SHORTLY: Final = 15 * 60


class Page(StrEnum):
    """A page to go on to after signing in: a name of ours, never an address from outside."""

    HOME = "home"
    CART = "cart"
    ORDERS = "orders"
    PROFILE = "profile"
    REFUNDS = "refunds"

    @property
    def path(self) -> str:
        """Where the page is."""
        return "/" if self is Page.HOME else f"/{self}"


def on_the_shelf(slug: str) -> str:
    """Return *slug* if the shop sells such a shirt; raise `ValueError` if not."""
    if slug not in SHIRTS:
        raise ValueError("unknown shirt")
    return slug


class Form(BaseModel):
    """A form; fields that it does not have are refused."""

    model_config = ConfigDict(extra="forbid")


class CartForm(Form):
    """One line of the cart, 0 shirts for taking it out; prices are not a form's business."""

    shirt: Annotated[str, AfterValidator(on_the_shelf)]
    size: Size
    quantity: Annotated[int, Field(ge=0, le=MAX_QUANTITY)]


class Pick(CartForm):
    """A shirt that goes into the cart; as text, a cookie keeps it while its owner signs in."""

    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]

    def __str__(self) -> str:
        return f"{self.shirt}:{self.size}:{self.quantity}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pick that *text* is; raise `ValueError` if it is none."""
        shirt, size, quantity = text.split(":")
        return cls.model_validate({"shirt": shirt, "size": size, "quantity": quantity})


class AddressForm(Form):
    """Who wants to sign in, and where to go on."""

    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    next: Page = Page.HOME


class CodeForm(Form):
    """The code that came by mail, and where to go on."""

    code: Annotated[str, Field(max_length=12)]
    next: Page = Page.HOME


def see(path: str) -> Response:
    """Return the answer to a form that did its work: look there, with a `GET`."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def remember(response: Response, name: str, value: str) -> None:
    """Have the browser keep *value* until the person has signed in."""
    response.set_cookie(name, value, SHORTLY, secure=True, httponly=True, samesite="strict")


def forget(response: Response, name: str) -> None:
    """Undo `remember`."""
    response.delete_cookie(name, secure=True, httponly=True, samesite="strict")
