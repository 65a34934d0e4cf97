"""The public names: those of `fastapi_stepup`, no more and no fewer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastapi_stepup

NAMES = [
    "AuthorizationRequest",
    "Challenge",
    "Claims",
    "CredentialReader",
    "DescopeClient",
    "Evidence",
    "GuardedRoute",
    "JWKSCache",
    "Method",
    "OneTimeStore",
    "RequireSession",
    "RequireStepUp",
    "StepUpAuth",
    "StepUpCancelled",
    "StepUpFailed",
    "StepUpGuard",
    "StepUpLimits",
    "StepUpMiddleware",
    "StepUpPolicy",
    "StepUpQuestion",
    "StepUpRoute",
    "StepUpRule",
    "StepUpScript",
    "StepUpTokens",
    "StepUpUnmet",
    "TokenVerifier",
    "any_of",
    "claims_from",
    "errors",
    "guarded_routes",
    "install",
    "presets",
    "requires_step_up",
    "stepup_router",
    "stepup_script",
    "stepup_script_routes",
]


def test_all_lists_the_public_names_sorted() -> None:
    """`__all__` is the whole public API, in sorted order."""
    assert list(fastapi_stepup.__all__) == NAMES


def test_names_can_be_imported() -> None:
    """Each public name is there, and is the same object each time."""
    for name in NAMES:
        assert getattr(fastapi_stepup, name) is getattr(fastapi_stepup, name)


def test_table_of_exports_is_what_type_checkers_see() -> None:
    """The lazy table, the imports for type checkers and `__all__` agree, name by name."""
    tree = ast.parse(Path(fastapi_stepup.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (str(node.module), alias.name)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    table = vars(fastapi_stepup)["_EXPORTS"]
    served = [(f"fastapi_stepup.{module}", name) for module in table for name in table[module]]

    modules = ("errors", "presets")
    assert {*served, *(("fastapi_stepup", name) for name in modules)} == seen
    assert sorted([*(name for _, name in served), *modules]) == fastapi_stepup.__all__


def test_dir_lists_the_public_names() -> None:
    """Completion offers each public name before any of them was used."""
    assert set(NAMES) <= set(dir(fastapi_stepup))


def test_other_names_are_refused() -> None:
    """A name that does not exist is the usual `AttributeError`, which names it and the module."""
    name = "StepDown"

    with pytest.raises(AttributeError, match=r"'fastapi_stepup' has no attribute 'StepDown'"):
        getattr(fastapi_stepup, name)


def test_importing_the_package_alone_does_not_import_fastapi() -> None:
    """The core can be used in a Starlette app without paying for FastAPI."""
    program = "import sys; from fastapi_stepup import StepUpGuard; print('fastapi' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"
