"""The pages and forms of the shop, and the one route that needs step-up."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from pydantic import BaseModel
from starlette.responses import Response

from examples.tee_hee_tees.access import PageAccess, same_origin
from examples.tee_hee_tees.catalogue import MAX_QUANTITY, SHIRTS, Size
from examples.tee_hee_tees.forms import PICK_COOKIE, CartForm, Pick, remember, see
from examples.tee_hee_tees.store import EmptyCart, Store, UnknownOrder
from examples.tee_hee_tees.views import Views
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard


class Receipt(BaseModel):
    """An order that was placed."""

    order: str
    total: int
    url: str


def checkout_route(store: Store, guard: StepUpGuard) -> APIRouter:
    """Return the checkout: what this shop is about."""
    routes = APIRouter()
    SteppedUp = Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]

    @routes.post("/checkout", status_code=HTTPStatus.CREATED)
    def checkout(claims: SteppedUp) -> Receipt:
        """Order what is in the cart."""
        try:
            order = store.place_order(claims.subject)
        except EmptyCart:
            raise HTTPException(409, "Your cart is empty; nothing was ordered.") from None
        return Receipt(order=order.reference, total=order.total, url=f"/orders/{order.reference}")

    return routes


def shop_window(views: Views, access: PageAccess) -> APIRouter:
    """Return the pages that are open to all."""
    routes = APIRouter(include_in_schema=False)
    Visitor = Annotated[Claims | None, Depends(access.visitor)]

    @routes.get("/")
    def home(request: Request, claims: Visitor) -> Response:
        return views.page(request, "home.html", claims, shirts=SHIRTS.values())

    @routes.get("/shirts/{slug}")
    def shirt(request: Request, claims: Visitor, slug: str) -> Response:
        if slug not in SHIRTS:
            raise HTTPException(404, "We do not have that shirt. We have eight others.")
        return views.page(
            request,
            "shirt.html",
            claims,
            shirt=SHIRTS[slug],
            sizes=list(Size),
            max_quantity=MAX_QUANTITY,
        )

    return routes


def demo_inbox(views: Views, access: PageAccess) -> APIRouter:
    """Return the list of codes that the emulator sent, for the page to look again."""
    routes = APIRouter(include_in_schema=False)
    Visitor = Annotated[Claims | None, Depends(access.visitor)]

    @routes.get("/inbox")
    def inbox(request: Request, claims: Visitor) -> Response:
        return views.page(request, "inbox.html", claims)

    return routes


def cart_pages(views: Views, access: PageAccess, store: Store) -> APIRouter:
    """Return the cart, which needs a session."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(same_origin)])
    Visitor = Annotated[Claims | None, Depends(access.visitor)]
    Shopper = Annotated[Claims, Depends(access.shopper)]

    @routes.get("/cart")
    def cart(request: Request, claims: Shopper) -> Response:
        lines = store.cart(claims.subject)
        return views.page(
            request,
            "cart.html",
            claims,
            lines=lines,
            total=sum(line.total for line in lines),
            max_quantity=MAX_QUANTITY,
        )

    @routes.post("/cart")
    def add(claims: Visitor, pick: Annotated[Pick, Form()]) -> Response:
        if claims is None:
            response = see("/sign-in?next=cart")
            remember(response, PICK_COOKIE, str(pick))
            return response
        store.add(claims.subject, SHIRTS[pick.shirt], pick.size, pick.quantity)
        return see("/cart")

    @routes.post("/cart/line")
    def change(claims: Shopper, line: Annotated[CartForm, Form()]) -> Response:
        store.change(claims.subject, SHIRTS[line.shirt], line.size, line.quantity)
        return see("/cart")

    return routes


def account_pages(views: Views, access: PageAccess, store: Store) -> APIRouter:
    """Return what people see of their own: orders and profile."""
    routes = APIRouter(include_in_schema=False)
    Shopper = Annotated[Claims, Depends(access.shopper)]

    @routes.get("/orders")
    def orders(request: Request, claims: Shopper) -> Response:
        orders = store.orders(claims.subject)
        return views.page(request, "orders.html", claims, orders=orders, shirts=SHIRTS)

    @routes.get("/orders/{reference}")
    def order(request: Request, claims: Shopper, reference: str) -> Response:
        try:
            found = store.order(claims.subject, reference)
        except UnknownOrder:
            raise HTTPException(404, "You have no order of that number.") from None
        return views.page(request, "order.html", claims, order=found, shirts=SHIRTS)

    @routes.get("/profile")
    def profile(request: Request, claims: Shopper) -> Response:
        address = store.address(claims.subject)
        return views.page(request, "profile.html", claims, address=address)

    return routes
