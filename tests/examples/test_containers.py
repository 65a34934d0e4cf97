"""The container files: valid where Docker is, and run without it, command for command."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.test_small_examples import answers, limits_and_workers

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "examples" / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"


def services() -> dict[str, Any]:
    """Return the services of the compose file."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML (extra docs)")
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    return found


def has(*command: str) -> bool:
    """Return whether a program can be run so."""
    found = shutil.which(command[0])
    return (
        found is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has("docker", "compose", "version"), reason="there is no docker compose")
def test_compose_file_is_valid() -> None:
    """Docker reads it without a complaint."""
    command = ["docker", "compose", "-f", str(COMPOSE), "config", "--quiet"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (check.returncode, check.stderr) == (0, "")


@pytest.mark.skipif(not has("docker", "info"), reason="no Docker daemon is running")
@pytest.mark.parametrize("target", ["emulator", "shop"])
def test_image_can_be_built(target: str) -> None:
    """The image of each target is built from a clean context."""
    command = ["docker", "build", "--quiet", "--target", target, str(ROOT)]
    build = subprocess.run(command, capture_output=True, text=True, check=False)

    assert build.returncode == 0, build.stderr


def test_compose_file_says_what_the_images_run() -> None:
    """Each command of ours is that of the image; what is copied into an image exists."""
    text = DOCKERFILE.read_text("utf-8")

    for name in ("emulator", "shop"):
        shown = ", ".join(f'"{word}"' for word in services()[name]["command"])
        assert f"CMD [{shown}]" in text
    for line in text.splitlines():
        if line.startswith("COPY "):
            assert all(ROOT.joinpath(source).exists() for source in line.split()[1:-1])


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_commands_of_the_compose_file_work_without_docker(
    tmp_path: Path, usual_ports: None
) -> None:
    """Redis, the emulator and two workers start, and count a user's tries together."""
    ports = (6379, 8000, 8085)
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} of the compose file is taken")
    with ExitStack() as stack:
        for name in ("emulator", "redis", "shop"):
            service = services()[name]
            program, *arguments = service["command"]
            env = os.environ | service.get("environment", {})
            env["SHOP_DATABASE"] = str(tmp_path / "shop.sqlite3")
            process = subprocess.Popen(
                [sys.executable if program == "python" else program, *arguments],
                cwd=ROOT if program == "python" else tmp_path,
                env=env,
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        deadline = time.monotonic() + 60
        while not answers("http://127.0.0.1:8085/_emulator/project"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        limits_and_workers("http://127.0.0.1:8000", "http://127.0.0.1:8085")
        assert httpx.get("http://127.0.0.1:8000/").is_success
