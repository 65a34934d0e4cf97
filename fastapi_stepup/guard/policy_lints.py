"""Warnings about policies that are valid and do not do what they seem to."""

from typing import Final

from fastapi_stepup._log import logger
from fastapi_stepup.claims import Claims
from fastapi_stepup.policy.policy import StepUpPolicy

_LOOKS: Final = 8  # at tokens that meet a policy; then it is left alone
_MOST: Final = 1024  # policies to look at, where an app makes them in each request


class MaxAgeLint:
    """Warns once of each policy whose `max_age` has no effect.

    A step-up of Descope ends with its token. Where the token lives no longer than `max_age`, that
    never decides.

    - Looks at the first few tokens that meet a policy, so that requests go on at full speed.
    - Does not look at tokens with `auth_time`: their step-up may be older than they are.
    """

    def __init__(self) -> None:
        # By identity, which is the cheapest: a mistaken one costs a warning at worst.
        self._looks: dict[int, int] = {}
        self._said: set[StepUpPolicy] = set()
        self.done: set[int] = set()

    def look(self, policy: StepUpPolicy, claims: Claims) -> None:
        """Warn if *claims*, which meet *policy*, show that its `max_age` has no effect.

        Not to be called for one whose `id` is in `done`.
        """
        if len(self._looks) >= _MOST:
            self._looks.clear()
            self.done.clear()
        number = id(policy)
        self._looks[number] = self._looks.get(number, 0) + 1
        if self._looks[number] == _LOOKS:
            self.done.add(number)
        lifetime = claims.expires_at - claims.issued_at
        longest = max(each.max_age or 0 for each in policy.alternatives)
        if not longest or longest < lifetime or claims.get("auth_time") is not None:
            return
        if policy in self._said or len(self._said) >= _MOST:
            return
        self._said.add(policy)
        logger.warning(
            "max_age of the policy %s has no effect: tokens of stepped-up sessions live %d "
            "seconds here, and a step-up ends with its token. Ask for less, or leave it out.",
            policy,
            lifetime,
        )
