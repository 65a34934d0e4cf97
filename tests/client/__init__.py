"""Tests of `fastapi_stepup.client`."""
