"""One-time passwords from an authenticator app (`/v1/auth/totp/`).

Known of the real service: verification is one call. For a step-up it brings the refresh token; it
answers with the session.

Guesses:
- A code works once, and clocks may differ by one period of 30 seconds.
- An update replaces the secret at once.
- The error codes are those of one-time codes: `E061102`, `E061103`.
- After too many wrong codes the user waits for as long as a one-time code is valid.

`image` is a QR code of `provisioningURL` where `segno` is installed (extra `demo`), else an empty
picture.
"""

from typing import Final
from urllib.parse import quote

from starlette.routing import Route

from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator
from fastapi_stepup.testing.emulator.errors import TOO_MANY_ATTEMPTS, WRONG_CODE, Refusal
from fastapi_stepup.testing.emulator.methods.signup import new_user_of
from fastapi_stepup.testing.emulator.models import Call
from fastapi_stepup.testing.emulator.pictures import qr_code
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.routing import post
from fastapi_stepup.testing.emulator.users import User

AMR: Final = "totp"


class TOTP:
    """Enrolment and verification of authenticator apps.

    Args:
        project: The emulated project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._failures: dict[User, list[float]] = {}

    def routes(self) -> list[Route]:
        """Return the endpoints of this method."""
        return [
            post(self._project, "/v1/auth/totp/signup", self._sign_up),
            post(self._project, "/v1/auth/totp/update", self._update),
            post(self._project, "/v1/auth/totp/verify", self.verify),
        ]

    def _sign_up(self, call: Call) -> dict[str, object]:
        return self._enrolled(self._project.users.add(new_user_of(self._project, call)))

    def _update(self, call: Call) -> dict[str, object]:
        return self._enrolled(self._project.caller(call))

    def _enrolled(self, user: User) -> dict[str, object]:
        user.authenticator = app = TOTPAuthenticator()
        issuer = quote(self._project.project_id)
        # Apps split issuer and name at a literal colon.
        label = f"{issuer}:{quote(user.login_ids[0])}"
        url = f"otpauth://totp/{label}?secret={app.secret}&issuer={issuer}"
        return {
            "provisioningURL": url,
            "image": qr_code(url),
            "key": app.secret,
        }

    def verify(self, call: Call) -> dict[str, object]:
        """Verify a code and return the JWT response.

        Raises:
            Refusal: It is not the app's code, was used, or had too many attempts.
        """
        project = self._project
        user = project.user(call.text("loginId"))
        login = project.login(call, user)
        code = call.text("code")
        now = project.clock()
        limits = project.limits
        failures = [at for at in self._failures.get(user, []) if at > now - limits.code_lifetime]
        if len(failures) >= limits.max_attempts:
            raise Refusal(TOO_MANY_ATTEMPTS)
        if user.authenticator is None or not user.authenticator.accepts(code, now):
            self._failures[user] = [*failures, now]
            raise Refusal(WRONG_CODE)
        self._failures.pop(user, None)
        return project.finish(login, AMR)
