"""Signing in by a code, and signing out: forms that work without a script."""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from examples.tee_hee_tees.access import same_origin
from examples.tee_hee_tees.catalogue import SHIRTS
from examples.tee_hee_tees.forms import (
    ADDRESS_COOKIE,
    PICK_COOKIE,
    AddressForm,
    CodeForm,
    Page,
    Pick,
    forget,
    remember,
    see,
)
from examples.tee_hee_tees.signin import REFRESH_COOKIE, SignedIn, SignIn, clear_cookies
from examples.tee_hee_tees.store import Store
from examples.tee_hee_tees.views import Views
from fastapi_stepup import errors

RefreshToken = Annotated[str | None, Cookie(alias=REFRESH_COOKIE)]
Address = Annotated[str | None, Cookie(alias=ADDRESS_COOKIE)]
Picked = Annotated[str | None, Cookie(alias=PICK_COOKIE)]


class SignInPages:
    """The pages between a stranger and a shopper.

    Args:
        views: Renders them.
        store: Gets what a person picked before signing in.
        sign_in: Talks to Descope.
        expect: Is told who is about to sign in.
    """

    def __init__(
        self,
        views: Views,
        store: Store,
        sign_in: SignIn,
        expect: Callable[[str], object] | None,
    ) -> None:
        self.views = views
        self.store = store
        self.sign_in = sign_in
        self.expect = expect

    def routes(self) -> APIRouter:
        """Return the routes; each form must come from the shop's own pages."""
        routes = APIRouter(include_in_schema=False, dependencies=[Depends(same_origin)])
        routes.get("/sign-in")(self.ask_address)
        routes.post("/sign-in")(self.start)
        routes.get("/sign-in/code")(self.ask_code)
        routes.post("/sign-in/code")(self.verify)
        routes.post("/sign-out")(self.sign_out)
        return routes

    async def ask_address(
        self,
        request: Request,
        refresh_token: RefreshToken = None,
        picked: Picked = None,
        next: Page = Page.HOME,
    ) -> Response:
        """Ask who it is, unless the browser still holds a good refresh token."""
        if refresh_token is None:
            return self.views.page(request, "sign_in.html", None, next=next)
        try:
            who = await self.sign_in.renew(refresh_token)
        except errors.InvalidToken:
            response = self.views.page(request, "sign_in.html", None, next=next)
            clear_cookies(response)
            return response
        except errors.StepUpError as error:
            return self._again(request, "sign_in.html", error, next=next)
        return await self._welcome(who, next, picked)

    async def start(self, request: Request, form: Annotated[AddressForm, Form()]) -> Response:
        """Send the code."""
        if self.expect:
            self.expect(form.email)
        try:
            await self.sign_in.start(form.email)
        except errors.StepUpError as error:
            return self._again(request, "sign_in.html", error, next=form.next)
        response = see(f"/sign-in/code?next={form.next}")
        remember(response, ADDRESS_COOKIE, form.email)
        return response

    async def ask_code(
        self,
        request: Request,
        email: Address = None,
        next: Page = Page.HOME,
    ) -> Response:
        """Ask for the code."""
        if email is None:
            return see(f"/sign-in?next={next}")
        return self.views.page(request, "code.html", None, next=next, email=email)

    async def verify(
        self,
        request: Request,
        form: Annotated[CodeForm, Form()],
        email: Address = None,
        picked: Picked = None,
    ) -> Response:
        """Sign in with the code."""
        if email is None:
            return see(f"/sign-in?next={form.next}")
        try:
            who = await self.sign_in.verify(email, form.code.replace(" ", ""))
        except errors.StepUpError as error:
            return self._again(request, "code.html", error, next=form.next, email=email)
        await run_in_threadpool(self.store.remember_address, who.claims.subject, email)
        return await self._welcome(who, form.next, picked)

    async def sign_out(self, refresh_token: RefreshToken = None) -> Response:
        """Forget both tokens here, and the refresh token at Descope if it can be reached."""
        response = see("/")
        clear_cookies(response)
        if refresh_token is not None:
            with suppress(errors.StepUpError):
                await self.sign_in.sign_out(refresh_token)
        return response

    def _again(
        self, request: Request, template: str, error: errors.StepUpError, **context: str
    ) -> Response:
        response = self.views.page(
            request, template, None, status=error.status, error=error.text, **context
        )
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response

    async def _welcome(self, who: SignedIn, page: Page, picked: str | None) -> Response:
        if picked is not None:
            with suppress(ValueError):  # a cookie that makes no sense is no pick
                pick = Pick.parse(picked)
                await run_in_threadpool(
                    self.store.add,
                    who.claims.subject,
                    SHIRTS[pick.shirt],
                    pick.size,
                    pick.quantity,
                )
        response = see(page.path)
        who.set_cookies(response)
        forget(response, ADDRESS_COOKIE)
        forget(response, PICK_COOKIE)
        return response
