"""Fixtures that every test may use."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import pytest

from fastapi_stepup import StepUpGuard
from fastapi_stepup.testing import DescopeEmulator

HERE: Final = Path(__file__).parent

# What a place needs or costs; single tests elsewhere carry marks of their own.
MARKS: Final = {
    "browser": "browser",
    "cli/test_recorded.py": "slow",
    "contract/test_schemathesis.py": "alone",
    "contract/test_servers.py": "servers",
    "examples": "slow",
    "examples/test_shop_in_chromium.py": "browser",
    "examples/test_htmx.py": "browser",
    "examples/test_swagger_ui.py": "browser",
    "oidc": "sdk",
    "policy/test_laws.py": "slow",
    "project/test_benchmarks.py": "slow",
    "project/test_site.py": "slow",
    "project/test_typing.py": "slow",
    "providers/descope/test_requests.py": "sdk",
    "sdk": "sdk",
    "tokens/test_against_descope_sdk.py": "sdk",
    "tokens/test_cache_memory.py": "slow",
    "tokens/test_properties.py": "slow",
}

# Packages of the extra `interop` that a place imports; without one it is skipped and says so.
NEEDS: Final = {
    "browser/flow": ("playwright", "trustme"),
    "browser/test_authorize.py": ("playwright",),
    "cli/test_recorded.py": ("sqlalchemy",),
    "contract/test_bank_app.py": ("sqlalchemy",),
    "contract/test_schemathesis.py": ("schemathesis",),
    "contract/test_servers.py": ("granian", "hypercorn", "httptools"),
    "examples/test_containers.py": ("yaml",),
    "examples/test_htmx.py": ("playwright",),
    "examples/test_observability.py": ("opentelemetry.sdk", "yaml"),
    "examples/test_shop_flow.py": ("playwright", "trustme"),
    "examples/test_shop_in_chromium.py": ("playwright", "PIL"),
    "examples/test_swagger_ui.py": ("playwright",),
    "observability/test_opentelemetry.py": ("opentelemetry.sdk",),
    "providers/descope/test_requests.py": ("descope",),
    "router/test_secrets.py": ("sentry_sdk",),
    "sdk": ("descope",),
    "testing/test_against_libraries.py": ("fido2", "pyotp"),
    "testing/test_pictures.py": ("PIL", "zxingcpp"),
    "testing/test_totp.py": ("PIL",),
    "tokens/test_against_descope_sdk.py": ("descope",),
    "web/test_install_instrumented.py": ("opentelemetry.instrumentation.fastapi", "sentry_sdk"),
}


def _missing(path: Path) -> list[str]:
    """Return the packages that the tests at *path* need and that are not installed."""
    needed = {
        package
        for place, packages in NEEDS.items()
        if path.is_relative_to(HERE / place)
        for package in packages
    }
    return sorted(package for package in needed if not _is_installed(package))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it is a part of
        return False


class _Skipped(pytest.File):
    """A module, or a folder with its conftest, that cannot be imported here."""

    def collect(self) -> NoReturn:
        """Say why."""
        pytest.skip(
            f"needs {', '.join(_missing(self.path))} (extra interop)", allow_module_level=True
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> _Skipped | None:
    """Skip a module whose packages are missing, before it is imported."""
    if not _missing(module_path):
        return None
    skipped: _Skipped = _Skipped.from_parent(parent, path=module_path)
    return skipped


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> _Skipped | None:
    """Skip a folder whose packages are missing, before its conftest is imported."""
    return pytest_pycollect_makemodule(path, parent)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--rows`, which `python -m tests fast` gives."""
    parser.addoption(
        "--rows",
        type=int,
        metavar="N",
        help="of each table take N rows, spread evenly (default: all)",
    )


# Before the marks are asked for by `-m`, so that they count.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by where they stand, and leave out rows if `--rows` says so."""
    for item in items:
        for place, mark in MARKS.items():
            if item.path.is_relative_to(HERE / place):
                item.add_marker(mark)
    if (rows := config.getoption("--rows")) is not None:
        _leave_out_rows(config, items, rows)


def _leave_out_rows(config: pytest.Config, items: list[pytest.Item], rows: int) -> None:
    """Keep *rows* items of each test function, the first and the last among them."""
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {
        table[round(place * (len(table) - 1) / max(rows - 1, 1))]
        for table in tables.values()
        for place in range(min(rows, len(table)))
    }
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


# Places that touch the event loop run on trio as well.
BOTH_LOOPS: Final = (
    "client",
    "guard/test_authorize.py",
    "guard/test_guard.py",
    "guard/test_parts.py",
    "router/test_rate_limits.py",
    "router/test_redis.py",
    "test_http.py",
    "tokens/test_load.py",
    "tokens/test_revocation.py",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run asynchronous tests on trio as well where it matters."""
    if "anyio_backend" in metafunc.fixturenames and any(
        metafunc.definition.path.is_relative_to(HERE / place) for place in BOTH_LOOPS
    ):
        metafunc.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of an asynchronous test."""
    return "asyncio"


@pytest.fixture
def guard() -> StepUpGuard:
    """A guard with the defaults; give a test `descope` too, and its tokens are good."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")


@pytest.fixture
def descope(guard: StepUpGuard) -> Iterator[DescopeEmulator]:
    """The Descope of `guard`, for the time of the test."""
    with DescopeEmulator(project_id=guard.project_id).attach(guard) as descope:
        yield descope
