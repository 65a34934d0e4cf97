"""What `install` adds to the OpenAPI schema, and when."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import APIKeyHeader
from openapi_spec_validator import validate
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.testclient import TestClient

from fastapi_stepup import (
    Challenge,
    RequireSession,
    RequireStepUp,
    StepUpGuard,
    StepUpMiddleware,
    StepUpPolicy,
    StepUpRule,
    errors,
    install,
    stepup_router,
)
from tests.support.attack_requests import SECRET

POLICY = StepUpPolicy(max_age="5m", amr=["webauthn"], acr=["phr"])
TOLD = {"stepped_up": True, "max_age": 300, "amr": ["webauthn"], "acr_values": ["phr"]}


class Order(BaseModel):
    """A model of the app's own."""

    amount: int


def secret() -> str:
    """Answer."""
    return SECRET


def create(id: int, order: Order) -> Order:  # noqa: A002  # the parameter's name
    """Answer with a body of a model."""
    return order


def show(id: str) -> str:  # noqa: A002  # the parameter's name
    """Answer."""
    return id


@pytest.fixture
def app(guard: StepUpGuard) -> FastAPI:
    """An installed app."""
    app = FastAPI()
    install(app, guard)
    return app


def schema_of(app: FastAPI) -> dict[str, Any]:
    """Return the schema as a client gets it, once it is known to be a good one."""
    schema: dict[str, Any] = app.openapi()
    validate(schema)
    return schema


def assert_guarded(operation: dict[str, Any], guard: StepUpGuard, told: Any) -> None:
    """Assert all that a guarded operation shows."""
    assert operation.get("x-step-up") == told
    assert operation["security"] == [{"DescopeSession": []}, {"DescopeSessionCookie": []}]
    codes = {
        status: list(response["content"]["application/problem+json"]["examples"])
        for status, response in operation["responses"].items()
        if status not in {"200", "422"}
    }
    asked = ["insufficient_user_authentication"] if told else []
    assert codes == {
        "400": ["invalid_request"],
        "401": [*asked, "unauthenticated", "invalid_token"],
        "403": ["cross_site_request", *(["impersonation_refused"] if told else [])],
        "503": ["keys_unavailable", "revocation_unavailable"],
    }
    for status in codes:
        response = operation["responses"][status]
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/StepUpProblem"}
        values = [example["value"] for example in content["examples"].values()]
        assert {value["status"] for value in values} == {int(status)}
        assert response["description"] == "; ".join(value["title"] for value in values)
    fields = {status: set(operation["responses"][status]["headers"]) for status in codes}
    assert fields == {
        "400": {"Cache-Control", "WWW-Authenticate"},
        "401": {"Cache-Control", "WWW-Authenticate"},
        "403": {"Cache-Control"},
        "503": {"Cache-Control", "Retry-After"},
    }
    examples = operation["responses"]["401"]["headers"]["WWW-Authenticate"]["examples"]
    errors = {"unauthenticated": None}
    for code in codes["401"]:
        [challenge] = Challenge.parse(examples[code]["value"])
        assert (challenge.realm, challenge.error) == (guard.realm, errors.get(code, code))


def test_dependencies(app: FastAPI, guard: StepUpGuard) -> None:
    """Included, nested and later routes; with a policy or for a session; open ones untouched."""
    router = APIRouter(prefix="/v1")
    nested = APIRouter(prefix="/pay", dependencies=[Depends(RequireStepUp(guard, policy=POLICY))])
    nested.add_api_route("/{id:int}", create, methods=["POST"])
    router.include_router(nested)
    app.include_router(router)
    app.add_api_route("/me", secret, dependencies=[Depends(RequireSession(guard))])
    app.add_api_route("/open", secret)

    schema = schema_of(app)
    app.add_api_route("/late", secret, dependencies=[Depends(RequireStepUp(guard))])
    app.openapi_schema = None  # what FastAPI before 0.137 keeps whatever is added
    later = schema_of(app)

    assert_guarded(schema["paths"]["/v1/pay/{id}"]["post"], guard, TOLD)
    assert_guarded(schema["paths"]["/me"]["get"], guard, None)
    assert set(schema["paths"]["/open"]["get"]) == {
        "summary",
        "operationId",
        "description",
        "responses",
    }
    assert_guarded(later["paths"]["/late"]["get"], guard, {"stepped_up": True})
    assert schema["components"]["securitySchemes"]["DescopeSession"]["scheme"] == "bearer"
    assert app.openapi() is later
    assert create(7, Order(amount=1)).amount == 1


