"""The challenge: what we write is safe, what others write is read, and the two round-trip."""

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fastapi_stepup import Challenge

RESTRICTED = ["error", "error_description", "error_uri", "scope"]
INSUFFICIENT = "insufficient_user_authentication"


def test_rfc_9470_section_3_example_is_built() -> None:
    """All parameters come in a fixed order, `max_age` as a quoted-string as in RFC 9470."""
    challenge = Challenge.bearer(
        realm="shop", error=INSUFFICIENT, error_description="Prove it.", max_age=5
    )

    assert str(challenge) == (
        'Bearer realm="shop", error="insufficient_user_authentication", '
        'error_description="Prove it.", max_age="5"'
    )


def test_rfc_9470_section_3_acr_values_are_one_space_separated_string() -> None:
    """Several classes go into one parameter, most preferred first."""
    challenge = Challenge.bearer(error=INSUFFICIENT, acr_values=["urn:b", "urn:a"])

    assert challenge.params["acr_values"] == "urn:b urn:a"
    assert challenge.acr_values == ("urn:b", "urn:a")


def test_rfc_9470_section_3_both_parameters_may_appear_together() -> None:
    """One challenge names the classes and the age."""
    challenge = Challenge.bearer(error=INSUFFICIENT, acr_values=["phr"], max_age=0)

    assert str(challenge).endswith('acr_values="phr", max_age="0"')


def test_rfc_9470_section_3_dpop_challenge_may_carry_the_error() -> None:
    """The error is not tied to `Bearer`."""
    [challenge] = Challenge.parse(f'DPoP algs="ES256", error="{INSUFFICIENT}", max_age=60')

    assert (challenge.scheme, challenge.error, challenge.max_age) == ("DPoP", INSUFFICIENT, 60)


def test_rfc_6750_section_3_1_no_error_code_without_credentials() -> None:
    """What is not given is left out."""
    assert str(Challenge.bearer(realm="shop")) == 'Bearer realm="shop"'


def test_single_acr_value_may_be_a_plain_string() -> None:
    """A string is one class, not a class per letter."""
    assert Challenge.bearer(acr_values="phr").acr_values == ("phr",)


def test_acr_value_that_would_not_come_back_is_refused(subtests: pytest.Subtests) -> None:
    """A space inside a class would make two of it."""
    for values in (["a b"], [""], ["a", ""], "a b", ['a"'], ["a\\"], ["\u00e9"]):
        with subtests.test(ascii(values)), pytest.raises(ValueError, match="without spaces"):
            Challenge.bearer(acr_values=values)


def test_rfc_9470_section_3_max_age_is_a_non_negative_integer(subtests: pytest.Subtests) -> None:
    """Nothing but a whole number of seconds can be written."""
    others: list[Any] = [-1, True, 1.5, 5.0, "5", float("nan")]
    for max_age in others:
        with subtests.test(repr(max_age)), pytest.raises(ValueError, match="whole number"):
            Challenge.bearer(max_age=max_age)


def test_rfc_6750_section_3_restricted_values_have_no_quote_and_no_backslash(
    subtests: pytest.Subtests,
) -> None:
    """In these four parameters even an escaped quote is forbidden."""
    for name in RESTRICTED:
        for character in ('"', "\\", "\n", "\x7f", "\u00e9"):
            with (
                subtests.test(f"{name} {character!a}"),
                pytest.raises(ValueError, match="without quotes and backslashes"),
            ):
                Challenge("Bearer", {name: f"a{character}b"})


def test_control_and_foreign_characters_are_refused(subtests: pytest.Subtests) -> None:
    """Nothing can break out of the field, wherever it is put (HD-029)."""
    for control in (*map(chr, range(0x20)), "\x7f", "\x80", "\u00e9", "\u2028"):
        for scheme, params, token68 in [
            (f"Bea{control}rer", {}, None),
            (f"Bearer{control}", {}, None),
            ("Bearer", {f"rea{control}lm": "x"}, None),
            ("Bearer", {"realm": f"x{control}y"}, None),
            ("Bearer", {"realm": f"x{control}"}, None),
            ("Bearer", {}, f"abc{control}"),
        ]:
            with (
                subtests.test(ascii((scheme, params, token68))),
                pytest.raises(ValueError, match=r"."),
            ):
                Challenge(scheme, params, token68)


