"""The command that opens the shop."""

import runpy
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from examples.tee_hee_tees.serve import main
from tests.examples.shop import ROOT


def test_command_line_opens_the_shop_on_a_free_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shop says where it is, and what listens there is the shop."""
    opened: list[tuple[uvicorn.Server, int]] = []

    def look(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        opened.append((server, sockets[0].getsockname()[1]))

    database = tmp_path / "shop.sqlite3"
    main(["--port", "0", "--database", str(database)], serve=look)
    ((server, port),) = opened
    said = capsys.readouterr().out
    assert f"http://localhost:{port}" in said
    assert "the local emulator" in said
    assert isinstance(server.config.app, FastAPI)
    assert database.exists()


def test_command_line_takes_the_project_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `DESCOPE_PROJECT_ID` the shop runs on that project."""
    monkeypatch.setenv("DESCOPE_PROJECT_ID", "P2SomebodysRealProject000001")
    arguments = ["--port", "0", "--database", str(tmp_path / "shop.sqlite3")]
    main(arguments, serve=lambda server, sockets: None)
    assert "your Descope project" in capsys.readouterr().out


def test_command_line_says_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A taken port, a file that cannot be and a wrong project id each end with one sentence."""
    database = ["--database", str(tmp_path / "shop.sqlite3")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit):
            main(["--port", port, *database])
    assert f"Cannot listen on port {port}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--database", str(tmp_path / "nowhere" / "shop.sqlite3")])
    assert "Cannot keep orders in" in capsys.readouterr().err
    monkeypatch.setenv("DESCOPE_PROJECT_ID", "not a project")
    with pytest.raises(SystemExit):
        main(database)
    assert "project" in capsys.readouterr().err


def test_module_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m examples.tee_hee_tees` is the command line."""
    monkeypatch.setattr(sys, "argv", ["tee_hee_tees", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("examples.tee_hee_tees", run_name="__main__")
    assert ended.value.code == 0
    assert "python -m examples.tee_hee_tees" in capsys.readouterr().out


def test_one_command_opens_the_shop(tmp_path: Path) -> None:
    """The command of the README, as a process of its own, serves the shop."""
    command = [sys.executable, "-m", "examples.tee_hee_tees", "--port", "0"]
    with subprocess.Popen(
        [*command, "--database", str(tmp_path / "shop.sqlite3")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = next(line.split()[-1] for line in process.stdout if "is open" in line)
            address = url.replace("localhost", "127.0.0.1")
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
                assert b"Tee-Hee Tees" in answer.read()
        finally:
            process.terminate()
