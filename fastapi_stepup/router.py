"""stepup_router: the helper routes that step a session up through Descope."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastapi_stepup.claims import Claims
from fastapi_stepup.dependency import RequireSession
from fastapi_stepup.descope import DELIVERIES, Delivery, DescopeTokens
from fastapi_stepup.errors import (
    BodyTooLarge,
    ConfigurationError,
    DeliveryUnavailable,
    DescopeError,
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
    refresh_token: str | None = Field(
        default=None,
        max_length=MAX_TOKEN,
        repr=False,
        description="The refresh token, unless the refresh cookie carries it.",
    )


class OTPVerify(OTPStart):
    """What `POST /otp/verify` takes."""

    code: str = Field(pattern=r"^[0-9]{6}$", repr=False, description="The code that was sent.")


class OTPStarted(BaseModel):
    """The reply of `POST /otp/start`: where the code went, masked."""

    delivery: Delivery
    destination: str


class SteppedUpSession(BaseModel):
    """The reply of a completed step-up.

    A caller that presented cookies gets the tokens as cookies, and `null` here.
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
                raise
            response.headers.update(_HEADERS)
            return response

        return guarded


def stepup_router(
    guard: StepUpGuard,
    *,
    prefix: str = "/step-up",
    deliveries: tuple[Delivery, ...] = DELIVERIES,
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

    Raises:
        ConfigurationError: *deliveries* is empty or names an unknown one, or *prefix* is
            malformed.
    """
    if not isinstance(guard, StepUpGuard):
        msg = "stepup_router takes the guard first: stepup_router(guard)."
        raise ConfigurationError(msg)
    if isinstance(deliveries, str) or not deliveries or not set(deliveries) <= set(DELIVERIES):
        msg = f"deliveries is a tuple of: {', '.join(DELIVERIES)}."
        raise ConfigurationError(msg)
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        msg = f'prefix starts with "/" and does not end with it, unlike {prefix!r}.'
        raise ConfigurationError(msg)
    steps = _OTPSteps(guard, tuple(dict.fromkeys(deliveries)))
    start_name, verify_name = (
        f"stepup_otp_{step}_{guard.project_id}" for step in ("start", "verify")
    )
    router = APIRouter(prefix=prefix, tags=["step-up"], route_class=HelperRoute)
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

    guard.mount_helper_routes(HelperRoutes(start_name, verify_name, steps.deliveries))
    return router


class _OTPSteps:
    """The two steps of an OTP step-up, for one router."""

    def __init__(self, guard: StepUpGuard, deliveries: tuple[Delivery, ...]) -> None:
        self.guard = guard
        self.deliveries = deliveries

    async def start(self, request: Request, caller: Claims) -> OTPStarted:
        body = await self._body(request, OTPStart)
        login_id, refresh_token = await self._identify(request, caller, body)
        descope = self.guard.descope
        masked = await descope.start_otp(body.delivery, login_id, refresh_token)
        return OTPStarted(delivery=body.delivery, destination=masked)

    async def verify(self, request: Request, caller: Claims) -> Response:
        body = await self._body(request, OTPVerify)
        login_id, _ = await self._identify(request, caller, body)
        tokens = await self.guard.descope.verify_otp(body.delivery, login_id, body.code)
        return await hand_over(self.guard, request, caller, tokens)

    async def _body(self, request: Request, model: type[OTPBody]) -> OTPBody:
        body = await read_body(request, model)
        if body.delivery not in self.deliveries:
            raise InvalidBody([{"field": "delivery", "problem": "not_offered"}])
        return body

    async def _identify(self, request: Request, caller: Claims, body: OTPStart) -> tuple[str, str]:
        """Return the caller's login id, as Descope knows it, and their refresh token."""
        refresh_token = body.refresh_token or self.guard.credentials.refresh_token(request)
        if refresh_token is None:
            raise RefreshTokenRequired
        refresh = await self.guard.verifier.verify_refresh(refresh_token)
        if refresh.subject != caller.subject:
            raise SubjectMismatch
        user = await self.guard.descope.me(refresh_token)
        if user.user_id not in {caller.subject, caller.get("dsub")}:
            raise SubjectMismatch
        if not user.can_receive(body.delivery):
            raise DeliveryUnavailable
        return user.login_ids[0], refresh_token


async def hand_over(
    guard: StepUpGuard, request: Request, caller: Claims, tokens: DescopeTokens
) -> Response:
    """Verify the tokens of a finished step-up and hand them to the caller, the way they came.

    Nothing is passed on unless the new session is valid, is really stepped up and belongs to the
    caller: same `iss`, same `sub`.

    Raises:
        SubjectMismatch: It is somebody else's session.
        DescopeError: The session is not valid or not stepped up.
        KeysUnavailable: It cannot be verified at the moment.
    """
    session = await _verified(guard.verifier.verify(tokens.session_token))
    parts = [session]
    if tokens.refresh_token is not None:
        parts.append(await _verified(guard.verifier.verify_refresh(tokens.refresh_token)))
    for part in parts:
        if (part.issuer, part.subject) != (caller.issuer, caller.subject):
            raise SubjectMismatch
    if not session.stepped_up:
        raise DescopeError
    by_cookie = guard.credentials.read(request).source == "cookie"
    expires_in = max(0, int(session.expires_at - guard.clock()))
    response = JSONResponse(
        SteppedUpSession(
            session_token=None if by_cookie else tokens.session_token,
            refresh_token=None if by_cookie else tokens.refresh_token,
            expires_at=int(session.expires_at),
            expires_in=expires_in,
            subject=session.subject,
        ).model_dump()
    )
    if by_cookie:
        names = guard.credentials
        _set_cookie(response, names.session_cookie, tokens.session_token, expires_in)
        if tokens.refresh_token is not None:
            lifetime = max(0, int(parts[1].expires_at - guard.clock()))
            _set_cookie(response, names.refresh_cookie, tokens.refresh_token, lifetime)
    return response


async def _verified(verification: Awaitable[Claims]) -> Claims:
    """Turn "your token is bad" into "Descope's answer is bad": the caller did nothing wrong."""
    try:
        return await verification
    except InvalidToken:
        pass
    raise DescopeError


def _set_cookie(response: Response, name: str | None, value: str, max_age: int) -> None:
    if name is not None:
        response.set_cookie(
            name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax"
        )


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
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_REQUEST_BODY:
            raise BodyTooLarge
    members = parse_object(bytes(received))
    if members is None:
        raise InvalidBody
    try:
        return model.model_validate(members)
    except ValidationError as error:
        problems = [
            {"field": _field_name(e["loc"], model), "problem": e["type"]} for e in error.errors()
        ]
    # Raised here: pydantic's error quotes its input, which holds a code or a token.
    raise InvalidBody(problems)


def _field_name(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return the member at fault when it is one of ours; a foreign name is not reflected."""
    name = str(location[0])
    return name if name in model.model_fields else "(unknown)"


def _request_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
