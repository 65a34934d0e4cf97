"""Tests of `fastapi_stepup.policy`."""
