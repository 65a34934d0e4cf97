"""The tutorial, typed word for word into an empty directory."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?.*?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


class Step(NamedTuple):
    """A block of commands, and what they must print; for a terminal, until it has printed it."""

    commands: str
    terminal: str
    said: list[str]


def steps(folder: Path) -> Iterator[Step]:
    """Yield the commands of the page; write each file when it is its turn."""
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    for (language, title, text), (following, _, said) in zip(
        blocks, [*blocks[1:], ("", "", "")], strict=True
    ):
        if language == "python":
            folder.joinpath(title).write_text(text, "utf-8")
        elif language == "sh":
            yield Step(text, title, said.splitlines() if following == "text" else [])


def is_taken(port: int) -> bool:
    """Return whether something listens on this port already."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def missing(step: Step, output: str) -> list[str]:
    """Return the lines that the page shows and *output* has not; `…` stands for anything."""
    patterns = {line: re.escape(line).replace("…", r"\S+") for line in step.said}
    return [line for line, pattern in patterns.items() if not re.search(pattern, output)]


@pytest.fixture
def terminals() -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that the page leaves running; ended with all that they started."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for program in running:
        os.killpg(program.pid, signal.SIGTERM)
        program.communicate()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the working tree, where pip looks besides its index."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_tutorial_can_be_followed(
    tmp_path: Path, wheels: Path, usual_ports: None, terminals: list[subprocess.Popen[str]]
) -> None:
    """Each command does what the page says, down to the passing test."""
    if any(map(is_taken, (8000, 8085))):
        pytest.skip("the ports 8000 and 8085 of the tutorial are taken")
    hidden = {"VIRTUAL_ENV", "DESCOPE_PROJECT_ID", "DESCOPE_BASE_URI"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"PIP_FIND_LINKS": str(wheels), "PYTHONUNBUFFERED": "1"}
    ran = 0
    for step in steps(tmp_path):
        ran += 1
        if step.terminal:
            program = subprocess.Popen(
                ["bash", "-ec", step.commands],
                cwd=tmp_path,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            terminals.append(program)
            output = ""
            assert program.stdout
            while missing(step, output):
                line = program.stdout.readline()
                assert line, output
                output += line
            continue
        # One shell: what a block exports is there in the next one.
        saved = tmp_path / ".shell"
        resume = f". {saved}" if saved.exists() else ":"
        script = f"{resume}\n{step.commands}\nexport -p > {saved}"
        done = subprocess.run(
            ["bash", "-ec", script],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert missing(step, done.stdout) == [], done.stdout
    assert ran == 9