def test_middleware_rules(app: FastAPI, guard: StepUpGuard) -> None:
    """A rule shows like a dependency; both together show all that is asked."""
    rules = [
        StepUpRule("/open", "public"),
        StepUpRule("/me", "session"),
        StepUpRule("/pay/*", POLICY),
    ]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    app.add_api_route("/open", secret)
    app.add_api_route("/me", secret)
    app.add_api_route("/pay/{id}", show)
    both = [Depends(RequireStepUp(guard, max_age=60))]
    app.add_api_route("/pay/{id}/twice", show, methods=["POST"], dependencies=both)
    app.add_api_route("/default", secret)

    paths = schema_of(app)["paths"]

    assert "security" not in paths["/open"]["get"]
    assert_guarded(paths["/me"]["get"], guard, None)
    assert_guarded(paths["/pay/{id}"]["get"], guard, TOLD)
    assert_guarded(paths["/pay/{id}/twice"]["post"], guard, TOLD | {"max_age": 60})
    assert_guarded(paths["/default"]["get"], guard, {"stepped_up": True})
    assert show("7") == "7"


def test_mounted_apps(app: FastAPI, guard: StepUpGuard) -> None:
    """A mounted app's own schema shows what stands in front of the app that it is mounted on."""
    sub = FastAPI()
    install(sub, guard)
    sub.add_api_route("/pay", secret)
    sub.add_api_route("/open", secret)
    rules = [StepUpRule("/sub/open", "public"), StepUpRule("/sub/*", POLICY)]
    app.add_middleware(StepUpMiddleware, guard=guard, rules=rules)
    app.mount("/sub", sub)
    install(FastAPI(), guard)

    paths = schema_of(sub)["paths"]

    assert_guarded(paths["/pay"]["get"], guard, TOLD)
    assert "security" not in paths["/open"]["get"]


def test_what_the_app_says_itself_stays(app: FastAPI, guard: StepUpGuard) -> None:
    """Its own 401, and its other security schemes, which are asked for together with ours."""
    key = APIKeyHeader(name="X-Key")
    own = {401: {"description": "Ask at the desk"}}
    app.add_middleware(StepUpMiddleware, guard=guard)

    @app.get("/pay", responses=own)  # type: ignore[arg-type]
    def pay(key: Annotated[str, Depends(key)]) -> str:
        return key

    operation = schema_of(app)["paths"]["/pay"]["get"]

    assert operation["responses"]["401"]["description"] == "Ask at the desk"
    assert operation["security"] == [
        {"APIKeyHeader": [], "DescopeSession": []},
        {"APIKeyHeader": [], "DescopeSessionCookie": []},
    ]
    assert pay("x") == "x"


def test_an_app_without_guarded_routes_is_untouched(app: FastAPI) -> None:
    """No scheme and no problem schema that nothing refers to."""
    app.add_api_route("/open", secret)

    assert "components" not in schema_of(app)
    assert TestClient(app).get("/open").json() == SECRET


def test_apps_do_not_share_their_schemas(guard: StepUpGuard) -> None:
    """A change that one app makes to its schema stays with it."""
    first, second = FastAPI(), FastAPI()
    for each in (first, second):
        install(each, guard)
        each.add_api_route("/pay", secret, dependencies=[Depends(RequireStepUp(guard))])

    schema_of(first)["components"]["schemas"]["StepUpProblem"]["properties"].clear()

    assert schema_of(second)["components"]["schemas"]["StepUpProblem"]["properties"]


def test_two_guards(app: FastAPI, guard: StepUpGuard) -> None:
    """Each describes its own operations; installing twice changes nothing."""
    other = StepUpGuard.for_descope("P2x")
    install(app, other)
    install(app, guard)
    app.add_api_route("/ours", secret, dependencies=[Depends(RequireStepUp(guard))])
    app.add_api_route("/theirs", secret, dependencies=[Depends(RequireSession(other))])

    paths = schema_of(app)["paths"]

    assert_guarded(paths["/ours"]["get"], guard, {"stepped_up": True})
    assert_guarded(paths["/theirs"]["get"], other, None)


