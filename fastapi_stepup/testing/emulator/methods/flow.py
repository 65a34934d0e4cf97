"""Flows (`/v1/flow/start`, `/v1/flow/next`): `step-up` and `sign-up-or-in`.

`step-up` needs the refresh token. Its first screen has a button for each method of the user: codes
by e-mail, text message, call and WhatsApp, magic link, passkey, social login, authenticator app.
`sign-up-or-in` begins with an e-mail address. Both end with a session in `authInfo`. The module is
longer than most, because a flow goes through every method.

Known of the real service: the two calls; the members of their replies; `|#|` in execution ids; a
wrong code is answered with the same screen, `error` for the log and `errorText` for the user; links
and providers return to the page with `descope-login-flow`; error code E103205 (expired).

Guesses:
- Screens, their ids, ids of buttons, and step ids.
- A client that names no `componentsVersion` draws no screens: `step-up` sends it a code at once.
- After too many wrong codes the status is `failed` until the user asks for a new one.
- An opened magic link completes the flow on the page that it leads to, and on the page that polls.
- An execution lives for ten minutes.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.routing import Route

from fastapi_stepup.testing.emulator.errors import (
    FLOW_EXPIRED,
    INVALID_ARGUMENT,
    INVALID_TOKEN,
    LINK_EXPIRED,
    LOGGED_OUT,
    TOO_MANY_ATTEMPTS,
    Refusal,
)
from fastapi_stepup.testing.emulator.links import DEFAULT_URI
from fastapi_stepup.testing.emulator.methods.flow_execution import (
    SIGN_UP_OR_IN_METHODS,
    STEP_UP,
    Execution,
    methods_of,
    reported_on,
    text_of,
)
from fastapi_stepup.testing.emulator.methods.magiclink import MagicLink
from fastapi_stepup.testing.emulator.methods.oauth import OAuth
from fastapi_stepup.testing.emulator.methods.otp import OTP
from fastapi_stepup.testing.emulator.methods.totp import TOTP
from fastapi_stepup.testing.emulator.methods.webauthn import WebAuthn
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.emulator.screens import (
    LINK_SENT,
    LINK_SENT_AGAIN,
    SIGN_UP_OR_IN,
    VERIFY_CODE,
    VERIFY_TOTP,
    chooser_of,
    is_method,
    screen_of,
)

FLOWS: Final = (STEP_UP, SIGN_UP_OR_IN)
_LIFETIME: Final = 600


class Flow:
    """The two flows.

    Args:
        project: The emulated project.
        otp: Sends and verifies codes.
        magic_link: Sends and verifies links.
        totp: Verifies codes of authenticator apps.
        webauthn: Registers and verifies passkeys.
        oauth: Social login.
    """

    def __init__(
        self,
        project: Project,
        *,
        otp: OTP,
        magic_link: MagicLink,
        totp: TOTP,
        webauthn: WebAuthn,
        oauth: OAuth,
    ) -> None:
        self._project = project
        self._otp = otp
        self._magic_link = magic_link
        self._totp = totp
        self._webauthn = webauthn
        self._oauth = oauth
        self._executions: dict[str, Execution] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        return [
            post(self._project, "/v1/flow/start", self._start),
            post(self._project, "/v1/flow/next", self._next),
        ]

    def open_link(self, token: str) -> bool:
        """Open the link of *token*, if a flow sent it, for the page that waits.

        Raises:
            Refusal: It is expired or used.
        """
        for execution in self._executions.values():
            if token in execution.links:
                execution.opened = self._magic_link.open(token)
                return True
        return False

    def _start(self, call: Call) -> Mapping[str, object]:
        flow_id = call.text("flowId")
        options = call.members("options")
        page = options.get("redirectUrl") or options.get("location") or DEFAULT_URI
        token, login_id, home = None, "", SIGN_UP_OR_IN
        methods: tuple[str, ...] = SIGN_UP_OR_IN_METHODS
        if flow_id == STEP_UP:
            user = self._project.sessions.find(call.token).user
            methods = methods_of(user)
            if not methods:
                raise Refusal(INVALID_ARGUMENT, "The user has no method to step up with")
            token, login_id, home = call.token, user.login_ids[0], chooser_of(methods)
        elif flow_id != SIGN_UP_OR_IN:
            raise Refusal(INVALID_ARGUMENT, f"The emulator has the flows {', '.join(FLOWS)}")
        execution = Execution(
            flow_id,
            token,
            page=str(page),
            home=home,
            methods=methods,
            expires_at=self._project.clock() + _LIFETIME,
            id=f"{flow_id}|#|{secrets.token_hex(16)}",
            login_id=login_id,
            screen=home,
        )
        self._executions[execution.id] = execution
        if call.body.get("interactionId"):
            return self._answered(execution, call)
        codes = [method for method in methods if method.startswith("otp-")]
        if flow_id == STEP_UP and codes and not call.body.get("componentsVersion"):
            return self._begin(execution, call, codes[0])
        return self._show(execution, home)

    def _next(self, call: Call) -> Mapping[str, object]:
        execution = self._executions.get(call.text("executionId"))
        if execution is None:
            raise Refusal(INVALID_ARGUMENT, "No such execution")
        if execution.expires_at <= self._project.clock():
            raise Refusal(FLOW_EXPIRED)
        return self._answered(execution, call)

    def _answered(self, execution: Execution, call: Call) -> Mapping[str, object]:
        try:
            return self._advance(execution, call)
        except Refusal as refusal:
            # Without its session the flow cannot go on, so this is no matter of a screen.
            if refusal.error in (INVALID_TOKEN, LOGGED_OUT):
                raise
            return self._show(execution, reported_on(execution), refusal)

    def _advance(self, execution: Execution, call: Call) -> Mapping[str, object]:
        """Take one request of the component: a return to the page, or a pressed button."""
        given = call.members("input")
        interaction = str(call.body.get("interactionId") or "submit")
        if interaction == "polling":
            return self._polled(execution)
        if execution.opened:
            raise Refusal(INVALID_ARGUMENT, "The flow is complete")
        for names, taken in (
            (("token",), self._opened),
            (("exchangeCode", "exchangeError"), self._returned),
            (("transactionId",), self._signed),
        ):
            if any(map(given.get, names)):
                return taken(execution, call, given)
        return self._pressed(execution, call, interaction)

    def _pressed(self, execution: Execution, call: Call, interaction: str) -> Mapping[str, object]:
        """Take a pressed button, by its id; a passcode that is complete counts as the main one."""
        if interaction == "back":
            return self._show(execution, execution.home)
        if interaction == "resend":
            return self._begin(execution, call, execution.method)
        if is_method(interaction):
            return self._begin(execution, call, interaction)
        return self._submitted(execution, call)

    def _begin(self, execution: Execution, call: Call, method: str) -> Mapping[str, object]:
        """Start *method*, chosen on the first screen or once more."""
        if method not in execution.methods:
            raise Refusal(INVALID_ARGUMENT, "The flow does not offer this method")
        given = call.members("input")
        if execution.flow_id == SIGN_UP_OR_IN and execution.screen == execution.home:
            execution.login_id = str(given.get("email") or "")
        kind, _, detail = method.partition("-")
        execution.method = method
        if kind in ("otp", "magiclink"):
            return self._send(execution, call, kind, detail)
        if kind == "passkey":
            return self._ask_passkey(execution, call, str(given.get("origin") or ""))
        if kind == "oauth":
            return self._redirect(execution, call, detail)
        return self._show(execution, VERIFY_TOTP)

    def _send(
        self, execution: Execution, call: Call, kind: str, delivery: str
    ) -> Mapping[str, object]:
        if not execution.login_id:
            raise Refusal(INVALID_ARGUMENT, "Enter your email address.")
        path = {"delivery": delivery}
        if kind == "otp":
            action = self._otp.sign_in if execution.token else self._otp.sign_up_or_in
            execution.sent_to = action(execution.call(call, path))
            return self._show(execution, VERIFY_CODE)
        # A new screen id makes the component draw the screen, and so poll, once more.
        screen = LINK_SENT_AGAIN if execution.screen == LINK_SENT else LINK_SENT
        execution.step += 1
        action = self._magic_link.sign_in if execution.token else self._magic_link.sign_up_or_in
        execution.sent_to = action(execution.call(call, path, URI=execution.return_url))
        execution.links.add(self._project.outbox[-1].token)
        return self._show(execution, screen, is_new_step=False)

    def _ask_passkey(self, execution: Execution, call: Call, origin: str) -> Mapping[str, object]:
        own_call = execution.call(call, {}, origin=origin)
        if execution.token or not execution.login_id:
            started = self._webauthn.start_sign_in(own_call)
        else:
            started = self._webauthn.start_sign_up_or_in(own_call)
        execution.is_create = started["create"] is True
        return {
            **self._show(execution, execution.home),
            # With a screen the component would draw it once more after the browser's answer, and
            # so lose the text of a refusal.
            "screen": {"id": "", "state": {}},
            "action": "webauthnCreate" if execution.is_create else "webauthnGet",
            "webauthn": {
                "transactionId": started["transactionId"],
                "options": started["options"],
                "create": execution.is_create,
            },
        }

    def _redirect(self, execution: Execution, call: Call, provider: str) -> Mapping[str, object]:
        execution.step += 1
        query = {
            "provider": provider,
            "redirectURL": execution.return_url,
            "loginHint": execution.login_id,
        }
        # The options of this call are the body itself.
        options = {"stepup": True} if execution.token else {}
        started = self._oauth.authorize_social(
            replace(call, query=query, body=options, token=execution.token)
        )
        return {
            **self._show(execution, execution.home, is_new_step=False),
            "action": "redirect",
            "redirect": {"url": started["url"], "isPopup": False},
        }

    def _submitted(self, execution: Execution, call: Call) -> Mapping[str, object]:
        """Take the main button of the current screen."""
        if execution.screen == SIGN_UP_OR_IN:
            return self._begin(execution, call, "otp-email")
        code = call.members("input").get("code")
        if execution.screen == VERIFY_CODE:
            path = {"delivery": execution.method.removeprefix("otp-")}
            return self._completed(
                execution, self._otp.verify(execution.call(call, path, code=code))
            )
        if execution.screen == VERIFY_TOTP:
            reply = self._totp.verify(execution.call(call, {}, code=code))
            return self._completed(execution, reply)
        raise Refusal(INVALID_ARGUMENT, "Choose a method")

    def _opened(
        self, execution: Execution, _: Call, given: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Complete the flow on the page of a magic link; the page that polls is next."""
        execution.step += 1
        token = str(given["token"])
        if token not in execution.links:
            raise Refusal(LINK_EXPIRED)
        execution.opened = link = self._magic_link.open(token)
        return self._completed(execution, self._magic_link.finish(link), is_over=False)

    def _polled(self, execution: Execution) -> Mapping[str, object]:
        if not execution.opened:
            return {**self._show(execution, execution.screen, is_new_step=False), "action": "poll"}
        return self._completed(execution, self._magic_link.finish(execution.opened))

    def _returned(
        self, execution: Execution, call: Call, given: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Complete the flow with a provider's code."""
        # The page was loaded anew with the step in its URL: another step makes it take the screen.
        execution.step += 1
        code = given.get("exchangeCode")
        if not code:
            raise Refusal(INVALID_ARGUMENT, "The provider did not sign you in.")
        reply = self._oauth.exchange_social(execution.call(call, {}, code=code))
        return self._completed(execution, reply)

    def _signed(
        self, execution: Execution, call: Call, given: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Complete the flow with the browser's answer to a passkey's challenge."""
        response = given.get("response")
        if not response:
            raise Refusal(INVALID_ARGUMENT, "No passkey was used. Try again or choose another way.")
        own_call = execution.call(call, {}, transactionId=given["transactionId"], response=response)
        finish = (
            self._webauthn.finish_sign_up
            if execution.is_create
            else (self._webauthn.finish_sign_in)
        )
        return self._completed(execution, finish(own_call))

    def _completed(
        self, execution: Execution, reply: Mapping[str, object], *, is_over: bool = True
    ) -> Mapping[str, object]:
        if is_over:
            del self._executions[execution.id]
        return {
            **self._reply(execution, "completed"),
            "action": "none",
            "screen": None,
            "authInfo": reply,
        }

    def _show(
        self,
        execution: Execution,
        screen: str,
        refusal: Refusal | None = None,
        *,
        is_new_step: bool = True,
    ) -> dict[str, object]:
        """Return the reply that shows *screen*, with the text of *refusal*."""
        if screen != execution.screen and is_new_step:
            execution.step += 1
        execution.screen = screen
        state: dict[str, object] = {}
        if screen in (VERIFY_CODE, LINK_SENT, LINK_SENT_AGAIN):
            state["sentTo"] = dict(execution.sent_to)
        if screen == SIGN_UP_OR_IN and execution.login_id:
            state["form"] = {"email": execution.login_id}
        if refusal is None:
            return {**self._reply(execution), "screen": {"id": screen, "state": state}}
        reply = refusal.error
        state |= {"errorText": text_of(refusal), "errorType": reply.code}
        status = "failed" if reply is TOO_MANY_ATTEMPTS else "waiting"
        return {
            **self._reply(execution, status),
            "screen": {"id": screen, "state": state},
            "error": {
                "code": reply.code,
                "description": reply.description,
                "message": refusal.message,
            },
        }

    def _reply(self, execution: Execution, status: str = "waiting") -> dict[str, object]:
        screen = screen_of(execution.screen)
        return {
            "executionId": execution.id,
            "stepId": f"{execution.step}",
            "stepName": screen.title if screen else "",
            "status": status,
            "action": "screen",
        }
