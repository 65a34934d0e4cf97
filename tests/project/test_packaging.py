"""What is shipped, and that the places which must agree do."""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))["project"]
README = ROOT.joinpath("README.md").read_text("utf-8")
CI_SCRIPT = ROOT / ".ci/run"
WORKFLOWS = ROOT / ".github/workflows"
WORKFLOW = WORKFLOWS / "ci.yml"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


def test_installed_version_is_the_declared_one() -> None:
    """The metadata of the installed package carries the version of pyproject.toml."""
    assert version("fastapi-stepup") == PROJECT["version"]


def test_changelog_leads_with_this_version() -> None:
    """The newest heading of the changelog is the version of pyproject.toml."""
    changelog = ROOT.joinpath("CHANGELOG.md").read_text("utf-8")

    assert re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)[0] == PROJECT["version"]


def test_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    """The wheel has `py.typed`, the licence, the pytest plugin and no second top-level package."""
    (wheel,) = dist.glob("*.whl")
    info = f"fastapi_stepup-{PROJECT['version']}.dist-info"

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()

    assert {name.partition("/")[0] for name in names} == {"fastapi_stepup", info}
    assert {"fastapi_stepup/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
    assert not [name for name in names if name.endswith(".src.js")]
    scripts = {"stepup.js", "stepup.d.ts", "use-stepup.js", "swagger-ui-stepup.js"}
    assert {f"fastapi_stepup/browser/{name}" for name in scripts} <= set(names)
    assert "[pytest11]\nfastapi_stepup = fastapi_stepup.testing.plugin\n" in entry_points


def test_source_distribution_can_be_tested(dist: Path) -> None:
    """The source distribution has the tests and examples, and nothing that a tool left behind."""
    (sdist,) = dist.glob("*.tar.gz")

    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"conftest.py", "tests/__main__.py", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert {"mkdocs.yml", "docs/hooks.py", "docs/tutorial.md", "examples/compose.yaml"} <= names
    assert {"Dockerfile", ".ci/run", "fastapi_stepup/browser/stepup.src.js"} <= names
    assert not [name for name in names if re.search(r"node_modules|__pycache__|_cache/", name)]


def test_release_is_attested_and_needs_no_secret() -> None:
    """PyPI trusts the workflow; each job has the permissions that it needs, and none besides."""
    text = WORKFLOWS.joinpath("release.yml").read_text("utf-8")

    assert "secrets." not in text
    assert "\npermissions: {}\n" in text
    assert text.index("attest-build-provenance") < text.index("gh-action-pypi-publish")
    assert re.findall(r"^      (\S+: write)", text, re.MULTILINE) == [
        "id-token: write",
        "attestations: write",
        "id-token: write",
    ]


def test_runtime_needs_five_packages() -> None:
    """A plain install brings five packages, each with a lower bound and no upper one."""
    bounds = [
        re.fullmatch(r"([a-z]+)(?:\[crypto\])?>=[\d.]+", line) for line in PROJECT["dependencies"]
    ]

    assert [bound and bound[1] for bound in bounds] == [
        "cachetools",
        "fastapi",
        "httpx",
        "pyjwt",
        "starlette",
    ]


@pytest.mark.slow
def test_plain_install_brings_what_it_always_did(dist: Path, tmp_path: Path) -> None:
    """An empty environment gets the five packages and what those need, nothing of the extras."""
    (wheel,) = dist.glob("*.whl")
    venv.create(tmp_path, with_pip=True)
    pip = [str(tmp_path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    report = [*pip, "--dry-run", "--ignore-installed", "--report", "-", str(wheel)]
    ran = subprocess.run(report, capture_output=True, text=True, check=False)
    if (
        "No matching distribution" in ran.stderr or "NewConnectionError" in ran.stderr
    ):  # pragma: no cover - where there is an index
        pytest.skip("the package index does not answer")

    assert ran.returncode == 0, ran.stderr
    found = {item["metadata"]["name"].lower() for item in json.loads(ran.stdout)["install"]}
    ours = {"fastapi-stepup", "cachetools", "fastapi", "httpx", "pyjwt", "starlette"}
    # Of fastapi and starlette; of httpx; of pyjwt[crypto]. Newer Pythons need fewer of them.
    theirs = {"annotated-doc", "annotated-types", "anyio", "opentelemetry-api", "pydantic"}
    theirs |= {"pydantic_core", "typing-inspection", "typing_extensions"}
    theirs |= {"certifi", "h11", "httpcore", "idna", "cffi", "cryptography", "pycparser"}
    assert ours <= found
    assert found - ours <= theirs


def test_extras_of_developers_are_apart() -> None:
    """What only CI needs is in `interop`, and README's test command does without it."""
    extras = PROJECT["optional-dependencies"]
    names = {name: {re.split(r"[<>=\[]", line)[0] for line in extras[name]} for name in extras}

    assert names["interop"] & (names["dev"] | names["demo"]) == set()
    assert {"playwright", "descope", "granian"} <= names["interop"]


def test_readme_and_ci_run_the_same_test_command() -> None:
    """The README's test command is one line of the CI script, word for word."""
    (command,) = re.findall(r"^python3 -m venv .* -m tests$", README, re.MULTILINE)

    assert command in [line.strip() for line in CI_SCRIPT.read_text("utf-8").splitlines()]


def test_ci_tries_every_python_that_is_promised() -> None:
    """The workflow's matrix and the classifiers name the same Python versions."""
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    (matrix,) = re.findall(r"python: \[(.+)\]", WORKFLOW.read_text("utf-8"))

    assert re.findall(r"3\.\d+", matrix) == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_actions_are_pinned_by_commit(name: str) -> None:
    """No action of a workflow can change under its tag."""
    actions = re.findall(r"uses: (\S+)", WORKFLOWS.joinpath(name).read_text("utf-8"))

    assert actions
    assert [action for action in actions if not re.fullmatch(r"\S+@[0-9a-f]{40}", action)] == []
