"""Policies for the usual cases.

No preset weakens itself for a user who has not enrolled a factor: "nothing usable" stays 403
`no_step_up_method`, with `enroll_uri` where the helper router has one.
"""

from typing import Final

from fastapi_stepup.policy.policy import StepUpPolicy

recent: Final = StepUpPolicy(max_age="10m")
"""A step-up within ten minutes, by any method."""

multi_factor: Final = StepUpPolicy(max_age="10m", amr=["mfa"])
"""A recent step-up in a session that used several factors.

On Descope `mfa` in `amr` speaks of the session and not of the step-up: a password and a code at
sign-in, stepped up by e-mail, meet it.
"""

phishing_resistant: Final = StepUpPolicy(max_age="10m", amr=["webauthn"])
"""A recent step-up in a session that used a passkey."""
