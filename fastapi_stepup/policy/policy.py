"""StepUpPolicy: what a step-up must look like, decided without I/O."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final, NoReturn

from fastapi_stepup._log import logger
from fastapi_stepup._options import Duration, duration
from fastapi_stepup.claims import Claims
from fastapi_stepup.errors import ConfigurationError, ImpersonationRefused, StepUpRequired
from fastapi_stepup.evidence import Evidence
from fastapi_stepup.policy.alternative import Alternative, Facts, Unmet, facts_of, unmet_clauses
from fastapi_stepup.policy.amr_names import check_amr

MAX_ALTERNATIVES: Final = 8

_ANY: Final = Alternative(None, (), ())
_JUST_NOW: Final = 60
_VALUE: Final = re.compile(r"[!#-\[\]-~]+")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StepUpPolicy:
    """What a route asks of a session beyond being signed in.

    - All of it must hold: `su` is `true`, the step-up is no older than *max_age*, one of *amr* was
      used, and one of *acr* was reached.
    - Whatever a token does not say is unmet. So is the step-up of an impersonated session (`act`):
      its user proved nothing.
    - The age of a step-up counts from `auth_time`, where the token has one (RFC 9470 section 6.1).
      Descope's tokens have none: there it counts from `iat` of the token that carries `su`. A
      refresh ends a step-up, so that age cannot be renewed silently.
    - `a & b` asks for all of both. `a | b` is met by either; the first one is preferred. An
      alternative that another one implies is dropped.
    - Policies are equal if they ask for the same, in whatever order.

    Does not check the token itself: only give it claims of a verified one.

    Args:
        max_age: Longest age of the step-up: seconds, a `timedelta`, or `"90s"`, `"5m"`, `"2h"`,
            `"1d"`. Whole seconds. `None` accepts it for as long as the token lives. `0` accepts
            only the second of the step-up itself and is hardly ever what you want.
        amr: Authentication methods (RFC 8176, Descope's `"sms"`, `"webauthn"`, `"mfa"` …); any one
            of them meets the requirement. A name that no token has, such as `"passkey"`, is refused
            with the right one.
        acr: Authentication context classes; any one of them meets the requirement.

    Attributes:
        alternatives: The ways to meet it, in order of preference. Any one of them is enough. A
            combined policy has no `max_age`, `amr` and `acr` of its own.

    Raises:
        ConfigurationError: A duration or a value cannot be used; the message says what can.
    """

    max_age: int | None
    amr: tuple[str, ...]
    acr: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = field(init=False)

    def __init__(
        self,
        *,
        max_age: Duration | None = None,
        amr: Iterable[str] | str = (),
        acr: Iterable[str] | str = (),
    ) -> None:
        seconds = None if max_age is None else duration("max_age", max_age)
        amr, acr = _values("amr", amr), _values("acr", acr)
        object.__setattr__(self, "max_age", seconds)
        object.__setattr__(self, "amr", amr)
        object.__setattr__(self, "acr", acr)
        only = Alternative(seconds, (amr,) if amr else (), (acr,) if acr else ())
        object.__setattr__(self, "alternatives", (only,))

    def assess(self, claims: Claims, *, now: float) -> tuple[Unmet, ...]:
        """Return everything that *claims* leave unmet at *now* (epoch seconds); empty is a pass.

        With several alternatives, what the nearest one leaves unmet.
        """
        return self._nearest(facts_of(claims.evidence, now))

    def is_met_by(self, claims: Claims, *, now: float) -> bool:
        """Return whether *claims* meet this policy at *now* (epoch seconds)."""
        return not self.assess(claims, now=now)

    def enforce(self, claims: Claims, *, now: float) -> None:
        """Let *claims* pass or say what is unmet.

        Raises:
            ImpersonationRefused: Another party acts for the user. No step-up can cure that.
            StepUpRequired: Something is missing or expired.
        """
        evidence = claims.evidence
        if not self._nearest(facts_of(evidence, now)):
            return
        if evidence.acting:
            raise ImpersonationRefused
        raise self._refusal(evidence, now, self._ranked(evidence, now))

    def refusal_example(self, *, marks_step_up: bool = True) -> StepUpRequired:
        """Return the refusal of a session that was never stepped up, for documentation.

        Args:
            marks_step_up: True if the issuer marks sessions that are stepped up. Else it is the
                refusal of a token that says nothing about the login.
        """
        if not marks_step_up:
            return self._refusal(Evidence(), 0, self._ranked(Evidence(), 0))
        unmet = (Unmet("step_up", "missing"),)
        return self._refusal(Evidence(), 0, [(unmet, each) for each in self.alternatives])

    def used_refusal(
        self, claims: Claims, *, now: float, since: float | None = None
    ) -> StepUpRequired:
        """Return the refusal of *claims* whose step-up was good for one use and had that.

        Args:
            claims: The claims.
            now: The time, in epoch seconds.
            since: When the used login was, where a client could come back with the same one. The
                `max_age` that is named then leaves it out.
        """
        used = Unmet("step_up", "used")
        newest = None if since is None else max(0, math.floor(now - since) - 1)
        ranked = [
            (
                (used, *(left for left in unmet if left.requirement != "step_up")),
                each.within(newest),
            )
            for unmet, each in self._ranked(claims.evidence, now)
        ]
        # As if it were long ago: unlike a step-up that was not enough, another one helps.
        return self._refusal(claims.evidence, math.inf, ranked)

    def _nearest(self, facts: Facts) -> tuple[Unmet, ...]:
        """Return what the nearest alternative leaves unmet."""
        nearest: tuple[Unmet, ...] = ()
        for each in self.alternatives:
            unmet = each.assess(facts)
            if not unmet:
                return ()
            if not nearest or len(unmet) < len(nearest):
                nearest = unmet
        return nearest

    def _ranked(
        self, evidence: Evidence, now: float
    ) -> list[tuple[tuple[Unmet, ...], Alternative]]:
        """Return what each alternative leaves unmet, the nearest first."""
        facts = facts_of(evidence, now)
        assessed = [(each.assess(facts), each) for each in self.alternatives]
        return sorted(assessed, key=lambda found: len(found[0]))  # stable: then by preference

    def _refusal(
        self, evidence: Evidence, now: float, ranked: list[tuple[tuple[Unmet, ...], Alternative]]
    ) -> StepUpRequired:
        """Return the refusal that names the nearest alternative, and all of them in its body.

        Never a mixture of several: a client that fulfils a mixture may fulfil none of them.
        """
        unmet, nearest = ranked[0]
        listed = [{"unmet": _as_json(left), **each.members()} for left, each in ranked]
        is_plain = len(listed) == 1 and max(len(nearest.amr), len(nearest.acr)) <= 1
        return StepUpRequired(
            _as_json(unmet),
            max_age=nearest.max_age,
            acr_values=self._union_of_acr() or _one_clause(nearest.acr, evidence.classes),
            amr=_one_clause(nearest.amr, evidence.method_names),
            alternatives=() if is_plain else tuple(listed),
            unmet_after_step_up=_was_just_made(evidence, now),
        )

    def _union_of_acr(self) -> tuple[str, ...]:
        """Return the classes of all alternatives if those differ in nothing else."""
        first, *others = self.alternatives
        same = all((o.max_age, o.amr) == (first.max_age, first.amr) for o in others)
        if not others or not same or any(len(each.acr) != 1 for each in self.alternatives):
            return ()
        return tuple(dict.fromkeys(value for each in self.alternatives for value in each.acr[0]))

    def __init_subclass__(cls) -> None:
        """Refuse subclasses: `&`, `|`, equality and copies would lose what they add.

        Raises:
            ConfigurationError: Always.
        """
        msg = (
            "StepUpPolicy cannot be subclassed: put a rule of your own into a dependency that "
            "takes the claims."
        )
        raise ConfigurationError(msg)

    def __and__(self, other: "StepUpPolicy") -> "StepUpPolicy":
        """Return the policy that asks for all of both."""
        if not isinstance(other, StepUpPolicy):
            return NotImplemented
        return _combined(a & b for a in self.alternatives for b in other.alternatives)

    def __or__(self, other: "StepUpPolicy") -> "StepUpPolicy":
        """Return the policy that either of both meets, this one preferred."""
        if not isinstance(other, StepUpPolicy):
            return NotImplemented
        if (_ANY in self.alternatives) != (_ANY in other.alternatives):
            logger.warning(
                "The policy %s is met by any step-up, because one of its alternatives asks for "
                "nothing more. Leave that one out.",
                f"{self} | {other}",
            )
        return _combined(self.alternatives + other.alternatives)

    def __bool__(self) -> NoReturn:
        """Refuse to be a condition: `p and q` would silently be `q`."""
        msg = "A policy is no condition: write p & q or p | q, and p.is_met_by(claims, now=…)."
        raise TypeError(msg)

    def _unsupported(self, *_: object) -> NoReturn:
        msg = "Policies have no negation, difference or order: combine them with & and |."
        raise TypeError(msg)

    __invert__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __sub__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __rsub__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __xor__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __lt__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __le__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __gt__: ClassVar[Callable[..., NoReturn]] = _unsupported
    __ge__: ClassVar[Callable[..., NoReturn]] = _unsupported

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepUpPolicy):
            return NotImplemented
        return self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return hash(self._meaning())

    def _meaning(self) -> frozenset[object]:
        return frozenset(each.meaning for each in self.alternatives)

    def __reduce__(self) -> tuple[object, tuple[tuple[Alternative, ...]]]:
        return _combined, (self.alternatives,)

    def __getattr__(self, name: str) -> NoReturn:
        """Say where a combined policy keeps what a plain one has of its own."""
        if name == "alternatives":  # not made yet
            raise AttributeError(name)
        where = f": it has {len(self.alternatives)} alternatives, read .alternatives"
        msg = f"This policy is combined and has no {name!r}{where if name in _PLAIN else ''}."
        raise AttributeError(msg)

    def __str__(self) -> str:
        return " | ".join(map(str, self.alternatives))

    def __repr__(self) -> str:
        return " | ".join(map(_as_code, self.alternatives))


_PLAIN: Final = frozenset({"max_age", "amr", "acr"})


def _combined(alternatives: Iterable[Alternative]) -> StepUpPolicy:
    """Return the policy of *alternatives*, without those that imply another one.

    Raises:
        ConfigurationError: More than eight are left.
    """
    kept: list[Alternative] = []
    for each in alternatives:
        if any(each.implies(other) for other in kept):
            continue
        kept = [other for other in kept if not other.implies(each)]
        kept.append(each)
    if len(kept) > MAX_ALTERNATIVES:
        msg = (
            f"This policy has {len(kept)} alternatives; {MAX_ALTERNATIVES} is the most. Ask for "
            "less, or list values in one amr=[…]: any one of them meets it."
        )
        raise ConfigurationError(msg)
    policy = StepUpPolicy()
    if len(kept) == 1 and max(len(kept[0].amr), len(kept[0].acr)) <= 1:
        only = kept[0]
        amr, acr = (clauses[0] if clauses else () for clauses in (only.amr, only.acr))
        return StepUpPolicy(max_age=only.max_age, amr=amr, acr=acr)
    for name in _PLAIN:
        object.__delattr__(policy, name)
    object.__setattr__(policy, "alternatives", tuple(kept))
    return policy


def all_of(policies: Iterable[StepUpPolicy]) -> StepUpPolicy:
    """Return what all of *policies* ask together; the first one where that is too much to name."""
    together, *others = policies
    for policy in others:
        try:
            together &= policy
        except ConfigurationError:
            return together
    return together


def check_asks_something(policy: StepUpPolicy) -> None:
    """Check that *policy* can be met where no token says that a session is stepped up.

    Raises:
        ConfigurationError: One of its alternatives asks for a step-up and nothing else.
    """
    if any(each.asks_nothing for each in policy.alternatives):
        msg = (
            "This issuer's tokens do not say that a session is stepped up, so a policy that asks "
            "for nothing else is never met: ask for max_age, acr or amr."
        )
        raise ConfigurationError(msg)


def check_limits_age(policy: StepUpPolicy) -> None:
    """Check that each alternative of *policy* has a `max_age`.

    Raises:
        ConfigurationError: One has none.
    """
    if any(each.max_age is None for each in policy.alternatives):
        msg = (
            "once= needs max_age= for this issuer: its tokens can be refreshed, and one login is "
            "known by its auth_time."
        )
        raise ConfigurationError(msg)


def _one_clause(clauses: tuple[tuple[str, ...], ...], values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values that meet every clause, else the first clause that is unmet."""
    if len(clauses) <= 1:
        return clauses[0] if clauses else ()
    common = tuple(v for v in clauses[0] if all(v in clause for clause in clauses))
    return common or (unmet_clauses(clauses, values) or list(clauses))[0]


def _was_just_made(evidence: Evidence, now: float) -> bool:
    """Return whether the session was stepped up within the last minute."""
    proved = evidence.proved_at if evidence.stepped_up else None
    return proved is not None and now - proved <= _JUST_NOW


def _as_json(unmet: tuple[Unmet, ...]) -> list[dict[str, str]]:
    return [{"requirement": each.requirement, "reason": each.reason} for each in unmet]


def _as_code(alternative: Alternative) -> str:
    """Return an alternative as an expression that makes it."""
    first = StepUpPolicy.__name__
    amr, acr = list(alternative.amr), list(alternative.acr)
    parts = []
    for number in range(max(len(amr), len(acr), 1)):
        age = alternative.max_age if number == 0 else None
        clause = [clauses[number] if number < len(clauses) else () for clauses in (amr, acr)]
        parts.append(f"{first}(max_age={age!r}, amr={clause[0]!r}, acr={clause[1]!r})")
    return parts[0] if len(parts) == 1 else f"({' & '.join(parts)})"


def _values(name: str, values: Iterable[str] | str) -> tuple[str, ...]:
    listed = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else values
    listed = tuple(listed)
    for value in listed:
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            msg = (
                f"{name} takes strings of printable ASCII without spaces, quotes and "
                f"backslashes, not {value!r}."
            )
            raise ConfigurationError(msg)
    if name == "amr":
        for value in listed:
            check_amr(value)
    return tuple(dict.fromkeys(listed))