def test_the_documentation_page_can_authorize(app: FastAPI, guard: StepUpGuard) -> None:
    """Swagger UI shows its button for the scheme, which the helper routes need as well."""
    app.include_router(stepup_router(guard))
    client = TestClient(app)

    schema = client.get("/openapi.json").json()

    assert client.get("/docs").status_code == 200
    scheme = schema["components"]["securitySchemes"]["DescopeSession"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    security = schema["paths"]["/step-up/otp/start"]["post"]["security"]
    assert security == [{"DescopeSession": []}, {"DescopeSessionCookie": []}]
    assert schema["components"]["securitySchemes"]["DescopeSessionCookie"] == {
        "type": "apiKey",
        "in": "cookie",
        "name": "DS",
        "description": "Session token of Descope in the session cookie.",
    }


def test_install_on_starlette(guard: StepUpGuard) -> None:
    """An app without a schema is installed all the same."""
    app = Starlette()
    install(app, guard)
    app.add_middleware(StepUpMiddleware, guard=guard)

    response = TestClient(app).get("/")

    assert response.headers["content-type"] == "application/problem+json"


def test_a_guard_without_cookies() -> None:
    """Neither the scheme nor the refusal of a cookie is shown; the cookie's name is the guard's."""
    app, named = FastAPI(), FastAPI()
    for each, cookie in ((app, None), (named, "__Host-S")):
        guard = StepUpGuard.for_descope("P2abc", session_cookie=cookie)
        install(each, guard)
        each.add_api_route("/me", secret, dependencies=[Depends(RequireSession(guard))])

    schema, other = schema_of(app), schema_of(named)

    operation = schema["paths"]["/me"]["get"]
    assert operation["security"] == [{"DescopeSession": []}]
    assert set(operation["responses"]) == {"200", "400", "401", "503"}
    assert set(schema["components"]["securitySchemes"]) == {"DescopeSession"}
    assert other["components"]["securitySchemes"]["DescopeSessionCookie"]["name"] == "__Host-S"


def test_every_problem_code_is_listed(app: FastAPI, guard: StepUpGuard) -> None:
    """In the schema of problems, those of the helper routes included."""
    app.add_api_route("/me", secret, dependencies=[Depends(RequireSession(guard))])

    codes = schema_of(app)["components"]["schemas"]["StepUpProblem"]["properties"]["code"]

    exported = {error.code for error in vars(errors).values() if hasattr(error, "code")}
    assert exported <= set(codes["examples"])
    assert {"otp_expired", "keys_unavailable", "insufficient_user_authentication"} <= exported
    assert codes["examples"] == sorted(codes["examples"])


def test_refusals_of_helper_routes_show_their_headers(app: FastAPI, guard: StepUpGuard) -> None:
    """As they are sent: all of them may not be stored, some say how long to wait."""
    app.include_router(stepup_router(guard))

    responses = schema_of(app)["paths"]["/step-up/otp/verify"]["post"]["responses"]

    fields = {status: set(responses[status].get("headers", ())) for status in responses}
    assert fields["400"] == fields["401"] == {"Cache-Control", "WWW-Authenticate"}
    assert fields["429"] == fields["503"] == {"Cache-Control", "Retry-After"}
    assert fields["422"] == {"Cache-Control"}


def test_alternatives_are_listed(guard: StepUpGuard) -> None:
    """A policy with several ways to meet it shows each of them."""
    app = FastAPI()
    install(app, guard)
    either = StepUpPolicy(max_age=60, amr="webauthn") | StepUpPolicy(amr="totp")
    app.post("/pay", dependencies=[Depends(RequireStepUp(guard, policy=either))])(secret)

    assert schema_of(app)["paths"]["/pay"]["post"]["x-step-up"] == {
        "any_of": [
            {"stepped_up": True, "max_age": 60, "amr": ["webauthn"]},
            {"stepped_up": True, "amr": ["totp"]},
        ]
    }
