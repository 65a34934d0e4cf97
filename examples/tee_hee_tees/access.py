"""Access to pages: the guard decides, and people are sent to sign in."""

from typing import Final

from fastapi import HTTPException, Request
from starlette.requests import HTTPConnection

from examples.tee_hee_tees.people import STAFF_ROLE
from fastapi_stepup import Claims, RequireSession, StepUpGuard, errors

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class SignInFirst(Exception):
    """A page needs a session; the answer is a way to sign in and come back.

    Args:
        page: The first segment of the page's path, which is also its name.
    """

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


class PageAccess:
    """Dependencies of the pages. Routes that scripts call use the guard's own.

    Args:
        guard: Decides; nothing is verified here.
    """

    def __init__(self, guard: StepUpGuard) -> None:
        self.guard = guard
        self.session = RequireSession(guard)

    async def visitor(self, connection: HTTPConnection) -> Claims | None:
        """Return the claims of the session, or `None` without one: browsing is open to all."""
        try:
            # No visitor is refused here, so metrics and audit trail need not say so.
            return await self.guard.authorize(connection, entry_point=None)
        except errors.StepUpError:
            return None

    async def shopper(self, connection: HTTPConnection) -> Claims:
        """Return the claims of the session.

        Raises:
            SignInFirst: There is no session, or it has ended.
            HTTPException: The request cannot be let in for another reason.
        """
        try:
            return await self.session(connection)
        except (errors.Unauthenticated, errors.InvalidToken):
            raise SignInFirst(connection.url.path.split("/")[1]) from None
        except errors.StepUpError as refusal:
            raise HTTPException(refusal.status, refusal.text, dict(refusal.headers)) from refusal

    async def staff(self, connection: HTTPConnection) -> None:
        """Let the staff in, and answer others the way a script expects.

        Raises:
            StepUpError: There is no session, or the guard cannot tell.
            HTTPException: 403 for a shopper.
        """
        self.check_staff(await self.session(connection))

    def check_staff(self, claims: Claims) -> None:
        """Refuse users without the staff role, which Descope puts into the session.

        Raises:
            HTTPException: 403.
        """
        if STAFF_ROLE not in claims.roles:
            raise HTTPException(403, "This is for the people who work here.")


def same_origin(request: Request) -> None:
    """Refuse a form that another site sent, also where there is no session cookie to protect.

    The guard does this for requests that a cookie authenticates. Signing in has none yet, and a
    person tricked into another's account would shop for them.

    Raises:
        HTTPException: 403; neither `Sec-Fetch-Site` nor `Origin` says same-origin.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    own = f"{request.url.scheme}://{request.url.netloc}"
    if site != "same-origin" and (site or request.headers.get("origin") != own):
        raise HTTPException(403, "This form can only be sent from the shop's own pages.")
