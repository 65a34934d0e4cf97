"""Step-up authentication for FastAPI and Starlette: RFC 9470 challenges on Descope sessions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi_stepup import errors
    from fastapi_stepup.browser import StepUpScript, stepup_script
    from fastapi_stepup.challenge import Challenge
    from fastapi_stepup.claims import Claims, claims_from
    from fastapi_stepup.client import (
        StepUpAuth,
        StepUpCancelled,
        StepUpFailed,
        StepUpQuestion,
        StepUpTokens,
    )
    from fastapi_stepup.decorator import requires_step_up
    from fastapi_stepup.dependency import RequireSession, RequireStepUp
    from fastapi_stepup.descope import DescopeClient
    from fastapi_stepup.guard import StepUpGuard
    from fastapi_stepup.installation import install
    from fastapi_stepup.inventory import GuardedRoute, guarded_routes
    from fastapi_stepup.jwks import JWKSCache
    from fastapi_stepup.limits import StepUpLimits
    from fastapi_stepup.middleware import StepUpMiddleware, StepUpRule
    from fastapi_stepup.policy import StepUpPolicy
    from fastapi_stepup.router import stepup_router
    from fastapi_stepup.verifier import TokenVerifier

__all__ = [
    "Challenge",
    "Claims",
    "DescopeClient",
    "GuardedRoute",
    "JWKSCache",
    "RequireSession",
    "RequireStepUp",
    "StepUpAuth",
    "StepUpCancelled",
    "StepUpFailed",
    "StepUpGuard",
    "StepUpLimits",
    "StepUpMiddleware",
    "StepUpPolicy",
    "StepUpQuestion",
    "StepUpRule",
    "StepUpScript",
    "StepUpTokens",
    "TokenVerifier",
    "claims_from",
    "errors",
    "guarded_routes",
    "install",
    "requires_step_up",
    "stepup_router",
    "stepup_script",
]

# Lazy (PEP 562): the pytest plugin is loaded in every test run and must not pull FastAPI in.
_HOMES = {
    "Challenge": "challenge",
    "Claims": "claims",
    "DescopeClient": "descope",
    "GuardedRoute": "inventory",
    "JWKSCache": "jwks",
    "RequireSession": "dependency",
    "RequireStepUp": "dependency",
    "StepUpAuth": "client",
    "StepUpCancelled": "client",
    "StepUpFailed": "client",
    "StepUpGuard": "guard",
    "StepUpLimits": "limits",
    "StepUpMiddleware": "middleware",
    "StepUpPolicy": "policy",
    "StepUpQuestion": "client",
    "StepUpRule": "middleware",
    "StepUpScript": "browser",
    "StepUpTokens": "client",
    "TokenVerifier": "verifier",
    "claims_from": "claims",
    "guarded_routes": "inventory",
    "install": "installation",
    "requires_step_up": "decorator",
    "stepup_router": "router",
    "stepup_script": "browser",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("fastapi_stepup.errors")
    if name not in _HOMES:
        msg = f"module 'fastapi_stepup' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"fastapi_stepup.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
