"""stepup_router: the helper routes that step a session up through Descope."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from fastapi_stepup.claims import Claims
from fastapi_stepup.dependency import RequireSession
from fastapi_stepup.descope import DELIVERIES, Delivery, DescopeTokens, Secret
from fastapi_stepup.errors import (
    BodyTooLarge,
    ConfigurationError,
    DeliveryUnavailable,
    DescopeError,
    ImpersonationRefused,
    InvalidBody,
    InvalidToken,
    RefreshTokenRequired,
    StepUpError,
    SubjectMismatch,
    UnsupportedMediaType,
)
from fastapi_stepup.guard import HelperRoutes, StepUpGuard
from fastapi_stepup.jws import MAX_TOKEN
from fastapi_stepup.strict_json import parse_object

MAX_REQUEST_BODY: Final = MAX_TOKEN + 1024

# Each router's routes are named apart: a challenge must point to those of its own guard, with the
# deliveries that are offered there.
_numbers: Final = count(1)
_COOKIE_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class OTPStart(BaseModel):
    """What `POST /otp/start` takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    delivery: Delivery = Field(description="How to send the code.")
    refresh_token: Annotated[str, AfterValidator(Secret)] | None = Field(
        default=None,
        max_length=MAX_TOKEN,
        repr=False,
        description="The refresh token, unless the refresh cookie carries it.",
    )


class OTPVerify(OTPStart):
    """What `POST /otp/verify` takes."""

    code: Annotated[str, AfterValidator(Secret)] = Field(
        pattern=r"^[0-9]{6}$", repr=False, description="The code that was sent."
    )


class OTPStarted(BaseModel):
    """The reply of `POST /otp/start`: where the code went, masked."""

    delivery: Delivery
    destination: str


class SteppedUpSession(BaseModel):
    """The reply of a completed step-up.

    What the caller presented as a cookie comes back as one, and is `null` here.
    """

    session_token: str | None = Field(repr=False)
    refresh_token: str | None = Field(repr=False)
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # the scheme's name
    expires_at: int = Field(description="When the session token ends, in epoch seconds.")
    expires_in: int = Field(description="The same in seconds from now.")
    stepped_up: Literal[True] = True
    subject: str


Body = TypeVar("Body", bound=BaseModel)
OTPBody = TypeVar("OTPBody", bound=OTPStart)


