"""The public names of `fastapi_stepup.testing`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fastapi_stepup import testing


def test_names_can_be_imported() -> None:
    """Each public name is there, is the same object each time, and is documented."""
    for name in testing.__all__:
        value = getattr(testing, name)
        assert value is getattr(testing, name)
        assert value.__doc__


def test_all_is_sorted_and_listed() -> None:
    """`__all__` is sorted as the linter sorts it, and `dir` lists it."""
    constants = [name for name in testing.__all__ if name.isupper()]
    others = [name for name in testing.__all__ if not name.isupper()]
    assert list(testing.__all__) == sorted(constants) + sorted(others)
    assert set(testing.__all__) <= set(dir(testing))


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    """The imports under `TYPE_CHECKING`, the table of modules and `__all__` agree."""
    tree = ast.parse(Path(testing.__file__).read_text(encoding="utf-8"))
    imported = {
        (name.name, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    table = {(name, f"{testing.__name__}.{module}") for name, module in testing._MODULES.items()}
    assert imported == table
    assert {name for name, _ in table} == set(testing.__all__)


def test_other_names_are_refused() -> None:
    """A typing mistake is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'Emulator'"):
        _ = testing.Emulator


def test_plugin_costs_nothing_to_those_who_do_not_use_it() -> None:
    """Importing the plugin imports no web framework, no HTTP client and no cryptography."""
    program = (
        "import sys, fastapi_stepup.testing.plugin as p\n"
        "heavy = {'fastapi', 'starlette', 'httpx', 'cryptography', 'jwt', 'uvicorn', 'anyio'}\n"
        "print(*sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("\n", "")
