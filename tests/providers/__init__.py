"""Tests of `fastapi_stepup.providers`."""
