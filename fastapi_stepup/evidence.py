"""Evidence: what a token proves about the login, whichever issuer wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

_ROUNDING: Final = 5  # Seconds that an issuer's clocks may differ between auth_time and iat.
_LATEST: Final = 1e15  # What no clock shows; more may not fit into a float.
_NUMBERS: Final = frozenset({int, float})


@dataclass(frozen=True, slots=True)
class Method:
    """One authentication method that was used.

    Args:
        name: As a policy's `amr` names it.
        at: When it was used, in epoch seconds; `None` if the token does not say.
    """

    name: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a token proves, in the form that policies read.

    Holds no more than the token says: whatever is left out counts as unproved.

    Args:
        proved_at: When the user last authenticated actively, in epoch seconds; `None` if the token
            does not say. Never when the token was issued, unless the token itself is the proof.
        stepped_up: True or false where the issuer marks sessions that are stepped up; `None` where
            it has no such mark.
        methods: The authentication methods (RFC 8176).
        classes: The authentication context classes (`acr`).
        acting: True if another party acts for the user: by impersonation or delegation.
    """

    proved_at: float | None = None
    stepped_up: bool | None = None
    methods: tuple[Method, ...] = ()
    classes: tuple[str, ...] = ()
    acting: bool = False

    @property
    def method_names(self) -> tuple[str, ...]:
        """The names of the methods."""
        return tuple([method.name for method in self.methods])

    def normalized(self, issued_at: float) -> "Evidence":
        """Return the same with all that cannot be read left out.

        For evidence that was made from claims as they are: a time that is no number or later than
        the token is none, a list of texts stands for methods, one text for a class.

        Args:
            issued_at: When the token was issued (`iat`), in epoch seconds.
        """
        methods = self.methods if type(self.methods) in {list, tuple} else ()
        marked: Any = self.stepped_up
        return Evidence(
            None if self.proved_at is None else stated_time(self.proved_at, issued_at),
            marked if marked is None else marked is True,
            tuple(
                [
                    Method(m.name, None if m.at is None else earlier_of(m.at, issued_at))
                    if isinstance(m, Method)
                    else Method(m)
                    for m in methods
                    if isinstance(m, (Method, str))
                ]
            ),
            acr_values(self.classes),
            self.acting is not False,
        )


def descope_evidence(members: Mapping[str, Any]) -> Evidence:
    """Return what a session token of Descope proves.

    - A session is stepped up if `su` is the JSON value `true`, nothing else.
    - The proof is as old as the token that carries `su`, or as `auth_time` where that is earlier. A
      refresh ends a step-up, so that age cannot be renewed silently.

    Args:
        members: All claims of the token.
    """
    get = members.get
    stepped_up = get("su") is True
    proved_at = None
    if stepped_up:
        issued = get("iat")
        proved_at = earlier_of(get("auth_time", issued), issued)
    return evidence_of(members, proved_at, stepped_up=stepped_up)


def access_token_evidence(members: Mapping[str, Any]) -> Evidence:
    """Return what an access token proves by the claims of RFC 9068 section 2.2.1.

    - `auth_time` is the time of the proof. There is no other: each refresh renews `iat`.
    - `acr` is the class, or an array of them; `amr` lists the methods.
    - Nothing in it marks a step-up.

    Args:
        members: All claims of the token.
    """
    stated = members.get("auth_time")
    proved_at = None if stated is None else stated_time(stated, members.get("iat"))
    return evidence_of(members, proved_at, stepped_up=None)


def evidence_of(
    members: Mapping[str, Any], proved_at: float | None, *, stepped_up: bool | None
) -> Evidence:
    """Return evidence with `amr`, `acr` and `act` as a token has them."""
    amr, acr = members.get("amr"), members.get("acr")
    methods: tuple[Method, ...] = ()
    if type(amr) is list or type(amr) is tuple:
        methods = tuple([_method(name) for name in amr if type(name) is str])
    evidence = _new(Evidence)
    _set_proved_at(evidence, proved_at)
    _set_stepped_up(evidence, stepped_up)
    _set_methods(evidence, methods)
    _set_classes(evidence, acr_values(acr) if acr else ())
    _set_acting(evidence, "act" in members)
    return evidence


# Past the constructors of frozen dataclasses, which take longer than all the reading.
_new: Final = object.__new__
_set_proved_at, _set_stepped_up, _set_methods, _set_classes, _set_acting = (
    vars(Evidence)[name].__set__
    for name in ("proved_at", "stepped_up", "methods", "classes", "acting")
)
_method: Final = lru_cache(maxsize=256)(Method)


def earlier_of(stated: Any, issued: Any) -> float | None:
    """Return when the user proved their identity, in epoch seconds; `None` if that is unreadable.

    A proof cannot be later than the token that tells of it, so the earlier time counts.

    Args:
        stated: What the token says about it.
        issued: Its `iat`.
    """
    if type(issued) not in _NUMBERS or not -_LATEST < issued < _LATEST:
        return None
    if stated is issued:
        return issued  # type: ignore[no-any-return]  # a number
    time = stated_time(stated, issued)
    return None if time is None else min(time, issued)


def stated_time(stated: Any, issued: Any) -> float | None:
    """Return the time of a login as a token states it; `None` if that is unreadable.

    It may be a few seconds later than the token, by the issuer's own clocks. It is the same in each
    token of one login, which `once=` goes by; the earlier one of the two times is not.

    Args:
        stated: What the token says about it, in epoch seconds.
        issued: Its `iat`.
    """
    if type(issued) not in _NUMBERS or not -_LATEST < issued < _LATEST:
        return None
    if type(stated) not in _NUMBERS or not 0 < stated <= issued + _ROUNDING:
        return None
    return float(stated)


def acr_values(value: Any) -> tuple[str, ...]:
    """Return the classes of an `acr` claim, which is one string or an array of them."""
    return (value,) if isinstance(value, str) else texts_in(value)


def texts_in(value: Any) -> tuple[str, ...]:
    """Return the strings in an array; none for anything else."""
    return tuple([v for v in value if isinstance(v, str)]) if type(value) in {list, tuple} else ()
