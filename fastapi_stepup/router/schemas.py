"""Request and response models of the helper routes."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fastapi_stepup._secret import Secret
from fastapi_stepup.providers.descope.requests import Delivery, LinkDelivery
from fastapi_stepup.tokens.jws import MAX_TOKEN

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


class StepUpRequestBody(BaseModel):
    """Body of every helper route: the refresh token, unless the refresh cookie carries it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)

    refresh_token: Annotated[str, AfterValidator(Secret)] | None = Field(
        default=None,
        max_length=MAX_TOKEN,
        repr=False,
        description="The refresh token, unless the refresh cookie carries it.",
    )


class OTPStart(StepUpRequestBody):
    """Body of `POST /otp/start`."""

    delivery: Delivery = Field(description="How to send the code.")


class OTPVerify(OTPStart):
    """Body of `POST /otp/verify`."""

    code: Code = Field(description="The code that was sent.")


class TOTPVerify(StepUpRequestBody):
    """Body of `POST /totp/verify`."""

    code: Code = Field(description="The code that the authenticator app shows.")


class MagicLinkStart(StepUpRequestBody):
    """Body of `POST /magiclink/start`."""

    delivery: LinkDelivery = Field(description="How to send the link.")
    redirect_uri: RedirectURI = None


class LinkVerify(StepUpRequestBody):
    """Body of `POST /magiclink/verify` and `POST /enchantedlink/verify`."""

    token: Opaque = Field(description="The parameter `t` of the link.")


class EnchantedLinkStart(StepUpRequestBody):
    """Body of `POST /enchantedlink/start`."""

    redirect_uri: RedirectURI = None


class Poll(StepUpRequestBody):
    """Body of the `poll` routes."""

    pending_ref: Opaque


class PasskeyFinish(StepUpRequestBody):
    """Body of `POST /passkey/finish`."""

    transaction_id: Opaque
    response: dict[str, Any] = Field(
        repr=False, description="The credential, as `PublicKeyCredential.toJSON()` gives it."
    )


class OAuthStart(StepUpRequestBody):
    """Body of `POST /oauth/start`."""

    provider: Name = Field(description="A provider of the project, such as `google`.")
    redirect_uri: RedirectURI = None


class SSOStart(StepUpRequestBody):
    """Body of `POST /sso/start`."""

    tenant: Name = Field(description="A tenant of the user.")
    redirect_uri: RedirectURI = None


class Callback(StepUpRequestBody):
    """Body of the `callback` routes: the parameter `code` that the provider sent back."""

    code: Opaque


class Started(BaseModel):
    """A code or a link was sent: how, and to which address, masked."""

    delivery: Delivery
    destination: str


class EnchantedLinkStarted(BaseModel):
    """An enchanted link was sent: which of its links to open, and the reference to poll with."""

    pending_ref: str = Field(repr=False)
    link_id: str
    destination: str


class NOTPStarted(BaseModel):
    """The URI that opens the WhatsApp message, and the reference to poll with."""

    pending_ref: str = Field(repr=False)
    authorization_uri: str = Field(repr=False)
    image: str | None


class PasskeyStarted(BaseModel):
    """A WebAuthn challenge, as `PublicKeyCredential.parseRequestOptionsFromJSON` takes it."""

    transaction_id: str = Field(repr=False)
    options: dict[str, Any] = Field(repr=False)


class ProviderStarted(BaseModel):
    """The page of the provider to send the user to."""

    authorization_uri: str = Field(repr=False)


class Pending(BaseModel):
    """Not done yet: ask again in a second or two."""

    status: Literal["pending"] = "pending"


class LinkVerified(BaseModel):
    """The link is confirmed; the device that polls for it gets the session."""

    status: Literal["verified"] = "verified"


class UsableMethod(BaseModel):
    """A method to step up by, and the masked address that it uses, if it is known."""

    method: str
    destination: str | None = None


class StepUpStatus(BaseModel):
    """Whether the session is stepped up, until when, and how this user can step up."""

    signed_in: bool = False
    subject: str | None = Field(
        default=None, description="Whose session it is: a step-up must have the same `subject`."
    )
    stepped_up: bool = False
    expires_at: int | None = Field(default=None, description="Epoch seconds.")
    methods: list[UsableMethod] = []
    enroll_uri: str | None = None


class SteppedUpSession(BaseModel):
    """The reply of a completed step-up.

    A token that the caller presented as a cookie comes back as one, and is `null` here.
    """

    session_token: str | None = Field(repr=False)
    refresh_token: str | None = Field(repr=False)
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # the scheme's name
    expires_at: int = Field(description="When the session token ends, in epoch seconds.")
    expires_in: int = Field(description="The same in seconds from now.")
    stepped_up: Literal[True] = True
    subject: str
    lost: list[Literal["tenant", "custom_claims"]] = Field(
        default=[],
        description="What the session had and the new one has not; left out when that is nothing.",
    )