class HelperRoute(APIRoute):
    """A route whose every answer, refusals included, is kept out of caches and referrers."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except StepUpError as error:
                error.headers = {**_HEADERS, **(error.headers or {})}
                # The frames it went through hold codes and tokens, which error reporters collect.
                refusal = error.with_traceback(None)
            else:
                response.headers.update(_HEADERS)
                return response
            raise refusal

        return guarded


def stepup_router(
    guard: StepUpGuard,
    *,
    prefix: str = "/step-up",
    deliveries: tuple[Delivery, ...] = DELIVERIES,
    cookie_domain: str | None = None,
) -> APIRouter:
    """Return the helper routes of *guard*, ready for `app.include_router`.

    `POST {prefix}/otp/start` sends a code to the address that Descope has on file for the user of
    the session; `POST {prefix}/otp/verify` exchanges it for a stepped-up session. Whose session it
    is comes from the verified tokens and from Descope, never from the body. Does not create users
    and does not sign anybody in.

    Args:
        guard: Authorizes the callers and talks to Descope.
        prefix: Path prefix of the routes.
        deliveries: How codes may be sent, in the order in which challenges list them.
        cookie_domain: `Domain` of the cookies that are set, `"example.com"`: what whoever signs
            your users in sets them with, or the browser keeps both and sends both. `None` is for
            cookies of this very host.

    Raises:
        ConfigurationError: *deliveries* is empty or names an unknown one, or *prefix* or
            *cookie_domain* is malformed.
    """
    if not isinstance(guard, StepUpGuard):
        msg = "stepup_router takes the guard first: stepup_router(guard)."
        raise ConfigurationError(msg)
    offered = () if isinstance(deliveries, str) else tuple(dict.fromkeys(deliveries))
    if not offered or not set(offered) <= set(DELIVERIES):
        msg = f"deliveries is a tuple of: {', '.join(DELIVERIES)}."
        raise ConfigurationError(msg)
    if not isinstance(prefix, str) or (prefix and not prefix.startswith("/")) or prefix[-1:] == "/":
        msg = f'prefix starts with "/" and does not end with it, unlike {prefix!r}.'
        raise ConfigurationError(msg)
    if cookie_domain is not None:
        if not _COOKIE_DOMAIN.fullmatch(cookie_domain):
            msg = f'cookie_domain is a lower-case domain like "example.com", not {cookie_domain!r}.'
            raise ConfigurationError(msg)
        names = (guard.credentials.session_cookie, guard.credentials.refresh_cookie)
        if any((name or "").startswith("__Host-") for name in names):
            # RFC 6265bis section 4.1.3.2: a browser drops such a cookie when it has a Domain.
            msg = "A cookie named __Host-… has no domain: leave cookie_domain out."
            raise ConfigurationError(msg)
    steps = _OTPSteps(guard, offered, cookie_domain)
    number = next(_numbers)
    start_name, verify_name = f"stepup_otp_start_{number}", f"stepup_otp_verify_{number}"
    router = APIRouter(
        prefix=prefix,
        tags=["step-up"],
        route_class=HelperRoute,
        generate_unique_id_function=_operation_id,
    )
    caller = Depends(RequireSession(guard))

    @router.post(
        "/otp/start",
        name=start_name,
        response_model=OTPStarted,
        openapi_extra=_request_body(OTPStart),
        summary="Send a step-up code",
    )
    async def start(request: Request, claims: Annotated[Claims, caller]) -> OTPStarted:
        return await steps.start(request, claims)

    @router.post(
        "/otp/verify",
        name=verify_name,
        response_model=SteppedUpSession,
        openapi_extra=_request_body(OTPVerify),
        summary="Exchange a step-up code for a stepped-up session",
    )
    async def verify(request: Request, claims: Annotated[Claims, caller]) -> Response:
        return await steps.verify(request, claims)

    @router.post("/otp/start/", include_in_schema=False, dependencies=[caller])
    @router.post("/otp/verify/", include_in_schema=False, dependencies=[caller])
    async def no_redirect() -> None:
        # Without it the app would send tokens on to a URL that it makes from the Host field.
        raise HTTPException(404)

    guard.mount_helper_routes(HelperRoutes(start_name, verify_name, offered))
    return router


@dataclass(frozen=True, slots=True, repr=False)
class _Proof:
    """What a caller has to step up with."""

    login_id: str
    refresh_token: str
    refresh_by_cookie: bool


class _OTPSteps:
    """The two steps of an OTP step-up, for one router."""

    def __init__(
        self, guard: StepUpGuard, deliveries: tuple[Delivery, ...], cookie_domain: str | None
    ) -> None:
        self.guard = guard
        self.deliveries = deliveries
        self.cookie_domain = cookie_domain

    async def start(self, request: Request, caller: Claims) -> OTPStarted:
        with _bound(self.guard):
            body = await self._body(request, OTPStart)
            proof = await self._identify(request, caller, body)
            masked = await self.guard.descope.start_otp(
                body.delivery, proof.login_id, proof.refresh_token
            )
        return OTPStarted(delivery=body.delivery, destination=masked)

    async def verify(self, request: Request, caller: Claims) -> Response:
        with _bound(self.guard):
            body = await self._body(request, OTPVerify)
            proof = await self._identify(request, caller, body)
            tokens = await self.guard.descope.verify_otp(body.delivery, proof.login_id, body.code)
            return await hand_over(
                self.guard,
                request,
                caller,
                tokens,
                refresh_by_cookie=proof.refresh_by_cookie,
                cookie_domain=self.cookie_domain,
            )

    async def _body(self, request: Request, model: type[OTPBody]) -> OTPBody:
        body = await read_body(request, model)
        if body.delivery not in self.deliveries:
            raise InvalidBody([{"field": "delivery", "problem": "not_offered"}])
        return body

    async def _identify(self, request: Request, caller: Claims, body: OTPStart) -> _Proof:
        """Return the caller's login id, as Descope knows it, and their refresh token."""
        # Or whoever acts for the user could talk them out of a code and become them.
        if caller.impersonated:
            raise ImpersonationRefused
        refresh_token = body.refresh_token or self.guard.credentials.refresh_token(request)
        if refresh_token is None:
            raise RefreshTokenRequired
        refresh = await self.guard.verifier.verify_refresh(refresh_token)
        if refresh.impersonated:
            raise ImpersonationRefused
        if user_id(refresh) != user_id(caller):
            raise SubjectMismatch
        user = await self.guard.descope.me(refresh_token)
        if user.user_id != user_id(caller):
            raise SubjectMismatch
        if not user.can_receive(body.delivery):
            raise DeliveryUnavailable
        return _Proof(user.login_id(body.delivery), Secret(refresh_token), not body.refresh_token)


