"""The pytest plugin, in test runs of its own."""

import pytest

SHOP = """
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard

guard = StepUpGuard.for_descope("P2shop")
app = FastAPI()


@app.post("/checkout")
def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard))]) -> str:
    return claims.subject
"""

SHOP_TEST = """
from starlette.testclient import TestClient

from fastapi_stepup.testing import assert_step_up_challenge
from shop import app

client = TestClient(app)


def test_checkout_needs_a_step_up(descope_emulator):
    ann = descope_emulator.sign_in("ann@example.com")
    assert_step_up_challenge(client.post("/checkout", headers=ann.headers))
    ann = descope_emulator.step_up("ann@example.com")
    assert client.post("/checkout", headers=ann.headers).json() == ann.user_id
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the tests that were made, in this process and with the plugin loaded once."""
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_configured_guard_is_attached(pytester: pytest.Pytester) -> None:
    """With one setting a test needs nothing but the fixture."""
    pytester.makeini("[pytest]\nstepup_guard = shop:guard\npythonpath = .")
    pytester.makepyfile(shop=SHOP, test_shop=SHOP_TEST)
    run(pytester).assert_outcomes(passed=1)


def test_guard_of_a_fixture_is_attached(pytester: pytest.Pytester) -> None:
    """A guard that is made by a fixture takes the place of the setting."""
    pytester.makepyfile(
        """
        import asyncio

        import pytest

        from fastapi_stepup import StepUpGuard


        @pytest.fixture
        def stepup_guard():
            return StepUpGuard.for_descope("P2fixture")


        def test_guard(descope_emulator, stepup_guard):
            assert descope_emulator.project_id == "P2fixture"
            ann = descope_emulator.sign_in("ann")
            assert asyncio.run(stepup_guard.verify(ann.session_token)).subject == ann.user_id
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_each_test_has_its_own_emulator(pytester: pytest.Pytester) -> None:
    """Nothing of one test is seen by the next; the default project is used without settings."""
    pytester.makepyfile(
        """
        import pytest

        from fastapi_stepup.testing import DescopeEmulator


        @pytest.mark.parametrize("number", [1, 2])
        def test_fresh(descope_emulator, number):
            assert descope_emulator.project_id == DescopeEmulator().project_id
            descope_emulator.create_user("ann")
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_scope_is_configurable(pytester: pytest.Pytester) -> None:
    """With the scope `session`, wider fixtures use the emulator, and all tests share it."""
    pytester.makeini(
        "[pytest]\nstepup_guard = shop:guard\npythonpath = .\ndescope_emulator_scope = session"
    )
    pytester.makepyfile(
        shop=SHOP,
        test_shop="""
        import pytest
        from starlette.testclient import TestClient

        from shop import app


        @pytest.fixture(scope="session")
        def client(descope_emulator):
            client = TestClient(app)
            descope_emulator.step_up("ann@example.com", client=client)
            return client


        @pytest.mark.parametrize("number", [1, 2])
        def test_checkout(client, descope_emulator, number):
            ann = descope_emulator.user("ann@example.com")
            assert client.post("/checkout").json() == ann.user_id
        """,
    )
    run(pytester).assert_outcomes(passed=2)


def test_unknown_scope_is_explained(pytester: pytest.Pytester) -> None:
    """A typing mistake is an error that lists the scopes."""
    pytester.makeini("[pytest]\ndescope_emulator_scope = sesion")
    pytester.makepyfile("def test_nothing(descope_emulator): pass")
    result = run(pytester)
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*'sesion' is none of function, class, module, package, session*"])


def test_project_id_is_configurable(pytester: pytest.Pytester) -> None:
    """A setting names the project where no guard is configured."""
    pytester.makeini("[pytest]\ndescope_project_id = P2ini")
    pytester.makepyfile(
        """
        def test_project(descope_emulator):
            assert descope_emulator.project_id == "P2ini"
        """
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize("location", ["nowhere:guard", "shop:nothing", "not a name"])
def test_guard_that_cannot_be_found_is_explained(pytester: pytest.Pytester, location: str) -> None:
    """A wrong setting is an error that says how to write it."""
    pytester.makeini(f"[pytest]\nstepup_guard = {location}\npythonpath = .")
    pytester.makepyfile(shop=SHOP, test_shop=SHOP_TEST)
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*does not lead to a guard*Write it as 'package.module:name'.*"])


BANK = """
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi_stepup import Claims, RequireStepUp, StepUpGuard

guard = StepUpGuard.for_oidc(
    "https://bank.example", audience="https://api.bank.example", algorithms=("ES256",)
)
app = FastAPI()


@app.post("/pay")
def pay(claims: Annotated[Claims, Depends(RequireStepUp(guard, acr=["mfa"]))]) -> str:
    return claims.subject
"""

BANK_TEST = """
import pytest
from starlette.testclient import TestClient

from bank import app


@pytest.fixture(scope="session")
def oidc_issuer_options():
    return {"claims": {"client_id": "bank-web"}}


@pytest.mark.parametrize("acr, status", [("pwd", 401), ("mfa", 200)])
def test_pay(oidc_issuer, acr, status):
    headers = oidc_issuer.headers("ann", acr=acr)
    assert TestClient(app).post("/pay", headers=headers).status_code == status
"""


def test_issuer_of_a_configured_guard(pytester: pytest.Pytester) -> None:
    """The emulated issuer takes name, audience and algorithm from the guard, and has a scope."""
    pytester.makeini(
        "[pytest]\noidc_guard = bank:guard\npythonpath = .\noidc_issuer_scope = session"
    )
    pytester.makepyfile(bank=BANK, test_bank=BANK_TEST)
    run(pytester).assert_outcomes(passed=2)


def test_issuer_without_a_guard(pytester: pytest.Pytester) -> None:
    """Without a guard there is an issuer with the defaults."""
    pytester.makepyfile(
        """
        def test_default(oidc_issuer):
            assert oidc_issuer.issuer == "https://login.example"
        """
    )
    run(pytester).assert_outcomes(passed=1)
