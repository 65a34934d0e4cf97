"""What the helper routes take and answer, as models; and how a body is read without echoing it."""

from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from fastapi_stepup._json import parse_object
from fastapi_stepup._secret import Secret
from fastapi_stepup.errors import BodyTooLarge, InvalidBody, UnsupportedMediaType
from fastapi_stepup.providers.descope.requests import Delivery, LinkDelivery
from fastapi_stepup.tokens.jws import MAX_TOKEN

MAX_REQUEST_BODY: Final = MAX_TOKEN + 16 * 1024

_OPAQUE: Final = r"^[!-~]{1,2048}$"
_NAME: Final = r"^[A-Za-z0-9._-]{1,128}$"

# The pattern first, or the schema would not show it.
Code = Annotated[str, Field(pattern=r"^[0-9]{6}$", repr=False), AfterValidator(Secret)]
Opaque = Annotated[str, Field(pattern=_OPAQUE, repr=False), AfterValidator(Secret)]
Name = Annotated[str, Field(pattern=_NAME)]
RedirectURI = Annotated[
    str | None,
    Field(max_length=2048, description="One of the configured URIs; the first one by default."),
]


class StepUpBody(BaseModel):
    """What every helper route takes: the refresh token, unless the refresh cookie carries it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)

    refresh_token: Annotated[str, AfterValidator(Secret)] | None = Field(
        default=None,
        max_length=MAX_TOKEN,
        repr=False,
        description="The refresh token, unless the refresh cookie carries it.",
    )


class OTPStart(StepUpBody):
    """What `POST /otp/start` takes."""

    delivery: Delivery = Field(description="How to send the code.")


class OTPVerify(OTPStart):
    """What `POST /otp/verify` takes."""

    code: Code = Field(description="The code that was sent.")


class TOTPVerify(StepUpBody):
    """What `POST /totp/verify` takes."""

    code: Code = Field(description="What the authenticator app shows.")


class MagicLinkStart(StepUpBody):
    """What `POST /magiclink/start` takes."""

    delivery: LinkDelivery = Field(description="How to send the link.")
    redirect_uri: RedirectURI = None


class LinkVerify(StepUpBody):
    """What `POST /magiclink/verify` and `POST /enchantedlink/verify` take."""

    token: Opaque = Field(description="The parameter `t` of the link.")


class EnchantedLinkStart(StepUpBody):
    """What `POST /enchantedlink/start` takes."""

    redirect_uri: RedirectURI = None


class Poll(StepUpBody):
    """What the `poll` routes take."""

    pending_ref: Opaque


class PasskeyFinish(StepUpBody):
    """What `POST /passkey/finish` takes."""

    transaction_id: Opaque
    response: dict[str, Any] = Field(
        repr=False, description="The credential, as `PublicKeyCredential.toJSON()` gives it."
    )


class OAuthStart(StepUpBody):
    """What `POST /oauth/start` takes."""

    provider: Name = Field(description="A provider of the project, such as `google`.")
    redirect_uri: RedirectURI = None


class SSOStart(StepUpBody):
    """What `POST /sso/start` takes."""

    tenant: Name = Field(description="A tenant of the user.")
    redirect_uri: RedirectURI = None


class Callback(StepUpBody):
    """What the `callback` routes take: the parameter `code` that came back from the provider."""

    code: Opaque


class Started(BaseModel):
    """A code or a link is on its way: how, and where to, masked."""

    delivery: Delivery
    destination: str


class EnchantedLinkStarted(BaseModel):
    """An enchanted link is on its way: which of its links to open, and what to poll with."""

    pending_ref: str = Field(repr=False)
    link_id: str
    destination: str


class NOTPStarted(BaseModel):
    """What the user opens to send the WhatsApp message, and what to poll with."""

    pending_ref: str = Field(repr=False)
    authorization_uri: str = Field(repr=False)
    image: str | None


class PasskeyStarted(BaseModel):
    """A WebAuthn challenge, as `PublicKeyCredential.parseRequestOptionsFromJSON` takes it."""

    transaction_id: str = Field(repr=False)
    options: dict[str, Any] = Field(repr=False)


class ProviderStarted(BaseModel):
    """Where to send the user."""

    authorization_uri: str = Field(repr=False)


class Pending(BaseModel):
    """Not done yet: ask again in a second or two."""

    status: Literal["pending"] = "pending"


class LinkVerified(BaseModel):
    """The link counts; whoever polls for it gets the session."""

    status: Literal["verified"] = "verified"


class UsableMethod(BaseModel):
    """A way to step up, and the masked address it uses, where it uses one and it is known."""

    method: str
    destination: str | None = None


class StepUpStatus(BaseModel):
    """Whether the session is stepped up, until when, and how this user can step up."""

    signed_in: bool = False
    stepped_up: bool = False
    expires_at: int | None = Field(default=None, description="Epoch seconds.")
    methods: list[UsableMethod] = []
    enroll_uri: str | None = None


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


AnyBody = TypeVar("AnyBody", bound=BaseModel)


async def read_body(request: Request, model: type[AnyBody]) -> AnyBody:
    """Return the JSON body of *request* as *model*, and refuse anything else without echoing it.

    Raises:
        UnsupportedMediaType: The body is not declared as `application/json`.
        BodyTooLarge: It is longer than these routes ever need.
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
