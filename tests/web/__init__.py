"""Tests of `fastapi_stepup.web`."""
