"""Lints of `check`: one line for each thing that cannot work, and none where all is well."""

from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route

from fastapi_stepup import (
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    presets,
    requires_step_up,
    stepup_router,
)
from fastapi_stepup.cli.lints import lints

PAGE = "https://shop.example/back"


def a_guard(**options: Any) -> StepUpGuard:
    """Return a guard that no other test has."""
    return StepUpGuard.for_descope("P2abcdefghijklmnopqrstuvwxyz", **options)


def over_limit(amount: Annotated[int, Body()]) -> bool:
    """Return whether an amount needs a step-up."""
    raise AssertionError


def app_with(guard: StepUpGuard, step_up: RequireStepUp | None = None, **options: Any) -> FastAPI:
    """Return an app with a route that *step_up* guards, and helper routes of these options."""
    app = FastAPI(openapi_url=None)
    app.include_router(stepup_router(guard, **options))
    asked = step_up or RequireStepUp(guard, max_age="5m")

    @app.post("/pay", dependencies=[Depends(asked)])
    def pay() -> None:
        """Ask for a step-up."""

    @app.get("/back", dependencies=[Depends(RequireSession(guard))])
    def back() -> None:
        """Be the page that links lead back to."""

    return app


def said(app: Starlette, *guards: StepUpGuard) -> list[tuple[str, str]]:
    """Return subject and state of each finding, and check that its text ends as a sentence."""
    found = lints(app, list(guards))
    assert all(each.text.endswith(".") for each in found)
    return [(each.subject, each.state) for each in found]


def text(app: Starlette, *guards: StepUpGuard) -> str:
    """Return the text of the one finding."""
    (found,) = lints(app, list(guards))
    return found.text


def test_app_in_order_has_no_finding() -> None:
    """Policies that the mounted methods meet, pages of its own, cookies as they are by default."""
    guard = a_guard(allowed_origins=["https://app.shop.example"])
    app = app_with(
        guard, methods=["otp", "magiclink"], redirect_uris=(PAGE,), cookie_domain="shop.example"
    )

    assert said(app, guard) == []


@pytest.mark.parametrize(
    ("policy", "methods", "is_met"),
    [
        (StepUpPolicy(amr=["webauthn"]), ["otp"], False),
        (StepUpPolicy(amr=["webauthn"]), ["otp", "passkey"], True),
        (StepUpPolicy(amr=["webauthn"]) | StepUpPolicy(amr=["sms"]), ["otp"], True),
        (StepUpPolicy(amr=["webauthn"]) & StepUpPolicy(amr=["sms"]), ["otp"], False),
        (presets.multi_factor, ["otp"], True),
        (presets.phishing_resistant, ["otp"], False),
    ],
)
def test_policy_that_no_mounted_method_meets_is_bad(
    policy: StepUpPolicy, methods: Any, *, is_met: bool
) -> None:
    """The line names the policy, a route and what to change."""
    guard = a_guard()
    app = app_with(guard, RequireStepUp(guard, policy=policy), methods=methods)

    assert said(app, guard) == ([] if is_met else [("policies", "bad")])
    if not is_met:
        assert text(app, guard) == (
            f"No mounted method proves {policy}, which POST /pay asks for: mount one in "
            "stepup_router(methods=[…]), or change the policy."
        )


@pytest.mark.parametrize("asked", [{"once": "pay"}, {"once": "pay", "when": over_limit}])
def test_policy_of_one_use_is_looked_at_too(asked: dict[str, Any]) -> None:
    """So is one under a condition."""
    guard = a_guard()
    app = app_with(guard, RequireStepUp(guard, amr=["webauthn"], **asked))

    assert ("policies", "bad") in said(app, guard)


def test_app_without_helper_routes_is_worth_a_look() -> None:
    """Those of another app, or none at all: the clients need to know a way."""
    guard = a_guard()
    app = FastAPI(openapi_url=None)
    app.get("/pay", dependencies=[Depends(RequireStepUp(guard))])(lambda: None)
    app_with(guard)

    assert said(app, guard) == [("helper routes", "look")]
    assert "app.include_router(stepup_router(guard))" in text(app, guard)


@pytest.mark.parametrize(
    ("max_age", "options", "words"),
    [
        ("10m", {}, None),
        ("1h", {}, "Descope's tokens live 600 s unless the project says more"),
        ("1h", {"max_lifetime": "2h"}, None),
        ("2h", {"max_lifetime": "2h"}, "no token lives longer than 7200 s (max_lifetime)"),
    ],
)
def test_window_that_may_never_run_out_is_worth_a_look(
    max_age: str, options: dict[str, Any], words: str | None
) -> None:
    """A step-up ends with its token, so a longer window has no effect."""
    guard = a_guard(**options)
    app = app_with(guard, RequireStepUp(guard, max_age=max_age))

    assert said(app, guard) == ([] if words is None else [("policies", "look")])
    if words is not None:
        assert words in text(app, guard)


