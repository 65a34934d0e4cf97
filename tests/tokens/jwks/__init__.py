"""Tests of `fastapi_stepup.tokens.jwks`."""