async def hand_over(
    guard: StepUpGuard,
    request: Request,
    caller: Claims,
    tokens: DescopeTokens,
    *,
    refresh_by_cookie: bool = False,
    cookie_domain: str | None = None,
) -> Response:
    """Verify the tokens of a finished step-up and hand them to the caller, the way they came.

    Nothing is passed on unless the new session is valid, is really stepped up and belongs to the
    caller: same `iss`, same `sub`. A new refresh token must belong to the same user.

    Args:
        guard: Verifies.
        request: The caller's request.
        caller: The session that it presented.
        tokens: What Descope handed out.
        refresh_by_cookie: Whether the caller's refresh token came as a cookie; the new one goes
            back as one then, also to a caller whose session came in the header: no script shall
            see what was kept from scripts.
        cookie_domain: `Domain` of the cookies.

    Raises:
        SubjectMismatch: It is somebody else's session.
        DescopeError: The session is not valid or not stepped up.
        KeysUnavailable: It cannot be verified at the moment.
    """
    session = await _verified(guard.verifier.verify(tokens.session_token))
    if (session.issuer, session.subject, user_id(session)) != (
        caller.issuer,
        caller.subject,
        user_id(caller),
    ):
        raise SubjectMismatch
    if not session.stepped_up or session.impersonated:
        raise DescopeError
    names, now = guard.credentials, guard.clock()
    expires_in = max(0, int(session.expires_at - now))
    by_cookie = names.read(request).source == "cookie"
    answer = SteppedUpSession(
        session_token=tokens.session_token,
        refresh_token=tokens.refresh_token,
        expires_at=int(session.expires_at),
        expires_in=expires_in,
        subject=session.subject,
    )
    cookies: list[tuple[str, str, int]] = []
    if by_cookie and names.session_cookie is not None:
        cookies.append((names.session_cookie, tokens.session_token, expires_in))
        answer.session_token = None
    if tokens.refresh_token is not None:
        refresh = await _verified(guard.verifier.verify_refresh(tokens.refresh_token))
        if user_id(refresh) != user_id(caller):
            raise SubjectMismatch
        if names.refresh_cookie is not None and (by_cookie or refresh_by_cookie):
            lifetime = max(0, int(refresh.expires_at - now))
            cookies.append((names.refresh_cookie, tokens.refresh_token, lifetime))
            answer.refresh_token = None
    response = JSONResponse(answer.model_dump())
    for name, value, lifetime in cookies:
        response.set_cookie(
            name,
            value,
            max_age=lifetime,
            path="/",
            domain=cookie_domain,
            secure=True,
            httponly=True,
            samesite="lax",
        )
    return response


def user_id(claims: Claims) -> str:
    """Return Descope's id of the user: `dsub` where a JWT template overrides `sub`."""
    real = claims.get("dsub")
    return real if isinstance(real, str) and real else claims.subject


@contextmanager
def _bound(guard: StepUpGuard) -> Iterator[None]:
    """Give each refusal the guard's realm."""
    try:
        yield
    except StepUpError as error:
        error.bind(realm=guard.realm)
        raise


async def _verified(verification: Awaitable[Claims]) -> Claims:
    """Turn "your token is bad" into "Descope's answer is bad": the caller did nothing wrong."""
    try:
        return await verification
    except InvalidToken:
        pass
    raise DescopeError


async def read_body(request: Request, model: type[Body]) -> Body:
    """Return the JSON body of *request* as *model*, and refuse anything else without echoing it.

    Raises:
        UnsupportedMediaType: The body is not declared as `application/json`.
        BodyTooLarge: It is longer than a refresh token needs.
        InvalidBody: It is not one JSON object with the members of *model*.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    received = bytearray()
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                received += chunk
                if len(received) > MAX_REQUEST_BODY:
                    raise BodyTooLarge
    except ClientDisconnect:
        raise InvalidBody from None
    members = parse_object(bytes(received))
    if members is None:
        raise InvalidBody
    try:
        return model.model_validate(members)
    except ValidationError as error:
        found = [(_field_name(e["loc"], model), e["type"]) for e in error.errors()]
    # Raised here: pydantic's error quotes its input, which holds a code or a token.
    raise InvalidBody([{"field": name, "problem": kind} for name, kind in dict.fromkeys(found)])


def _field_name(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return the member at fault when it is one of ours; a foreign name is not reflected."""
    name = str(location[0])
    return name if name in model.model_fields else "(unknown)"


def _request_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its path, which is the same in each run, unlike a route's name."""
    return re.sub(r"\W+", "_", route.path_format).strip("_") + "_post"
