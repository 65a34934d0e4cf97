"""The tests of fastapi-stepup; `python -m tests` runs them together with every other check."""