@pytest.mark.parametrize(
    ("value", "written"), [pytest.param('a "b" \\ c', 'a \\"b\\" \\\\ c', id="HD-029")]
)
def test_quotes_and_backslashes_are_escaped(value: str, written: str) -> None:
    """A parameter may hold both and comes back the same."""
    challenge = Challenge("Bearer", {"resource": value})

    assert str(challenge) == f'Bearer resource="{written}"'
    assert Challenge.parse(str(challenge)) == [challenge]


def test_realm_is_plain_text(subtests: pytest.Subtests) -> None:
    """Two of six readers tried misread an escaped one."""
    for realm in ('a "b"', "a\\b", "caf\u00e9", "a\nb"):
        with (
            subtests.test(ascii(realm)),
            pytest.raises(ValueError, match="realm must be printable ASCII without quotes"),
        ):
            Challenge.bearer(realm=realm)


def test_scheme_that_is_not_a_token_is_refused(subtests: pytest.Subtests) -> None:
    """RFC 9110 section 11.1."""
    for scheme in ("", "Bea rer", "Bearer,", 'Bearer"', "B\u00e9arer", "B=c"):
        with subtests.test(ascii(scheme)), pytest.raises(ValueError, match="scheme"):
            Challenge(scheme)


def test_rfc_9110_section_11_2_parameter_names_are_tokens_and_come_once(
    subtests: pytest.Subtests,
) -> None:
    """Whatever their case."""
    for params in (
        {"realm": "a", "Realm": "b"},
        {"": "a"},
        {"re alm": "a"},
        {"realm=": "a"},
        # The Kelvin sign: its lower case is an ASCII letter.
        {"\u212aelvin": "a"},
    ):
        with (
            subtests.test(ascii(params)),
            pytest.raises(ValueError, match="not a token or comes twice"),
        ):
            Challenge("Bearer", params)


def test_token68_in_another_form_is_refused(subtests: pytest.Subtests) -> None:
    """Letters, digits and six marks, padded at the end only."""
    for token68 in ("", "=", "a b", "a=b", "a,", "abc ", "abc\t", "abc\n", "a\u00e9"):
        with subtests.test(ascii(token68)), pytest.raises(ValueError, match="token68"):
            Challenge("Negotiate", token68=token68)


def test_token68_is_written_as_it_is() -> None:
    """Without quotes and without a name."""
    assert str(Challenge("Negotiate", token68="ab+/==")) == "Negotiate ab+/=="


def test_token68_excludes_parameters() -> None:
    """A challenge has either."""
    with pytest.raises(ValueError, match="either"):
        Challenge("Negotiate", {"realm": "a"}, "abc=")


BEARER = Challenge("Bearer", {"realm": "a"})
BASIC = Challenge("Basic", {"realm": "b"})
NEGOTIATE = Challenge("Negotiate")


def token68(value: str) -> Challenge:
    """Return a `Negotiate` challenge with that value."""
    return Challenge("Negotiate", token68=value)


