"""`python -m benchmarks` produces its figures; what they come to is no business of a test."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import SUBJECTS, Subject, main
from benchmarks.material import Material, Missing, peer
from benchmarks.measuring import (
    QUICK,
    Figure,
    Target,
    at_least,
    at_most,
    below,
    compared,
    compared_additions,
    percentile,
    skipped,
)

TINY = replace(
    QUICK,
    name="tiny",
    rounds=2,
    tokens=4,
    batch=2,
    load_rounds=1,
    load_seconds=0.02,
    flood_seconds=0.1,
    outage_seconds=0.02,
    cached_tokens=20,
    imports=1,
    million=20,
)

# What runs in process and is measured with what the tests need anyway.
FIGURES = {
    "imports": 4,
    "validation": 5,
    "payloads": 5,
    "algorithms": 2,
    "issuers": 2,
    "sdk": 8,
    "routes": 5,
    "first tokens": 3,
    "middleware": 4,
    "rules": 12,
    "loopback": 8,
    "flood": 3,
    "long paths": 2,
    "cold start": 2,
    "outage": 2,
    "forget": 1,
    "memory": 6,
    "policies": 6,
    "limits": 5,
    "observability": 7,
    "emulator": 1,
}
# What is compared with packages that only the extra bench brings.
PEERS = {"libraries": 3, "neighbours": 4}


@pytest.mark.parametrize("subject", FIGURES)
def test_every_figure_is_produced(subject: str, tmp_path: Path) -> None:
    """Each subject gives its figures, every one with a value, in the JSON file."""
    file = tmp_path / "figures.json"

    assert main([subject, "--json", str(file)], effort=TINY) == 0

    report = json.loads(file.read_text("utf-8"))
    figures: list[dict[str, Any]] = report["figures"]
    assert len(figures) == FIGURES[subject]
    assert len({figure["name"] for figure in figures}) == len(figures)
    assert all(isinstance(figure["value"], float) for figure in figures)
    assert {figure["verdict"] for figure in figures} <= {"met", "missed", "told"}
    assert report["versions"]["fastapi-stepup"]
    assert report["effort"]["name"] == "tiny"


@pytest.mark.parametrize("subject", PEERS)
def test_peers_are_measured_or_said_to_be_missing(subject: str, tmp_path: Path) -> None:
    """A peer that is not installed is a skipped figure with a reason, never an error."""
    file = tmp_path / "figures.json"

    assert main([subject, "--json", str(file), "--check"], effort=TINY) == 0

    figures = json.loads(file.read_text("utf-8"))["figures"]
    assert len(figures) == PEERS[subject]
    assert all((figure["value"] is None) == (figure["verdict"] == "skipped") for figure in figures)
    assert all(figure["note"] for figure in figures)


def test_every_subject_is_tested() -> None:
    """No subject of the command line is left out here."""
    assert set(SUBJECTS) == {*FIGURES, *PEERS}


def test_missing_peer_is_named() -> None:
    """A missing peer is named, with how to install it."""
    with pytest.raises(Missing, match=r"no_such_package is not installed.*extra bench"):
        peer("no_such_package")


def test_missed_target_fails_only_with_check(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says nothing about targets unless `--check` asks for it."""
    missed = Figure(name="slow", value=2.0, low=1.0, high=3.0, target=at_most(1), note="why")
    subjects: dict[str, tuple[Subject, ...]] = {
        "speed": (lambda _: [missed, skipped("gone", "no reason")],)
    }

    assert main(["--quick"], subjects=subjects) == 0
    assert main(["speed", "--long", "--check", "--markdown"], subjects=subjects) == 1
    printed = capsys.readouterr().out
    assert "Missed: slow, 2 against <= 1" in printed
    assert "| slow | 2 | 1-3 | <= 1 | missed | why |" in printed
    assert "| gone |  |  |  | skipped | no reason |" in printed
    assert "missed" in printed
    assert "gone: no reason" in printed
    assert "0 met, 1 missed, 0 told, 1 skipped" in printed


def test_table_is_put_between_markers(tmp_path: Path) -> None:
    """What stood there before is replaced, and what is around it stays."""
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- figures -->old<!-- end of figures -->\nb\n", "utf-8")
    subjects: dict[str, tuple[Subject, ...]] = {"speed": (lambda _: [skipped("gone", "why")],)}

    assert main(["--quick", "--markdown", str(page)], subjects=subjects) == 0

    text = page.read_text("utf-8")
    assert text.startswith("a\n<!-- figures -->\n\nPython ")
    assert text.endswith("| gone |  |  |  | skipped | why |\n\n<!-- end of figures -->\nb\n")
    assert "old" not in text


def test_unknown_subject_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A subject that does not exist is an error of usage that lists those that do."""
    with pytest.raises(SystemExit):
        main(["nothing"])

    assert "validation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "values"),
    [
        pytest.param(at_most(2), [1, 2], id="at most"),
        pytest.param(below(2), [1], id="below"),
        pytest.param(at_least(2), [2, 3], id="at least"),
    ],
)
def test_targets_count_their_bound_as_they_read(target: Target, values: list[int]) -> None:
    """`<=` and `>=` include the bound, `<` does not."""
    assert [value for value in (1, 2, 3) if target.is_met_by(value)] == values


def test_ratio_is_taken_within_each_round() -> None:
    """A round in which everything was slow weighs as much as any other."""
    figure = compared("this / that", [1.0, 20.0, 3.0], [2.0, 40.0, 6.0])

    assert (figure.low, figure.value, figure.high) == (0.5, 0.5, 0.5)


def test_additions_are_taken_within_each_round() -> None:
    """What each side takes more than its base, in a fast round as in a slow one."""
    figure = compared_additions("a / b", ([3.0, 6.0], [1.0, 2.0]), ([5.0, 10.0], [1.0, 2.0]))

    assert (figure.low, figure.value, figure.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 2.0), (0.99, 4.0), (1, 4.0), (0.01, 1.0)], ids=str
)
def test_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    """Percentiles are values that were measured, and the highest one is the slowest."""
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == expected


def test_tokens_are_about_as_long_as_those_of_descope() -> None:
    """What is verified is a session of 600 to 700 characters, and one too long for a verifier."""
    material = Material()

    assert 600 <= len(material.token()) <= 700
    assert len(material.large_token()) > 16 * 1024
