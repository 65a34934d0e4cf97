"""Step-up authentication for FastAPI and Starlette: RFC 9470 challenges on Descope sessions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fastapi_stepup import errors, presets
    from fastapi_stepup.browser.assets import StepUpScript, stepup_script, stepup_script_routes
    from fastapi_stepup.challenge import Challenge
    from fastapi_stepup.claims import Claims, claims_from
    from fastapi_stepup.client.auth import StepUpAuth
    from fastapi_stepup.client.errors import StepUpCancelled, StepUpFailed, StepUpUnmet
    from fastapi_stepup.client.models import AuthorizationRequest, StepUpQuestion, StepUpTokens
    from fastapi_stepup.evidence import Evidence, Method
    from fastapi_stepup.guard.any_of import any_of
    from fastapi_stepup.guard.credentials import CredentialReader
    from fastapi_stepup.guard.guard import StepUpGuard
    from fastapi_stepup.guard.one_time_store import OneTimeStore
    from fastapi_stepup.policy.policy import StepUpPolicy
    from fastapi_stepup.providers.descope.client import DescopeClient
    from fastapi_stepup.router.rate_limits import StepUpLimits
    from fastapi_stepup.router.router import stepup_router
    from fastapi_stepup.tokens.jwks.cache import JWKSCache
    from fastapi_stepup.tokens.verifier import TokenVerifier
    from fastapi_stepup.web.decorators import requires_step_up
    from fastapi_stepup.web.dependencies import RequireSession, RequireStepUp
    from fastapi_stepup.web.head_first import StepUpRoute
    from fastapi_stepup.web.install import install
    from fastapi_stepup.web.middleware import StepUpMiddleware
    from fastapi_stepup.web.route_inventory import GuardedRoute, guarded_routes
    from fastapi_stepup.web.rules import StepUpRule

__all__ = [
    "AuthorizationRequest",
    "Challenge",
    "Claims",
    "CredentialReader",
    "DescopeClient",
    "Evidence",
    "GuardedRoute",
    "JWKSCache",
    "Method",
    "OneTimeStore",
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
    "StepUpRoute",
    "StepUpRule",
    "StepUpScript",
    "StepUpTokens",
    "StepUpUnmet",
    "TokenVerifier",
    "any_of",
    "claims_from",
    "errors",
    "guarded_routes",
    "install",
    "presets",
    "requires_step_up",
    "stepup_router",
    "stepup_script",
    "stepup_script_routes",
]

# Loaded on first use (PEP 562): the pytest plugin must not import FastAPI in every test run.
_EXPORTS: Final[dict[str, tuple[str, ...]]] = {
    "browser.assets": ("StepUpScript", "stepup_script", "stepup_script_routes"),
    "challenge": ("Challenge",),
    "claims": ("Claims", "claims_from"),
    "client.auth": ("StepUpAuth",),
    "client.errors": ("StepUpCancelled", "StepUpFailed", "StepUpUnmet"),
    "client.models": ("AuthorizationRequest", "StepUpQuestion", "StepUpTokens"),
    "evidence": ("Evidence", "Method"),
    "guard.any_of": ("any_of",),
    "guard.credentials": ("CredentialReader",),
    "guard.guard": ("StepUpGuard",),
    "guard.one_time_store": ("OneTimeStore",),
    "policy.policy": ("StepUpPolicy",),
    "providers.descope.client": ("DescopeClient",),
    "router.rate_limits": ("StepUpLimits",),
    "router.router": ("stepup_router",),
    "tokens.jwks.cache": ("JWKSCache",),
    "tokens.verifier": ("TokenVerifier",),
    "web.decorators": ("requires_step_up",),
    "web.dependencies": ("RequireSession", "RequireStepUp"),
    "web.head_first": ("StepUpRoute",),
    "web.install": ("install",),
    "web.middleware": ("StepUpMiddleware",),
    "web.route_inventory": ("GuardedRoute", "guarded_routes"),
    "web.rules": ("StepUpRule",),
}
_MODULES: Final = {name: module for module, names in _EXPORTS.items() for name in names}

_SUBMODULES: Final = frozenset({"errors", "presets"})


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"fastapi_stepup.{name}")
    if name not in _MODULES:
        msg = f"module 'fastapi_stepup' has no attribute {name!r}"
        raise AttributeError(msg)
    if not _MODULES.keys() & globals().keys():
        # Once, before the first module that needs other packages.
        import_module("fastapi_stepup._requirements").check_requirements()
    value = getattr(import_module(f"fastapi_stepup.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
