"""The refund desk: a page for the staff, and a route with a stricter policy than the checkout."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel
from starlette.responses import Response

from examples.tee_hee_tees.access import PageAccess
from examples.tee_hee_tees.store import AlreadyRefunded, Store, UnknownOrder
from examples.tee_hee_tees.views import Views
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard

# E-mail is the first factor here, so it cannot be the second one as well.
SECOND_FACTORS: Final = ("sms", "totp", "webauthn")


class Refund(BaseModel):
    """Money that goes back."""

    order: str
    total: int


def refund_routes(views: Views, access: PageAccess, store: Store, guard: StepUpGuard) -> APIRouter:
    """Return the page and the route behind its button."""
    routes = APIRouter()
    Shopper = Annotated[Claims, Depends(access.shopper)]
    Proven = Annotated[Claims, Depends(RequireStepUp(guard, max_age="1m", amr=SECOND_FACTORS))]

    @routes.get("/refunds", include_in_schema=False)
    def refunds(request: Request, claims: Shopper) -> Response:
        access.check_staff(claims)
        return views.page(request, "refunds.html", claims, orders=store.every_order())

    # The role comes first: a user who may not do it at all is not asked to prove anything.
    @routes.post("/refunds/{reference}", dependencies=[Depends(access.staff)])
    def refund(claims: Proven, reference: str) -> Refund:
        """Pay an order back."""
        try:
            order = store.refund(reference, by=claims.subject)
        except UnknownOrder:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such order.") from None
        except AlreadyRefunded:
            raise HTTPException(HTTPStatus.CONFLICT, "That one was paid back before.") from None
        return Refund(order=order.reference, total=order.total)

    return routes
