"""One-time passwords, against the vectors of their RFCs."""

import base64

import pytest

from fastapi_stepup.testing.authenticators.totp import TOTPAuthenticator, hotp

KEY = b"12345678901234567890"
RFC_4226 = [  # appendix D
    (0, "755224"),
    (1, "287082"),
    (2, "359152"),
    (3, "969429"),
    (4, "338314"),
    (5, "254676"),
    (6, "287922"),
    (7, "162583"),
    (8, "399871"),
    (9, "520489"),
]
RFC_6238 = [  # appendix B: time, and the password by each digest
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
KEY_BYTES = {"sha1": 20, "sha256": 32, "sha512": 64}


def test_password_of_a_counter(subtests: pytest.Subtests) -> None:
    """The ten passwords of RFC 4226 come out."""
    for counter, password in RFC_4226:
        with subtests.test(counter=counter):
            assert password == hotp(KEY, counter)


def test_password_of_a_time(subtests: pytest.Subtests) -> None:
    """The eighteen passwords of RFC 6238 come out."""
    for vector in RFC_6238:
        with subtests.test(vector=vector):
            for digest, password in zip(KEY_BYTES, vector[1:], strict=True):
                key = (KEY * 4)[: KEY_BYTES[digest]]
                assert password == hotp(key, vector[0] // 30, digits=8, digest=digest)


def test_secret_is_the_key_in_base_32() -> None:
    """A person, or another app, can type the secret in."""
    app = TOTPAuthenticator()
    key = base64.b32decode(app.secret)
    assert len(key) == 20
    assert app.code(1_800_000_000) == hotp(key, 60_000_000)
    assert app.secret not in repr(app)


@pytest.mark.parametrize(("seconds", "good"), [(-60, False), (-30, True), (30, True), (60, False)])
def test_clocks_may_differ_by_a_period(seconds: int, *, good: bool) -> None:
    """The password of the period before and after is good, no other."""
    app, now = TOTPAuthenticator(), 1_800_000_000.0
    assert good is app.accepts(app.code(now + seconds), now)


def test_password_works_once() -> None:
    """A used password is refused, an older one too, and the app shows the next."""
    app, now = TOTPAuthenticator(), 1_800_000_000.0
    older, code = app.code(now - 30), app.code(now)
    assert app.accepts(code, now)
    assert not app.accepts(code, now)
    assert not app.accepts(older, now)
    assert app.code(now) == app.code(now + 30) != code
    assert app.accepts(app.code(now), now)
