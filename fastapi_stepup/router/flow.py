"""The steps behind the helper routes, one room a method: whose session, which proof, what next."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_stepup._secret import Secret
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import (
    CrossSiteRequest,
    DeliveryUnavailable,
    ImpersonationRefused,
    InvalidBody,
    NoStepUpMethod,
    RefreshTokenRequired,
    SubjectMismatch,
)
from fastapi_stepup.guard.guard import StepUpGuard
from fastapi_stepup.providers.descope.client import DescopeClient
from fastapi_stepup.providers.descope.requests import Delivery
from fastapi_stepup.providers.descope.responses import DescopeTokens, DescopeUser
from fastapi_stepup.router.rate_limits import Limiter, client_address
from fastapi_stepup.router.schemas import (
    Callback,
    EnchantedLinkStart,
    EnchantedLinkStarted,
    LinkVerified,
    LinkVerify,
    MagicLinkStart,
    NOTPStarted,
    OAuthStart,
    OTPStart,
    OTPVerify,
    PasskeyFinish,
    PasskeyStarted,
    Pending,
    Poll,
    ProviderStarted,
    SSOStart,
    Started,
    SteppedUpSession,
    StepUpBody,
    TOTPVerify,
)
from fastapi_stepup.router.session_response import hand_over, user_id

_SHORT: Final = 7

Method = Literal["otp", "totp", "magiclink", "enchantedlink", "passkey", "oauth", "sso", "notp"]


@dataclass(frozen=True, slots=True)
class Route:
    """One `POST` route of a method: its path below the prefix, its body, its replies, its step.

    `uri` is the name under which a challenge points to it. `handle` gets the request, the
    caller's claims (`None` where `public`) and the body.
    """

    path: str
    uri: str
    body: type[StepUpBody]
    reply: type[BaseModel]
    handle: "Callable[[Request, Any, Any], Awaitable[BaseModel | Response]]"
    summary: str
    public: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """Who the caller is to Descope, and the refresh token that they step up with."""

    user: DescopeUser
    refresh_token: str


class Steps:
    """What the methods of one router share: identification, limits, hand-over.

    Args:
        guard: Authorizes the callers and talks to Descope.
        limiter: Counts; `None` counts nothing.
        redirect_uris: Where links and providers may send the user back to.
        enroll_uri: Where a user without a usable method can enrol one.
        cookie_domain: `Domain` of the cookies.
    """

    def __init__(
        self,
        guard: StepUpGuard,
        *,
        limiter: Limiter | None,
        redirect_uris: tuple[str, ...],
        enroll_uri: str | None,
        cookie_domain: str | None,
    ) -> None:
        self.guard = guard
        self.limiter = limiter
        self.redirect_uris = redirect_uris
        self.enroll_uri = enroll_uri
        self.cookie_domain = cookie_domain
        self.methods: Sequence[StepUpMethod] = ()

    async def begin(self, request: Request, caller: Claims, body: StepUpBody, name: str) -> Proof:
        """Identify the caller, and count that something is about to be sent.

        Raises:
            TooManyAttempts: Too much was sent already.
            RefreshTokenRequired: No refresh token came.
            ImpersonationRefused: The refresh token is of somebody who acts for the user.
            SubjectMismatch: The refresh token belongs to somebody else.
        """
        refresh_token = await self._own_refresh_token(request, caller, body)
        if self.limiter is not None:
            await self.limiter.count_start(
                subject=user_id(caller),
                address=client_address(request.scope.get("client")),
                method=name,
            )
        return await self._proof(caller, refresh_token)

    async def attempt(self, request: Request, caller: Claims, body: StepUpBody) -> Proof:
        """Identify the caller, and count that a code is about to be tried; raises as `begin`."""
        refresh_token = await self._own_refresh_token(request, caller, body)
        await self.count_try(request, user_id(caller))
        return await self._proof(caller, refresh_token)

    async def identify(self, caller: Claims, refresh_token: str) -> Proof:
        """Return whose the refresh token is, which must be the caller.

        Raises:
            ImpersonationRefused: It is of somebody who acts for the user.
            SubjectMismatch: It belongs to somebody else.
        """
        return await self._proof(caller, await self._owned(caller, refresh_token))

    async def count_try(self, request: Request, subject: str | None) -> None:
        """Count that a proof is about to be tried.

        Raises:
            TooManyAttempts: Too many were.
        """
        if self.limiter is not None:
            address = client_address(request.scope.get("client"))
            await self.limiter.count_try(subject=subject, address=address)

    async def count_poll(self, caller: Claims) -> None:
        """Count that Descope is about to be asked how things are.

        Raises:
            TooManyAttempts: It was asked too often.
        """
        if self.limiter is not None:
            await self.limiter.count_poll(subject=user_id(caller))

    async def _own_refresh_token(self, request: Request, caller: Claims, body: StepUpBody) -> str:
        refresh_token = body.refresh_token or self.guard.credentials.refresh_token(request)
        if refresh_token is None:
            raise RefreshTokenRequired
        return await self._owned(caller, refresh_token)

    async def _owned(self, caller: Claims, refresh_token: str) -> str:
        refresh = await self.guard.verifier.verify_refresh(refresh_token)
        if refresh.impersonated:
            raise ImpersonationRefused
        if user_id(refresh) != user_id(caller):
            raise SubjectMismatch
        return Secret(refresh_token)

    async def _proof(self, caller: Claims, refresh_token: str) -> Proof:
        user = await self.guard.descope.me(refresh_token)
        if user.user_id != user_id(caller):
            raise SubjectMismatch
        return Proof(user, refresh_token)

    def refuse_unusable(self, user: DescopeUser) -> None:
        """Answer for a user who cannot step up by the method they asked for.

        Raises:
            NoStepUpMethod: Nor by any other one here.
            DeliveryUnavailable: But by another one.
        """
        if not any(method.usable_by(user) for method in self.methods):
            raise NoStepUpMethod(enroll_uri=self.enroll_uri)
        raise DeliveryUnavailable

    def redirect_uri(self, asked: str | None) -> str:
        """Return where to send the user back to: one of the configured URIs, exactly.

        Raises:
            InvalidBody: *asked* is not one of them.
        """
        if asked is None:
            return self.redirect_uris[0]
        if asked not in self.redirect_uris:
            raise InvalidBody([{"field": "redirect_uri", "problem": "not_allowed"}])
        return asked

    async def finish(
        self, request: Request, caller: Claims, tokens: DescopeTokens, body: StepUpBody
    ) -> Response:
        """Hand a finished step-up over; see `hand_over`."""
        return await hand_over(
            self.guard,
            request,
            caller,
            tokens,
            refresh_by_cookie=not body.refresh_token
            and self.guard.credentials.refresh_token(request) is not None,
            cookie_domain=self.cookie_domain,
        )


class StepUpMethod(ABC):
    """A method to step up by: its routes, and who can use it.

    Subclasses name themselves, list their routes, and say how they appear in a challenge.
    """

    name: ClassVar[Method]

    def __init_subclass__(cls, *, name: Method) -> None:
        """Take the name of a method."""
        super().__init_subclass__()
        cls.name = name

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    @property
    def descope(self) -> DescopeClient:
        """The guard's client of the moment."""
        return self.steps.guard.descope

    @abstractmethod
    def routes(self) -> list[Route]:
        """Return the method's routes."""

    def offers(self) -> list[str]:
        """Return how a challenge lists the method."""
        return [self.name]

    @abstractmethod
    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        """Return what of it *user* can use, with the masked address where there is one."""


