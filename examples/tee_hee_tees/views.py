"""How the shop looks: templates, and what every page shows around its own content."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.templating import Jinja2Templates
from starlette.responses import Response

from examples.tee_hee_tees.catalogue import euros
from examples.tee_hee_tees.flow import Flow
from examples.tee_hee_tees.people import STAFF, STAFF_ROLE, People
from examples.tee_hee_tees.store import Store
from fastapi_stepup import Claims
from fastapi_stepup.browser.assets import stepup_script

HERE: Final = Path(__file__).parent
WITH_FLOW: Final = ("cart.html",)


class Views:
    """Renders the pages.

    Args:
        store: Where the number beside "Cart" comes from.
        people: Whose messages the demo inbox shows; `None` on real Descope, whose messages go to
            their addressees only.
        flow: Descope's flow, which pages with a step-up may run; `None` on real Descope.
    """

    def __init__(self, store: Store, people: People | None, flow: Flow | None) -> None:
        self.store = store
        self.people = people
        self.flow = flow
        self.templates = Jinja2Templates(HERE / "templates")
        self.templates.env.filters |= {"euros": euros, "day": day, "mask": mask, "pretty": pretty}

    def page(
        self,
        request: Request,
        template: str,
        claims: Claims | None,
        *,
        status: int = HTTPStatus.OK,
        **context: Any,
    ) -> Response:
        """Return *template* as a page for the person that *claims* are about, if there is one."""
        in_cart = self.store.cart(claims.subject) if claims else []
        is_staff = claims is not None and STAFF_ROLE in claims.roles
        flow = self.flow.switch(request) if self.flow else None
        around = {
            "claims": claims,
            "is_staff": is_staff,
            "cart_count": sum(line.quantity for line in in_cart),
            "messages": self.people.inbox if self.people else None,
            "app_code": self.people.app_code if self.people and is_staff else None,
            "staff": STAFF,
            "script": stepup_script(request),
            "here": request.url.path.split("/")[1],
            "flow": flow,
            "status": int(status),
        }
        response = self.templates.TemplateResponse(
            request, template, around | context, status_code=status
        )
        if flow and flow.is_on and template in WITH_FLOW:
            response.headers["Content-Security-Policy"] = flow.policy
        return response


def day(moment: datetime | float) -> str:
    """Return a moment, or epoch seconds, such as `24 November 2026, 09:30 UTC`."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def mask(address: str) -> str:
    """Return an address as Descope masks it, such as `a**@example.com`."""
    name, _, host = address.partition("@")
    return f"{name[:1]}**@{host}"


def pretty(claims: Mapping[str, Any]) -> str:
    """Return claims as indented JSON."""
    return json.dumps(claims, indent=2, ensure_ascii=False, default=dict)
