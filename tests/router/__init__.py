"""Tests of `fastapi_stepup.router`."""