class OTP(StepUpMethod, name="otp"):
    """A code by e-mail, text message, call or WhatsApp."""

    def __init__(self, steps: Steps, deliveries: tuple[Delivery, ...]) -> None:
        super().__init__(steps)
        self.deliveries = deliveries

    def routes(self) -> list[Route]:
        return [
            Route("/otp/start", "start_uri", OTPStart, Started, self.start, "Send a code"),
            Route(
                "/otp/verify",
                "verify_uri",
                OTPVerify,
                SteppedUpSession,
                self.verify,
                "Exchange a code for a stepped-up session",
            ),
        ]

    def offers(self) -> list[str]:
        return list(self.deliveries)

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(d, masked(user.address(d))) for d in self.deliveries if user.can_receive(d)]

    async def start(self, request: Request, caller: Claims, body: OTPStart) -> Started:
        self._offered(body.delivery)
        proof = await self.steps.begin(request, caller, body, f"otp {body.delivery}")
        if not proof.user.can_receive(body.delivery):
            self.steps.refuse_unusable(proof.user)
        login_id = proof.user.login_id(body.delivery)
        destination = await self.descope.start_otp(body.delivery, login_id, proof.refresh_token)
        return Started(delivery=body.delivery, destination=destination)

    async def verify(self, request: Request, caller: Claims, body: OTPVerify) -> Response:
        self._offered(body.delivery)
        proof = await self.steps.attempt(request, caller, body)
        login_id = proof.user.login_id(body.delivery)
        tokens = await self.descope.verify_otp(body.delivery, login_id, body.code)
        return await self.steps.finish(request, caller, tokens, body)

    def _offered(self, delivery: Delivery) -> None:
        if delivery not in self.deliveries:
            raise InvalidBody([{"field": "delivery", "problem": "not_offered"}])


