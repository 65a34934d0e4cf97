"""The first factor: a code by e-mail, from Descope.

fastapi-stepup begins where a session is, so a shop brings its own sign-in. This one talks to
Descope from the server and keeps both tokens in cookies that no script can read.
"""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx
from starlette.responses import Response

from fastapi_stepup import Claims, StepUpGuard, errors

SESSION_COOKIE: Final = "DS"
REFRESH_COOKIE: Final = "DSR"
DEADLINE: Final = 10.0
TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True, repr=False)
class SignedIn:
    """A verified session and the tokens that carry it.

    Args:
        claims: What the session token says.
        session_token: The session JWT.
        refresh_token: The refresh JWT; `None` when Descope kept the old one in force.
        refresh_max_age: Seconds that the refresh token is good for; `None` when not told.
    """

    claims: Claims
    session_token: str
    refresh_token: str | None
    refresh_max_age: int | None

    def set_cookies(self, response: Response) -> None:
        """Give the browser both tokens, for as long as each is good."""
        response.set_cookie(
            SESSION_COOKIE,
            self.session_token,
            max_age=int(self.claims.expires_at - time.time()),
            secure=True,
            httponly=True,
            samesite="lax",
        )
        if self.refresh_token:
            response.set_cookie(
                REFRESH_COOKIE,
                self.refresh_token,
                max_age=self.refresh_max_age,
                secure=True,
                httponly=True,
                samesite="lax",
            )


def clear_cookies(response: Response) -> None:
    """Take both tokens away from the browser."""
    response.delete_cookie(SESSION_COOKIE, secure=True, httponly=True, samesite="lax")
    response.delete_cookie(REFRESH_COOKIE, secure=True, httponly=True, samesite="lax")


class SignIn:
    """Signs people up or in by a code that Descope mails to them.

    Every error is one of `fastapi_stepup.errors`, whose text is meant for a person.

    Args:
        guard: Whose project people sign in to, and who verifies what Descope hands out.
        transport: Where HTTP goes instead of the network.
    """

    def __init__(self, guard: StepUpGuard, *, transport: httpx.AsyncBaseTransport | None) -> None:
        self.guard = guard
        self.transport = transport

    async def start(self, email: str) -> None:
        """Have a code sent to *email*; an address that is new to the project makes an account.

        Raises:
            TooManyAttempts: Too many codes were sent.
            DescopeUnavailable: Descope cannot be reached or will not do it.
        """
        body = {"loginId": email, "loginOptions": {}}
        await self._post("otp/signup-in/email", bearer=self.guard.project_id, body=body)

    async def verify(self, email: str, code: str) -> SignedIn:
        """Return the session that *code* opens.

        Raises:
            OTPRejected: The code is wrong.
            OTPExpired: The code is too old.
            TooManyAttempts: Too many codes were tried.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: Descope's answer makes no sense.
            InvalidToken: Descope's answer is no session of this project.
        """
        tokens = await self.guard.descope.verify_otp("email", email, code)
        return await self._verified(
            tokens.session_token, tokens.refresh_token, tokens.refresh_max_age
        )

    async def renew(self, refresh_token: str) -> SignedIn:
        """Return a new session for a refresh token; it is never a stepped-up one.

        Raises:
            InvalidToken: The refresh token is no longer good.
            TooManyAttempts: Descope is throttling.
            DescopeUnavailable: Descope cannot be reached or is out of order.
            DescopeError: Descope's answer makes no sense.
        """
        tokens = await self.guard.descope.refresh(refresh_token)
        return await self._verified(
            tokens.session_token, tokens.refresh_token, tokens.refresh_max_age
        )

    async def sign_out(self, refresh_token: str) -> None:
        """Make Descope forget the refresh token; the session token ends by itself in minutes.

        Raises:
            DescopeUnavailable: Descope cannot be reached or will not do it.
        """
        bearer = f"{self.guard.project_id}:{refresh_token}"
        await self._post("logout", bearer=bearer, body={})

    async def new_passkey(
        self, login_id: str, *, origin: str, refresh_token: str
    ) -> tuple[str, dict[str, Any]]:
        """Begin a passkey of the user for pages of *origin*; return its transaction and options.

        Raises:
            DescopeUnavailable: Descope cannot be reached or will not do it.
            DescopeError: Descope's answer makes no sense.
        """
        reply = await self._post(
            "webauthn/update/start",
            bearer=f"{self.guard.project_id}:{refresh_token}",
            body={"loginId": login_id, "origin": origin},
        )
        try:
            # The options are JSON in a string of the reply.
            told = reply.json()
            return told["transactionId"], json.loads(told["options"])["publicKey"]
        except (ValueError, KeyError, TypeError):
            raise errors.DescopeError from None

    async def keep_passkey(self, transaction_id: str, response: dict[str, Any]) -> None:
        """Have Descope keep the passkey that a browser made.

        Raises:
            PasskeyRejected: It is not what was asked for, or came too late.
            DescopeUnavailable: Descope cannot be reached or is out of order.
        """
        body = {"transactionId": transaction_id, "response": json.dumps(response)}
        await self._post(
            "webauthn/update/finish",
            bearer=self.guard.project_id,
            body=body,
            refusal=errors.PasskeyRejected,
        )

    async def _verified(
        self, session_token: str, refresh_token: str | None, refresh_max_age: int | None
    ) -> SignedIn:
        claims = await self.guard.verify(session_token)
        return SignedIn(claims, session_token, refresh_token, refresh_max_age)

    async def _post(
        self,
        path: str,
        *,
        bearer: str,
        body: dict[str, Any],
        refusal: type[errors.StepUpError] = errors.DescopeUnavailable,
    ) -> httpx.Response:
        try:
            # A client per call has no cookie jar in which people could be mixed up.
            async with httpx.AsyncClient(transport=self.transport, timeout=DEADLINE) as client:
                response = await client.post(
                    f"{self.guard.base_url}/v1/auth/{path}",
                    json=body,
                    headers={"Authorization": f"Bearer {bearer}"},
                )
        except httpx.HTTPError:
            raise errors.DescopeUnavailable from None
        if response.status_code == TOO_MANY:
            raise errors.TooManyAttempts
        if response.is_client_error:
            raise refusal
        if not response.is_success:
            raise errors.DescopeUnavailable
        return response
