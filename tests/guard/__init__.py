"""Tests of `fastapi_stepup.guard`."""