class TOTP(StepUpMethod, name="totp"):
    """A code of an authenticator app: one call."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/totp/verify",
                "verify_uri",
                TOTPVerify,
                SteppedUpSession,
                self.verify,
                "Exchange an authenticator code for a stepped-up session",
            )
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.totp else []

    async def verify(self, request: Request, caller: Claims, body: TOTPVerify) -> Response:
        proof = await self.steps.attempt(request, caller, body)
        if not proof.user.totp:
            self.steps.refuse_unusable(proof.user)
        login_id = proof.user.login_id()
        tokens = await self.descope.verify_totp(login_id, body.code, proof.refresh_token)
        return await self.steps.finish(request, caller, tokens, body)


class MagicLink(StepUpMethod, name="magiclink"):
    """A link that the user opens; its page hands the token back."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/magiclink/start",
                "start_uri",
                MagicLinkStart,
                Started,
                self.start,
                "Send a magic link",
            ),
            Route(
                "/magiclink/verify",
                "verify_uri",
                LinkVerify,
                SteppedUpSession,
                self.verify,
                "Exchange a magic link's token for a stepped-up session",
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        address = user.email or user.phone
        return [] if address is None else [(self.name, masked(address))]

    async def start(self, request: Request, caller: Claims, body: MagicLinkStart) -> Started:
        uri = self.steps.redirect_uri(body.redirect_uri)
        proof = await self.steps.begin(request, caller, body, f"magiclink {body.delivery}")
        if not proof.user.can_receive(body.delivery):
            self.steps.refuse_unusable(proof.user)
        destination = await self.descope.start_magic_link(
            body.delivery, proof.user.login_id(body.delivery), uri, proof.refresh_token
        )
        return Started(delivery=body.delivery, destination=destination)

    async def verify(self, request: Request, caller: Claims, body: LinkVerify) -> Response:
        await self.steps.count_try(request, user_id(caller))
        tokens = await self.descope.verify_magic_link(body.token)
        return await self.steps.finish(request, caller, tokens, body)


class EnchantedLink(StepUpMethod, name="enchantedlink"):
    """A link that may be opened on another device, while this one polls."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/enchantedlink/start",
                "start_uri",
                EnchantedLinkStart,
                EnchantedLinkStarted,
                self.start,
                "Send an enchanted link",
            ),
            Route(
                "/enchantedlink/poll",
                "poll_uri",
                Poll,
                SteppedUpSession,
                self.poll,
                "Ask whether the link was opened",
                pending=True,
            ),
            Route(
                "/enchantedlink/verify",
                "verify_uri",
                LinkVerify,
                LinkVerified,
                self.verify,
                "Confirm an enchanted link, from the page that it opens",
                public=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [] if user.email is None else [(self.name, masked(user.email))]

    async def start(
        self, request: Request, caller: Claims, body: EnchantedLinkStart
    ) -> EnchantedLinkStarted:
        uri = self.steps.redirect_uri(body.redirect_uri)
        proof = await self.steps.begin(request, caller, body, self.name)
        if proof.user.email is None:
            self.steps.refuse_unusable(proof.user)
        link = await self.descope.start_enchanted_link(
            proof.user.login_id("email"), uri, proof.refresh_token
        )
        return EnchantedLinkStarted(
            pending_ref=link.pending_ref, link_id=link.link_id, destination=link.destination
        )

    async def poll(self, request: Request, caller: Claims, body: Poll) -> Response:
        await self.steps.count_poll(caller)
        tokens = await self.descope.poll_enchanted_link(body.pending_ref)
        return await _polled(self.steps, request, caller, tokens, body)

    async def verify(self, request: Request, _: None, body: LinkVerify) -> LinkVerified:
        # The device that opens the link has no session; the token is all there is.
        await self.steps.count_try(request, None)
        await self.descope.verify_enchanted_link(body.token)
        return LinkVerified()


class NOTP(StepUpMethod, name="notp"):
    """A WhatsApp message that the user sends, while this device polls."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/notp/start",
                "start_uri",
                StepUpBody,
                NOTPStarted,
                self.start,
                "Begin a step-up by the user's own WhatsApp message",
            ),
            Route(
                "/notp/poll",
                "poll_uri",
                Poll,
                SteppedUpSession,
                self.poll,
                "Ask whether the message has come",
                pending=True,
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [] if user.phone is None else [(self.name, masked(user.phone))]

    async def start(self, request: Request, caller: Claims, body: StepUpBody) -> NOTPStarted:
        proof = await self.steps.begin(request, caller, body, self.name)
        if proof.user.phone is None:
            self.steps.refuse_unusable(proof.user)
        message = await self.descope.start_notp(
            proof.user.login_id("whatsapp"), proof.refresh_token
        )
        return NOTPStarted(
            pending_ref=message.pending_ref,
            authorization_uri=message.authorization_uri,
            image=message.image,
        )

    async def poll(self, request: Request, caller: Claims, body: Poll) -> Response:
        await self.steps.count_poll(caller)
        tokens = await self.descope.poll_notp(body.pending_ref)
        return await _polled(self.steps, request, caller, tokens, body)


class Passkey(StepUpMethod, name="passkey"):
    """A passkey, through the browser's WebAuthn API."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/passkey/start",
                "start_uri",
                StepUpBody,
                PasskeyStarted,
                self.start,
                "Begin a step-up by passkey",
            ),
            Route(
                "/passkey/finish",
                "finish_uri",
                PasskeyFinish,
                SteppedUpSession,
                self.finish,
                "Exchange a passkey's answer for a stepped-up session",
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.passkey else []

    async def start(self, request: Request, caller: Claims, body: StepUpBody) -> PasskeyStarted:
        origin = self.steps.guard.credentials.page_origin(request)
        if origin is None:
            raise CrossSiteRequest
        proof = await self.steps.begin(request, caller, body, self.name)
        if not proof.user.passkey:
            self.steps.refuse_unusable(proof.user)
        challenge = await self.descope.start_passkey(
            proof.user.login_id(), origin, proof.refresh_token
        )
        return PasskeyStarted(transaction_id=challenge.transaction_id, options=challenge.options)

    async def finish(self, request: Request, caller: Claims, body: PasskeyFinish) -> Response:
        await self.steps.count_try(request, user_id(caller))
        tokens = await self.descope.finish_passkey(body.transaction_id, body.response)
        return await self.steps.finish(request, caller, tokens, body)


class OAuth(StepUpMethod, name="oauth"):
    """A login at a social provider; the page it comes back to hands the code in."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/oauth/start",
                "start_uri",
                OAuthStart,
                ProviderStarted,
                self.start,
                "Begin a step-up at a social provider",
            ),
            Route(
                "/oauth/callback",
                "callback_uri",
                Callback,
                SteppedUpSession,
                self.callback,
                "Exchange a provider's code for a stepped-up session",
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.providers else []

    async def start(self, request: Request, caller: Claims, body: OAuthStart) -> ProviderStarted:
        uri = self.steps.redirect_uri(body.redirect_uri)
        proof = await self.steps.begin(request, caller, body, self.name)
        return ProviderStarted(
            authorization_uri=await self.descope.start_oauth(
                body.provider, uri, proof.refresh_token
            )
        )

    async def callback(self, request: Request, caller: Claims, body: Callback) -> Response:
        await self.steps.count_try(request, user_id(caller))
        tokens = await self.descope.exchange_oauth(body.code)
        return await self.steps.finish(request, caller, tokens, body)


class SSO(StepUpMethod, name="sso"):
    """A login at the identity provider of one of the user's tenants."""

    def routes(self) -> list[Route]:
        return [
            Route(
                "/sso/start",
                "start_uri",
                SSOStart,
                ProviderStarted,
                self.start,
                "Begin a step-up at a tenant's identity provider",
            ),
            Route(
                "/sso/callback",
                "callback_uri",
                Callback,
                SteppedUpSession,
                self.callback,
                "Exchange the identity provider's code for a stepped-up session",
            ),
        ]

    def usable_by(self, user: DescopeUser) -> list[tuple[str, str | None]]:
        return [(self.name, None)] if user.tenants else []

    async def start(self, request: Request, caller: Claims, body: SSOStart) -> ProviderStarted:
        uri = self.steps.redirect_uri(body.redirect_uri)
        proof = await self.steps.begin(request, caller, body, self.name)
        if body.tenant not in proof.user.tenants:
            self.steps.refuse_unusable(proof.user)
        return ProviderStarted(
            authorization_uri=await self.descope.start_sso(body.tenant, uri, proof.refresh_token)
        )

    async def callback(self, request: Request, caller: Claims, body: Callback) -> Response:
        await self.steps.count_try(request, user_id(caller))
        tokens = await self.descope.exchange_sso(body.code)
        return await self.steps.finish(request, caller, tokens, body)


METHODS: Final[dict[str, type[StepUpMethod]]] = {
    method.name: method for method in (TOTP, MagicLink, EnchantedLink, Passkey, OAuth, SSO, NOTP)
}
NEED_REDIRECT_URI: Final = frozenset({"magiclink", "enchantedlink", "oauth", "sso"})


async def _polled(
    steps: Steps, request: Request, caller: Claims, tokens: DescopeTokens | None, body: StepUpBody
) -> Response:
    if tokens is None:
        return JSONResponse(Pending().model_dump(), 202)
    return await steps.finish(request, caller, tokens, body)


def masked(address: str | None) -> str | None:
    """Return an e-mail address or a phone number with just enough left to recognise it."""
    if address is None:
        return None
    name, at, domain = address.rpartition("@")
    if at:
        return f"{name[:1] if len(name) > 1 else ''}**@{domain}"
    if len(address) <= _SHORT:
        return "***"
    return f"{address[:2]}{'*' * (len(address) - 4)}{address[-2:]}"
