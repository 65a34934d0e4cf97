"""The pytest plugin: a Descope emulator, or an emulated OpenID issuer, for each test.

A guard that is named in the configuration is all a test needs:

```toml
[tool.pytest]
stepup_guard = "shop.main:guard"
```

```python
def test_checkout_needs_a_step_up(descope_emulator, client):
    ann = descope_emulator.sign_in("ann@example.com")
    assert_step_up_challenge(client.post("/checkout", headers=ann.headers))
```

Otherwise override the fixture `stepup_guard`, or attach in the test:
`with descope_emulator.attach(guard): ...`. `-p no:fastapi_stepup` turns the plugin off.

The emulator lives as long as one test. With `descope_emulator_scope = "session"` (or `module`,
`package`, `class`) wider fixtures can use it; `descope_emulator.reset()` empties it.

A guard that `StepUpGuard.for_oidc` made is named in `oidc_guard`, or overrides the fixture of that
name. Its tests use `oidc_issuer`, whose scope is `oidc_issuer_scope`:

```python
def test_payment_needs_two_factors(oidc_issuer, client):
    weak = oidc_issuer.headers("ann", acr="pwd", age=0)
    assert_step_up_challenge(client.post("/pay", headers=weak))
```

Every pytest run of an environment imports this module, so it imports only pytest.
"""

import pkgutil
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from fastapi_stepup.guard.guard import StepUpGuard
    from fastapi_stepup.testing.emulator.emulator import DescopeEmulator
    from fastapi_stepup.testing.oidc.issuer import OIDCIssuer

_SCOPES: Final = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the plugin's settings."""
    parser.addini(
        "stepup_guard",
        "guard that the fixture descope_emulator is attached to, as 'package.module:name'",
        default="",
    )
    parser.addini(
        "descope_project_id",
        "project id of the fixture descope_emulator when no guard is configured",
        default="",
    )
    parser.addini(
        "oidc_guard",
        "guard that the fixture oidc_issuer is attached to, as 'package.module:name'",
        default="",
    )
    for fixture in ("descope_emulator", "oidc_issuer"):
        parser.addini(
            f"{fixture}_scope",
            f"scope of the fixture {fixture}: {', '.join(_SCOPES)}",
            default="function",
        )


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    """Return the configured scope of a fixture and of those that it is made from."""
    name = "oidc_issuer_scope" if fixture_name.startswith("oidc_") else "descope_emulator_scope"
    scope = config.getini(name)
    if scope not in _SCOPES:
        raise pytest.UsageError(f"The setting {name} = {scope!r} is none of {', '.join(_SCOPES)}.")
    return scope


@pytest.fixture(scope=_scope)
def stepup_guard(request: pytest.FixtureRequest) -> "StepUpGuard | None":
    """The guard that `descope_emulator` is attached to, from the setting `stepup_guard`.

    Override it in a `conftest.py` when a fixture makes the guard. None attaches nothing.
    """
    guard: StepUpGuard | None = _configured(request, "stepup_guard")
    return guard


@pytest.fixture(scope=_scope)
def descope_project_id(
    request: pytest.FixtureRequest, stepup_guard: "StepUpGuard | None"
) -> str | None:
    """The project id of `descope_emulator`: the guard's, or the setting `descope_project_id`.

    None means the emulator's default.
    """
    if stepup_guard is not None:
        return stepup_guard.project_id
    configured: str = request.config.getini("descope_project_id")
    return configured or None


@pytest.fixture(scope=_scope)
def descope_emulator(
    stepup_guard: "StepUpGuard | None", descope_project_id: str | None
) -> "Iterator[DescopeEmulator]":
    """A fresh `DescopeEmulator`, attached to `stepup_guard` until its scope ends: the test."""
    from fastapi_stepup.testing.emulator.emulator import DescopeEmulator  # noqa: PLC0415 - lazy

    emulator = DescopeEmulator(descope_project_id) if descope_project_id else DescopeEmulator()
    with emulator.attach(stepup_guard) if stepup_guard else nullcontext():
        yield emulator


@pytest.fixture(scope=_scope)
def oidc_guard(request: pytest.FixtureRequest) -> "StepUpGuard | None":
    """The guard that `oidc_issuer` is attached to, from the setting `oidc_guard`.

    Override it in a `conftest.py` when a fixture makes the guard. None attaches nothing.
    """
    guard: StepUpGuard | None = _configured(request, "oidc_guard")
    return guard


@pytest.fixture(scope=_scope)
def oidc_issuer_options() -> dict[str, Any]:
    """The options of `oidc_issuer` besides issuer and audience; none by default.

    Override it for tokens that differ from RFC 9068, such as those of Okta:
    `{"token_type": None, "claims": {"uid": "00u1"}}`.
    """
    return {}


@pytest.fixture(scope=_scope)
def oidc_issuer(
    oidc_guard: "StepUpGuard | None", oidc_issuer_options: dict[str, Any]
) -> "Iterator[OIDCIssuer]":
    """A fresh `OIDCIssuer`, attached to `oidc_guard` until its scope ends: the test.

    Issuer, audience and algorithm are the guard's; without a guard, those of `OIDCIssuer`.
    """
    from fastapi_stepup.testing.oidc.issuer import OIDCIssuer  # noqa: PLC0415 - lazy

    if oidc_guard is None:
        yield OIDCIssuer(**oidc_issuer_options)
        return
    with OIDCIssuer.for_guard(oidc_guard, **oidc_issuer_options).attach(oidc_guard) as issuer:
        yield issuer


def _configured(request: pytest.FixtureRequest, setting: str) -> Any:
    location = request.config.getini(setting)
    if not location:
        return None
    try:
        return pkgutil.resolve_name(location)
    except (ValueError, ImportError, AttributeError) as error:
        raise pytest.UsageError(
            f"The setting {setting} = {location!r} does not lead to a guard ({error}). "
            "Write it as 'package.module:name'."
        ) from error
