"""Tests of `fastapi_stepup.cli`."""