def test_route_that_asks_sometimes_is_worth_a_look() -> None:
    """The line says under which condition, and what is enough otherwise."""
    guard = a_guard()
    app = app_with(guard, RequireStepUp(guard, max_age="5m", when=over_limit))

    assert said(app, guard) == [("conditions", "look")]
    assert text(app, guard) == (
        "POST /pay asks for step-up ≤5m when over_limit; otherwise a session is enough."
    )


def test_helper_routes_behind_another_guard_are_bad() -> None:
    """It knows nothing of them, so it asks for the step-up that they are there for."""
    guard, other = a_guard(), a_guard()
    app = app_with(guard)
    rules = [StepUpRule("/pay", "session"), StepUpRule("/back", "session")]
    app.add_middleware(StepUpMiddleware, guard=other, rules=rules)

    found = [each for each in lints(app, [guard, other]) if each.state == "bad"]
    assert [each.subject for each in found] == ["helper routes"] * 2
    assert "Another guard asks for a step-up in front of POST /step-up/otp/start" in found[0].text
    assert "/step-up/stepup.js" in found[1].text


def test_helper_routes_behind_their_own_guard_are_let_through() -> None:
    """But the page's script is none of them: a page without a step-up could not load it."""
    guard = a_guard()
    app = app_with(guard)
    app.add_middleware(StepUpMiddleware, guard=guard)

    assert said(app, guard) == [("helper routes", "bad")]
    assert 'StepUpRule("/step-up/stepup.js", "public")' in text(app, guard)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (PAGE, None),
        (f"{PAGE}?next=secret", None),
        ("https://shop.example/elsewhere?x=secret", "No route of this app serves https://shop.exa"),
        ("http://localhost:8000/back", "is this machine"),
    ],
)
def test_page_that_links_cannot_lead_to_is_worth_a_look(uri: str, words: str | None) -> None:
    """A path that the app does not serve, or a host that users do not reach."""
    guard = a_guard()
    app = app_with(guard, methods=["magiclink"], redirect_uris=(uri,))

    assert said(app, guard) == ([] if words is None else [("redirect URIs", "look")])
    if words is not None:
        assert words in text(app, guard)
        assert "secret" not in text(app, guard)


def test_cookie_that_a_browser_would_drop_is_found(subtests: pytest.Subtests) -> None:
    """By the origins that may use it and the attributes that it is set with."""
    rows: list[tuple[tuple[str, ...], dict[str, Any], str | None, str]] = [
        ((), {"cookie_secure": False}, "look", "over plain http too"),
        (("http://shop.example",), {}, "bad", "Browsers drop Secure cookies"),
        (("http://localhost:3000",), {}, None, ""),
        (
            ("https://other.example",),
            {"cookie_domain": "shop.example"},
            "bad",
            'cookie_same_site="none"',
        ),
        (
            ("https://other.example",),
            {"cookie_domain": "shop.example", "cookie_same_site": "none"},
            None,
            "",
        ),
        (("https://notshop.example",), {"cookie_domain": "shop.example"}, "bad", "outside of"),
        (("https://other.example",), {}, None, ""),
    ]
    for origins, options, state, words in rows:
        with subtests.test(origins=origins, options=options):
            guard = a_guard(allowed_origins=origins)
            app = app_with(guard, **options)

            assert said(app, guard) == ([] if state is None else [("cookies", state)])
            if state is not None:
                assert words in text(app, guard)


def test_long_lists_are_cut() -> None:
    """Three routes, and that there are more."""
    guard = a_guard()
    app = app_with(guard)
    for number in range(5):
        step_up = Depends(RequireStepUp(guard, max_age="1h"))
        app.get(f"/{number}", dependencies=[step_up])(lambda: None)

    assert "(GET /0, GET /1, GET /2 …)" in text(app, guard)


def test_helper_routes_of_a_mounted_app_are_found() -> None:
    """Below mounts and hosts too."""
    guard = a_guard()
    inner = Starlette(routes=[Host("api.example", app_with(guard))])

    @requires_step_up(guard)
    async def pay(request: Any) -> None:
        """Ask for a step-up."""

    app = Starlette(routes=[Route("/pay", pay, methods=["POST"]), Mount("/v1", inner)])

    assert said(app, guard) == []
