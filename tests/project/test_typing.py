"""A user's own type checker is content with the package, and helps."""

import subprocess
import sys
from pathlib import Path

RIGHT = """\
from typing import Annotated

from fastapi import Depends, FastAPI

from fastapi_stepup import Claims, RequireStepUp, StepUpGuard

guard = StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz")
app = FastAPI()


@app.post("/checkout")
async def checkout(claims: Annotated[Claims, Depends(RequireStepUp(guard, max_age="5m"))]) -> str:
    return claims.subject
"""
WRONG = """\
from right import checkout, guard
from fastapi_stepup import Claims, RequireStepUp

RequireStepUp("P2abcdefghijklmnopqrstuvwxyz")
RequireStepUp(guard, maxage="5m")


def handle(claims: Claims) -> None:
    print(claims.sub)
"""


def test_strict_type_checker_is_content_with_a_users_file(tmp_path: Path) -> None:
    """One import, one guard and one `Depends` pass `mypy --strict`; mistakes do not."""
    for name, program in (("right", RIGHT), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "right.py", "wrong.py"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    *lines, summary = done.stdout.splitlines()
    first, second, third = (line for line in lines if ": note: " not in line)
    assert first.startswith("wrong.py:4: error: ")
    assert 'expected "StepUpGuard"' in first
    assert second.startswith('wrong.py:5: error: Unexpected keyword argument "maxage"')
    assert third.startswith("wrong.py:9: error: ")
    assert '"sub"' in third
    assert summary == "Found 3 errors in 1 file (checked 2 source files)"
