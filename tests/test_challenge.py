"""The challenge: what we write is safe, what others write is read, and the two round-trip."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from fastapi_stepup import Challenge

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUOTABLE = "".join(map(chr, range(0x20, 0x7F)))
PLAIN = QUOTABLE.replace('"', "").replace("\\", "")
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


@pytest.mark.parametrize("values", [["a b"], [""], ["a", ""], "a b", ['a"'], ["a\\"], ["\u00e9"]])
def test_acr_value_that_would_not_come_back_is_refused(values: list[str] | str) -> None:
    """A space inside a class would make two of it."""
    with pytest.raises(ValueError, match="without spaces"):
        Challenge.bearer(acr_values=values)


@pytest.mark.parametrize("max_age", [-1, True, 1.5, 5.0, "5", float("nan")])
def test_rfc_9470_section_3_max_age_is_a_non_negative_integer(max_age: object) -> None:
    """Nothing but a whole number of seconds can be written."""
    with pytest.raises(ValueError, match="whole number"):
        Challenge.bearer(max_age=max_age)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RESTRICTED)
@pytest.mark.parametrize("character", ['"', "\\", "\n", "\x7f", "\u00e9"])
def test_rfc_6750_section_3_restricted_values_have_no_quote_and_no_backslash(
    name: str, character: str
) -> None:
    """In these four parameters even an escaped quote is forbidden."""
    with pytest.raises(ValueError, match="without quotes and backslashes"):
        Challenge("Bearer", {name: f"a{character}b"})


@pytest.mark.parametrize("control", [*map(chr, range(0x20)), "\x7f", "\x80", "\u00e9", "\u2028"])
def test_control_and_foreign_characters_are_refused(control: str) -> None:
    """Nothing can break out of the field, wherever it is put (HD-029)."""
    for scheme, params, token68 in [
        (f"Bea{control}rer", {}, None),
        (f"Bearer{control}", {}, None),
        ("Bearer", {f"rea{control}lm": "x"}, None),
        ("Bearer", {"realm": f"x{control}y"}, None),
        ("Bearer", {"realm": f"x{control}"}, None),
        ("Bearer", {}, f"abc{control}"),
    ]:
        with pytest.raises(ValueError, match=r"."):
            Challenge(scheme, params, token68)


@pytest.mark.parametrize(
    ("value", "written"), [pytest.param('a "b" \\ c', 'a \\"b\\" \\\\ c', id="HD-029")]
)
def test_quotes_and_backslashes_are_escaped(value: str, written: str) -> None:
    """A parameter may hold both and comes back the same."""
    challenge = Challenge("Bearer", {"resource": value})

    assert str(challenge) == f'Bearer resource="{written}"'
    assert Challenge.parse(str(challenge)) == [challenge]


@pytest.mark.parametrize("realm", ['a "b"', "a\\b", "caf\u00e9", "a\nb"])
def test_realm_is_plain_text(realm: str) -> None:
    """Two of six readers tried misread an escaped one."""
    with pytest.raises(ValueError, match="realm must be printable ASCII without quotes"):
        Challenge.bearer(realm=realm)


@pytest.mark.parametrize("scheme", ["", "Bea rer", "Bearer,", 'Bearer"', "B\u00e9arer", "B=c"])
def test_scheme_that_is_not_a_token_is_refused(scheme: str) -> None:
    """RFC 9110 section 11.1."""
    with pytest.raises(ValueError, match="scheme"):
        Challenge(scheme)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"realm": "a", "Realm": "b"}, id="twice"),
        pytest.param({"": "a"}, id="empty"),
        pytest.param({"re alm": "a"}, id="space"),
        pytest.param({"realm=": "a"}, id="equals"),
        # The Kelvin sign: its lower case is an ASCII letter.
        pytest.param({"\u212aelvin": "a"}, id="kelvin"),
    ],
)
def test_rfc_9110_section_11_2_parameter_names_are_tokens_and_come_once(
    params: dict[str, str],
) -> None:
    """Whatever their case."""
    with pytest.raises(ValueError, match="not a token or comes twice"):
        Challenge("Bearer", params)


@pytest.mark.parametrize(
    "token68", ["", "=", "a b", "a=b", "a,", "abc ", "abc\t", "abc\n", "a\u00e9"]
)
def test_token68_in_another_form_is_refused(token68: str) -> None:
    """Letters, digits and six marks, padded at the end only."""
    with pytest.raises(ValueError, match="token68"):
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(" ,\t, ", [], id="only-separators"),
        pytest.param("Negotiate", [NEGOTIATE], id="bare-scheme"),
        pytest.param("Negotiate ", [NEGOTIATE], id="bare-scheme-and-space"),
        pytest.param("Negotiate,", [NEGOTIATE], id="bare-scheme-and-comma"),
        pytest.param("Negotiate , ", [NEGOTIATE], id="bare-scheme-space-comma"),
        pytest.param("Negotiate a87421000000492aa874209af8bc028=",
                     [Challenge("Negotiate", token68="a87421000000492aa874209af8bc028=")],
                     id="token68"),
        pytest.param("Negotiate  ab==\t, Basic realm=b",
                     [Challenge("Negotiate", token68="ab=="), BASIC], id="token68-then-another"),
        pytest.param("Negotiate ab=, Basic realm=b",
                     [Challenge("Negotiate", token68="ab="), BASIC], id="token68-looks-like-param"),
        pytest.param("Negotiate ab", [Challenge("Negotiate", token68="ab")], id="token68-no-pad"),
        pytest.param("Bearer realm=", [Challenge("Bearer", token68="realm=")], id="no-value"),
        pytest.param("Negotiate, Basic realm=b", [NEGOTIATE, BASIC], id="bare-then-another"),
        pytest.param("Negotiate , Basic realm=b", [NEGOTIATE, BASIC], id="bare-space-another"),
        pytest.param('Bearer realm="a"', [BEARER], id="quoted"),
        pytest.param("Bearer realm=a", [BEARER], id="token"),
        pytest.param('Bearer realm = "a"', [BEARER], id="bad-whitespace"),
        pytest.param('Bearer realm\t=\t"a"\t', [BEARER], id="tabs"),
        pytest.param('Bearer    realm="a"', [BEARER], id="many-spaces"),
        pytest.param('Bearer REALM="a"', [BEARER], id="upper-case-name"),
        pytest.param('Bearer , realm="a"', [BEARER], id="first-element-empty"),
        pytest.param('Bearer ,,\t, realm="a"', [BEARER], id="first-elements-empty"),
        pytest.param(',Bearer realm="a",,\t,Basic realm="b",',
                     [BEARER, BASIC], id="empty-elements"),
        pytest.param('Bearer realm="a",Basic realm="b"', [BEARER, BASIC], id="two-no-space"),
        pytest.param(r'Bearer realm="\a"', [BEARER], id="needless-escape"),
        pytest.param(r'Bearer realm="a \"b\" \\"', [Challenge("Bearer", {"realm": 'a "b" \\'})],
                     id="escapes"),
        pytest.param('Bearer realm=""', [Challenge("Bearer", {"realm": ""})], id="empty-value"),
        pytest.param('Bearer realm="a, Basic realm=\\"b\\""',
                     [Challenge("Bearer", {"realm": 'a, Basic realm="b"'})], id="list-in-quotes"),
        pytest.param('Bearer a="1", b=2, C="3"',
                     [Challenge("Bearer", {"a": "1", "b": "2", "c": "3"})], id="three"),
        pytest.param('Bearer realm="a", Bearer realm="a"', [BEARER, BEARER], id="same-twice"),
        pytest.param('Newauth realm="apps", type=1, title="Login to \\"apps\\"", '
                     'Basic realm="simple"',
                     [Challenge("Newauth",
                                {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                      Challenge("Basic", {"realm": "simple"})], id="rfc-9110-example"),
        pytest.param('DPoP algs="ES256 PS256", error="use_dpop_nonce", Bearer realm="a"',
                     [Challenge("DPoP", {"algs": "ES256 PS256", "error": "use_dpop_nonce"}),
                      BEARER], id="dpop-and-bearer"),
        pytest.param('Bearer resource_metadata="https://api.example.com/.well-known/x?y=z", '
                     f'error="{INSUFFICIENT}"',
                     [Challenge("Bearer", {
                         "resource_metadata": "https://api.example.com/.well-known/x?y=z",
                         "error": INSUFFICIENT})], id="rfc-9728"),
    ],
)  # fmt: skip
def test_foreign_fields_are_read(value: str, expected: list[Challenge]) -> None:
    """The forms of RFC 9110 section 11.6.1 that browsers and proxies send."""
    assert Challenge.parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('realm="a"', id="no-scheme"),
        pytest.param('="a"', id="no-name"),
        pytest.param('"Bearer" realm="a"', id="quoted-scheme"),
        pytest.param('Bearer realm="a', id="unterminated"),
        pytest.param('Bearer realm="a\\"', id="escaped-end"),
        pytest.param('Bearer realm="a"b"', id="text-after-quote"),
        pytest.param('Bearer realm="a" error="b"', id="no-comma"),
        pytest.param('Bearer realm="a"; error="b"', id="semicolon"),
        pytest.param("Bearer realm=a b", id="space-in-token"),
        pytest.param("Bearer abc def", id="two-token68"),
        pytest.param("Bearer realm==a", id="two-equals"),
        pytest.param("Bearer realm=\u00e9", id="foreign-token"),
        pytest.param('Bearer realm="\u20ac"', id="not-latin-1"),
        pytest.param('Bearer realm="a\r\nSet-Cookie: x=y"', id="crlf"),
        pytest.param('Bearer realm="a\x00"', id="nul"),
        pytest.param('Bearer realm="a\\\n"', id="escaped-newline"),
        pytest.param('Bearer realm="a"\n', id="newline-at-end"),
        pytest.param("Bearer realm=a\n", id="newline-after-token"),
        pytest.param("Negotiate ab=\n", id="newline-after-token68"),
        pytest.param("Negotiate\n", id="newline-after-scheme"),
        pytest.param('Bearer\trealm="a"', id="tab-after-scheme"),
        pytest.param('Bearer, realm="a"', id="parameters-without-scheme"),
        pytest.param('Bearer realm="a", realm="b"', id="twice"),
        pytest.param('Bearer realm="a", REALM="b"', id="twice-other-case"),
        pytest.param("Negotiate ab= realm=x", id="token68-and-parameter"),
        pytest.param('Negotiate ab==, realm="x"', id="token68-then-parameter"),
        pytest.param("B\u00e9arer", id="foreign-scheme"),
    ],
)
def test_what_is_no_list_of_challenges_is_refused(value: str) -> None:
    """Nothing is guessed: a client that cannot read the field must not act on half of it."""
    with pytest.raises(ValueError, match="challenge"):
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


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("max_age=300", 300, id="token"),
        pytest.param('max_age="300"', 300, id="quoted"),
        pytest.param("MAX_AGE=300", 300, id="upper-case"),
        pytest.param("max_age=0", 0, id="zero"),
        pytest.param("max_age=007", 7, id="leading-zeros"),
        pytest.param("max_age=-1", None, id="negative"),
        pytest.param('max_age="+1"', None, id="plus"),
        pytest.param("max_age=1.5", None, id="fraction"),
        pytest.param('max_age=""', None, id="empty"),
        pytest.param('max_age=" 1"', None, id="space"),
        pytest.param('max_age="1\t"', None, id="tab"),
        pytest.param("max_age=1_000", None, id="underscore"),
        pytest.param("max_age=0x10", None, id="hex"),
        pytest.param("max_age=1e3", None, id="exponent"),
        pytest.param("max_age=five", None, id="word"),
        pytest.param('max_age="\u00b2"', None, id="superscript-digit"),
        pytest.param("max_age=9999999999", 9999999999, id="ten-digits"),
        pytest.param("max_age=10000000000", None, id="eleven-digits"),
        pytest.param(f"max_age={'9' * 5000}", None, id="more-digits-than-python-reads"),
    ],
)
def test_max_age_is_read_strictly(written: str, expected: int | None) -> None:
    """A token or a quoted-string of digits; anything else is as good as none."""
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


@pytest.mark.parametrize("value", ['Basic realm="Caf\u00e9"', "Negotiate ab=", 'Bearer realm="a"'])
def test_challenge_can_be_copied_and_pickled(value: str) -> None:
    """Foreign ones too, and the copy is frozen as well."""
    [challenge] = Challenge.parse(value)

    for copied in (copy.deepcopy(challenge), pickle.loads(pickle.dumps(challenge))):
        assert copied == challenge
        assert type(copied.params) is type(challenge.params)


def test_subclass_parses_into_itself() -> None:
    """`parse` and `bearer` honour the class they are called on."""

    class Ours(Challenge):
        __slots__ = ()

    [parsed] = Ours.parse("Bearer realm=a")

    assert (type(parsed), type(Ours.bearer(realm="a"))) == (Ours, Ours)