# The forms of RFC 9110 section 11.6.1 that browsers and proxies send.
FIELDS: dict[str, dict[str, list[Challenge]]] = {
    "schemes": {
        "": [],
        " ,\t, ": [],
        "Negotiate": [NEGOTIATE],
        "Negotiate ": [NEGOTIATE],
        "Negotiate,": [NEGOTIATE],
        "Negotiate , ": [NEGOTIATE],
        "Negotiate, Basic realm=b": [NEGOTIATE, BASIC],
        "Negotiate , Basic realm=b": [NEGOTIATE, BASIC],
    },
    "token68": {
        "Negotiate a87421000000492aa874209af8bc028=": [token68("a87421000000492aa874209af8bc028=")],
        "Negotiate  ab==\t, Basic realm=b": [token68("ab=="), BASIC],
        "Negotiate ab=, Basic realm=b": [token68("ab="), BASIC],
        "Negotiate ab": [token68("ab")],
        "Negotiate realm=": [token68("realm=")],
    },
    "whitespace-and-empty-elements": {
        'Bearer realm="a"': [BEARER],
        "Bearer realm=a": [BEARER],
        'Bearer realm = "a"': [BEARER],
        'Bearer realm\t=\t"a"\t': [BEARER],
        'Bearer    realm="a"': [BEARER],
        'Bearer REALM="a"': [BEARER],
        'Bearer , realm="a"': [BEARER],
        'Bearer ,,\t, realm="a"': [BEARER],
        ',Bearer realm="a",,\t,Basic realm="b",': [BEARER, BASIC],
        'Bearer realm="a",Basic realm="b"': [BEARER, BASIC],
    },
    "quoted-strings": {
        r'Bearer realm="\a"': [BEARER],
        r'Bearer realm="a \"b\" \\"': [Challenge("Bearer", {"realm": 'a "b" \\'})],
        'Bearer realm=""': [Challenge("Bearer", {"realm": ""})],
        'Bearer realm="a, Basic realm=\\"b\\""': [
            Challenge("Bearer", {"realm": 'a, Basic realm="b"'})
        ],
        'Bearer a="1", b=2, C="3"': [Challenge("Bearer", {"a": "1", "b": "2", "c": "3"})],
        'Bearer realm="a", Bearer realm="a"': [BEARER, BEARER],
    },
    "examples": {
        # RFC 9110
        'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"': [
            Challenge("Newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            Challenge("Basic", {"realm": "simple"}),
        ],
        # RFC 9449
        'DPoP algs="ES256 PS256", error="use_dpop_nonce", Bearer realm="a"': [
            Challenge("DPoP", {"algs": "ES256 PS256", "error": "use_dpop_nonce"}),
            BEARER,
        ],
        # RFC 9728
        'Bearer resource_metadata="https://api.example.com/.well-known/x?y=z", error="x"': [
            Challenge.bearer(
                error="x", resource_metadata="https://api.example.com/.well-known/x?y=z"
            )
        ],
    },
}


@pytest.mark.parametrize("fields", [pytest.param(FIELDS[name], id=name) for name in FIELDS])
def test_foreign_fields_are_read(
    fields: dict[str, list[Challenge]], subtests: pytest.Subtests
) -> None:
    """Each in the order of the field."""
    for value, expected in fields.items():
        with subtests.test(ascii(value)):
            assert Challenge.parse(value) == expected


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(['realm="a"', '="a"', '"Bearer" realm="a"', 'Bearer, realm="a"',
                      "B\u00e9arer"], id="no-scheme"),
        pytest.param(['Bearer realm="a', 'Bearer realm="a\\"', 'Bearer realm="a"b"'],
                     id="open-quote"),
        pytest.param(['Bearer realm="a" error="b"', 'Bearer realm="a"; error="b"',
                      "Bearer realm=a b", "Bearer abc def", "Negotiate ab= realm=x",
                      'Negotiate ab==, realm="x"'], id="no-list"),
        pytest.param(["Bearer realm==a", "Bearer realm=\u00e9", 'Bearer realm="\u20ac"'],
                     id="no-value"),
        pytest.param(['Bearer realm="a\r\nSet-Cookie: x=y"', 'Bearer realm="a\x00"',
                      'Bearer realm="a\\\n"', 'Bearer realm="a"\n', "Bearer realm=a\n",
                      "Negotiate ab=\n", "Negotiate\n", 'Bearer\trealm="a"'], id="controls"),
        pytest.param(['Bearer realm="a", realm="b"', 'Bearer realm="a", REALM="b"'], id="twice"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_challenges_is_refused(
    values: list[str], subtests: pytest.Subtests
) -> None:
    """Nothing is guessed: a client that cannot read the field must not act on half of it."""
    for value in values:
        with subtests.test(ascii(value)), pytest.raises(ValueError, match="challenge"):
            Challenge.parse(value)


def test_oauth4webapi_expectations_hold() -> None:
    """What that client library asserts of a step-up challenge beside a second scheme."""
    bearer, dpop = Challenge.parse(
        'bearer Realm="api", Error="insufficient_user_authentication", '
        'error_description="A different authentication level is required", '
        'acr_values="myACR", DPoP algs="ES256", error="invalid_token"'
    )

    assert bearer.scheme == "bearer"
    assert bearer.realm == "api"
    assert bearer.error == INSUFFICIENT
    assert bearer.error_description == "A different authentication level is required"
    assert bearer.acr_values == ("myACR",)
    assert dict(dpop.params) == {"algs": "ES256", "error": "invalid_token"}


def test_absent_parameters_read_as_none() -> None:
    """Only `acr_values` is a tuple, and empty."""
    challenge = Challenge("Bearer")

    assert (challenge.realm, challenge.error, challenge.error_description) == (None, None, None)
    assert (challenge.acr_values, challenge.max_age) == ((), None)
    assert str(challenge) == "Bearer"


def test_max_age_is_read_strictly(subtests: pytest.Subtests) -> None:
    """A token or a quoted-string of digits; anything else is as good as none."""
    ages = {
        "max_age=300": 300,
        'max_age="300"': 300,
        "MAX_AGE=300": 300,
        "max_age=0": 0,
        "max_age=007": 7,
        "max_age=-1": None,
        'max_age="+1"': None,
        "max_age=1.5": None,
        'max_age=""': None,
        'max_age=" 1"': None,
        'max_age="1\t"': None,
        "max_age=1_000": None,
        "max_age=0x10": None,
        "max_age=1e3": None,
        "max_age=five": None,
        'max_age="\u00b2"': None,
        "max_age=9999999999": 9999999999,
        "max_age=10000000000": None,
        f"max_age={'9' * 5000}": None,  # more digits than Python reads
    }
    for written, expected in ages.items():
        with subtests.test(ascii(written)[:40]):
            [challenge] = Challenge.parse(f"Bearer {written}")

            assert challenge.max_age == expected


def test_foreign_values_survive_a_round_trip() -> None:
    """What we would never write, a Latin-1 realm or a quote in an error, is read and kept."""
    value = 'Basic realm="Caf\u00e9\t", error="\\"x\\""'
    [challenge] = Challenge.parse(value)

    assert challenge.realm == "Caf\u00e9\t"
    assert str(challenge) == value
    assert Challenge.parse(str(challenge)) == [challenge]


def test_challenge_is_frozen() -> None:
    """Neither its fields nor its parameters can be changed, nor through what it was made of."""
    source = {"realm": "a"}
    challenge = Challenge("Bearer", source)
    source["realm"] = "evil"

    with pytest.raises(FrozenInstanceError):
        challenge.scheme = "Basic"  # type: ignore[misc]
    with pytest.raises(TypeError):
        challenge.params["realm"] = "evil"  # type: ignore[index]
    assert challenge.realm == "a"


def test_equal_challenges_have_equal_hashes() -> None:
    """The order of parameters means nothing, so it does not tell two challenges apart."""
    one = Challenge("Bearer", {"realm": "a", "error": "x"})
    other = Challenge("Bearer", {"error": "x", "Realm": "a"})

    assert one == other
    assert len({one, other}) == 1
    assert one != Challenge("Bearer", {"realm": "a"})


def test_challenge_can_be_copied_and_pickled(subtests: pytest.Subtests) -> None:
    """Foreign ones too, and the copy is frozen as well."""
    for value in ('Basic realm="Caf\u00e9"', "Negotiate ab=", 'Bearer realm="a"'):
        [challenge] = Challenge.parse(value)

        for copied in (copy.deepcopy(challenge), pickle.loads(pickle.dumps(challenge))):
            with subtests.test(ascii(value)):
                assert copied == challenge
                assert type(copied.params) is type(challenge.params)


def test_subclass_parses_into_itself() -> None:
    """`parse` and `bearer` honour the class they are called on."""

    class Ours(Challenge):
        __slots__ = ()

    [parsed] = Ours.parse("Bearer realm=a")

    assert (type(parsed), type(Ours.bearer(realm="a"))) == (Ours, Ours)
