"""Request builders for Descope's API: pure, with the official SDKs' paths and bodies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode

from fastapi_stepup import _options
from fastapi_stepup._http import HTTPRequest
from fastapi_stepup._immutable import SetOnce
from fastapi_stepup._urls import checked_base_url
from fastapi_stepup.claims import Claims

Delivery = Literal["email", "sms", "voice", "whatsapp"]
LinkDelivery = Literal["email", "sms", "whatsapp"]
DELIVERIES: Final[tuple[Delivery, ...]] = get_args(Delivery)
LINK_DELIVERIES: Final[tuple[LinkDelivery, ...]] = get_args(LinkDelivery)

DEFAULT_BASE_URL: Final = "https://api.descope.com"


@dataclass(frozen=True, slots=True, repr=False)
class KeptClaims:
    """What a step-up should keep of a session.

    Descope starts a new session for a step-up. It gets these again as login options.

    Args:
        tenant: The tenant that was selected (`dct`).
        custom_claims: Claims that a client chose (`nsec`), as JSON values.
    """

    tenant: str | None = None
    custom_claims: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, claims: Claims) -> "KeptClaims":
        """Return what to keep of a session with these claims."""
        tenant, chosen = claims.get("dct"), claims.get("nsec")
        return cls(
            tenant if isinstance(tenant, str) and tenant else None,
            chosen if isinstance(chosen, Mapping) and chosen else None,
        )


NOTHING_KEPT: Final = KeptClaims()


def _step_up(kept: KeptClaims) -> dict[str, Any]:
    """Return login options: the members that the official Python SDK sends, and the tenant."""
    claims = kept.custom_claims
    options = {"stepup": True, "customClaims": claims, "mfa": False}
    return options if kept.tenant is None else {**options, "tenantId": kept.tenant}


class DescopeRequests(SetOnce):
    """Builds the requests of one project; sends nothing.

    The bearer is the project id, followed by the refresh token where a call is made for a user:
    nothing is stepped up without it. A verification names the login id only, or no user at all, so
    the caller has to check to which user its tokens belong.

    Args:
        project_id: The Descope project.
        base_url: Where the API is.

    Raises:
        ConfigurationError: One of them cannot be used; the message says what can.
    """

    def __init__(self, project_id: str, *, base_url: str = DEFAULT_BASE_URL) -> None:
        self.project_id: str = _options.project_id(project_id)
        self.base_url: str = checked_base_url("base_url", base_url)

    @property
    def keys_url(self) -> str:
        """Where the project's public keys are."""
        return f"{self.base_url}/v2/keys/{self.project_id}"

    def me_request(self, refresh_token: str) -> HTTPRequest:
        """Build the request for the user behind a refresh token."""
        return self._request("/v1/auth/me", None, refresh_token, method="GET")

    def refresh_request(self, refresh_token: str) -> HTTPRequest:
        """Build the request for a fresh session."""
        return self._request("/v1/auth/refresh", {}, refresh_token)

    def start_otp_request(
        self,
        delivery: Delivery,
        login_id: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> HTTPRequest:
        """Build the OTP sign-in that steps up."""
        body = {"loginId": login_id, "loginOptions": _step_up(kept)}
        return self._request(f"/v1/auth/otp/signin/{delivery}", body, refresh_token)

    def verify_otp_request(self, delivery: Delivery, login_id: str, code: str) -> HTTPRequest:
        """Build the OTP verification; Descope links it to the sign-in by the login id alone."""
        return self._request(f"/v1/auth/otp/verify/{delivery}", {"loginId": login_id, "code": code})

    def verify_totp_request(
        self, login_id: str, code: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> HTTPRequest:
        """Build the check of an authenticator app's code: the whole step-up in one call."""
        body = {"loginId": login_id, "code": code, "loginOptions": _step_up(kept)}
        return self._request("/v1/auth/totp/verify", body, refresh_token)

    def start_magic_link_request(
        self,
        delivery: LinkDelivery,
        login_id: str,
        uri: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> HTTPRequest:
        """Build the magic-link sign-in; the message links to *uri* with `t=<token>`."""
        body = {"loginId": login_id, "URI": uri, "loginOptions": _step_up(kept)}
        return self._request(f"/v1/auth/magiclink/signin/{delivery}", body, refresh_token)

    def verify_magic_link_request(self, token: str) -> HTTPRequest:
        """Build the exchange of a magic link's token."""
        return self._request("/v1/auth/magiclink/verify", {"token": token})

    def start_enchanted_link_request(
        self, login_id: str, uri: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> HTTPRequest:
        """Build the enchanted-link sign-in; the message links to *uri* with `t=<token>`."""
        body = {"loginId": login_id, "URI": uri, "loginOptions": _step_up(kept)}
        return self._request("/v1/auth/enchantedlink/signin/email", body, refresh_token)

    def verify_enchanted_link_request(self, token: str) -> HTTPRequest:
        """Build what the page does that an enchanted link opens; it gets no tokens."""
        return self._request("/v1/auth/enchantedlink/verify", {"token": token})

    def poll_enchanted_link_request(self, pending_ref: str) -> HTTPRequest:
        """Build the question whether the link has been opened."""
        body = {"pendingRef": pending_ref}
        return self._request("/v1/auth/enchantedlink/pending-session", body)

    def start_notp_request(
        self, login_id: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> HTTPRequest:
        """Build the WhatsApp sign-in in which the user sends the message."""
        body = {"loginId": login_id, "loginOptions": {k: v for k, v in _step_up(kept).items() if v}}
        return self._request("/v1/auth/notp/whatsapp/signin", body, refresh_token)

    def poll_notp_request(self, pending_ref: str) -> HTTPRequest:
        """Build the question whether the WhatsApp message has come."""
        return self._request("/v1/auth/notp/pending-session", {"pendingRef": pending_ref})

    def start_passkey_request(
        self, login_id: str, origin: str, refresh_token: str, *, kept: KeptClaims = NOTHING_KEPT
    ) -> HTTPRequest:
        """Build the start of a WebAuthn sign-in on the pages of *origin*."""
        body = {"loginId": login_id, "origin": origin, "loginOptions": _step_up(kept)}
        return self._request("/v1/auth/webauthn/signin/start", body, refresh_token)

    def finish_passkey_request(
        self, transaction_id: str, credential: Mapping[str, Any]
    ) -> HTTPRequest:
        """Build the end of a WebAuthn sign-in; *credential* travels as JSON text."""
        response = json.dumps(credential, separators=(",", ":"))
        body = {"transactionId": transaction_id, "response": response}
        return self._request("/v1/auth/webauthn/signin/finish", body)

    def start_oauth_request(
        self,
        provider: str,
        redirect_uri: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> HTTPRequest:
        """Build the start of a social login."""
        query = urlencode({"provider": provider, "redirectURL": redirect_uri})
        return self._request(f"/v1/auth/oauth/authorize?{query}", _step_up(kept), refresh_token)

    def exchange_oauth_request(self, code: str) -> HTTPRequest:
        """Build the exchange of a social login's code."""
        return self._request("/v1/auth/oauth/exchange", {"code": code})

    def start_sso_request(
        self,
        tenant: str,
        redirect_uri: str,
        refresh_token: str,
        *,
        kept: KeptClaims = NOTHING_KEPT,
    ) -> HTTPRequest:
        """Build the start of a login at a tenant's own identity provider."""
        query = urlencode({"tenant": tenant, "redirectURL": redirect_uri})
        return self._request(f"/v1/auth/sso/authorize?{query}", _step_up(kept), refresh_token)

    def exchange_sso_request(self, code: str) -> HTTPRequest:
        """Build the exchange of a single sign-on's code."""
        return self._request("/v1/auth/sso/exchange", {"code": code})

    def _request(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        secret: str | None = None,
        *,
        method: str = "POST",
    ) -> HTTPRequest:
        bearer = self.project_id if secret is None else f"{self.project_id}:{secret}"
        headers = {"x-descope-project-id": self.project_id}
        return HTTPRequest(method, self.base_url + path, bearer=bearer, json=body, headers=headers)
