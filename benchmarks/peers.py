"""Other people's verifiers, on the same tokens in the same run."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any, Final

from starlette.requests import HTTPConnection

from benchmarks.contenders import Verify, batches, decoder, each, each_sync
from benchmarks.material import PROJECT, Material, Missing, peer
from benchmarks.measuring import Effort, Figure, at_least, compared, race, skipped
from benchmarks.requests import scope_for
from fastapi_stepup import RequireSession

_REPEATS: Final = 10
_ISSUER: Final = "https://tenant.example/"
_TENANT: Final = "tenant.example"
_API: Final = "https://api.example"


async def against_libraries(effort: Effort) -> list[Figure]:
    """Return what a first token costs in libraries for JWT, in units of PyJWT's decode.

    They check less than we do: a signature, and the times of the token.
    """
    material = Material()
    tokens, size = material.tokens(effort.tokens), effort.batch
    makers = {"authlib.jose": _authlib, "joserfc": _joserfc, "python-jose": _python_jose}
    found: dict[str, Callable[[str], object]] = {}
    figures: list[Figure] = []
    for name, make in makers.items():
        try:
            found[name] = make(material)
        except Missing as missing:
            figures.append(skipped(f"{name} / jwt.decode", str(missing)))
    calls = [decoder(material.key.jwk), *found.values()]
    decoded, *others = await race(
        [each_sync(call, batches(tokens, size), size) for call in calls], rounds=effort.rounds
    )
    return figures + [
        compared(f"{name} / jwt.decode", times, decoded)
        for name, times in zip(found, others, strict=True)
    ]


def _authlib(material: Material) -> Callable[[str], object]:
    jose = peer("authlib.jose")
    key, codec = jose.JsonWebKey.import_key(material.key.jwk), jose.JsonWebToken(["RS256"])
    wanted = {"iss": {"essential": True, "value": PROJECT}, "exp": {"essential": True}}

    def decode(token: str) -> object:
        claims = codec.decode(token, key, claims_options=wanted)
        claims.validate()
        return claims

    return decode


def _joserfc(material: Material) -> Callable[[str], object]:
    codec, keys = peer("joserfc.jwt"), peer("joserfc.jwk")
    key = keys.RSAKey.import_key(material.key.jwk)
    registry = codec.JWTClaimsRegistry(
        iss={"essential": True, "value": PROJECT}, exp={"essential": True}
    )

    def decode(token: str) -> object:
        claims = codec.decode(token, key, algorithms=["RS256"]).claims
        registry.validate(claims)
        return claims

    return decode


def _python_jose(material: Material) -> Callable[[str], object]:
    codec, keys = peer("jose.jwt"), peer("jose.jwk")
    key = keys.construct(material.key.jwk, "RS256")

    def decode(token: str) -> object:
        return codec.decode(token, key, algorithms=["RS256"], issuer=PROJECT)

    return decode


async def against_descope(effort: Effort) -> list[Figure]:
    """Return how many times faster than Descope's own SDK we are, with an audience and without."""
    return [
        *await _against_descope(effort, "", None, (4, 4)),
        *await _against_descope(effort, " with audience", _API, (None, None)),
    ]


async def _against_descope(
    effort: Effort, what: str, audience: str | None, bounds: tuple[float | None, float | None]
) -> list[Figure]:
    name = "descope SDK, {} validate_session{} / {} token"
    kinds, seen = ("sync", "async"), ("first-time", "repeated")
    names = [name.format(kind, what, each) for kind in kinds for each in seen]
    try:
        sdk = peer("descope")
    except Missing as missing:
        return [skipped(name, str(missing)) for name in names]
    material = Material()
    tokens = material.tokens(effort.tokens, **({} if audience is None else {"aud": audience}))
    size = effort.batch
    emptied, warm = material.verifier(audience=audience), material.verifier(audience=audience)
    sync = sdk.DescopeClient(PROJECT, public_key=material.key.jwk)
    async with sdk.DescopeClientAsync(PROJECT, public_key=material.key.jwk) as client:
        first, again, plain, awaited = await race(
            [
                each(emptied.verify, batches(tokens, size), size, prepare=emptied.clear),
                each(warm.verify, cycle([tokens[:size] * _REPEATS]), size * _REPEATS),
                each_sync(
                    partial(sync.validate_session, audience=audience), batches(tokens, size), size
                ),
                each(
                    partial(client.validate_session, audience=audience), batches(tokens, size), size
                ),
            ],
            rounds=effort.rounds,
        )
    pairs = [(plain, first), (plain, again), (awaited, first), (awaited, again)]
    targets = [
        None if bound is None else at_least(bound) for least in bounds for bound in (least, 30)
    ]
    return [
        compared(name, theirs, ours, target=target)
        for name, (theirs, ours), target in zip(names, pairs, targets, strict=True)
    ]


async def against_neighbours(effort: Effort) -> list[Figure]:
    """Return how many times faster we are than what else there is for FastAPI.

    All verify the same tokens, made for the audience of an API by an issuer with a URL.
    """
    return [
        *await _neighbour(effort, "auth0-api-python, verify_access_token", _auth0, _our_verifier),
        *await _neighbour(effort, "fastapi-azure-auth, dependency", _azure, _our_dependency),
    ]


async def _neighbour(
    effort: Effort,
    name: str,
    theirs: Callable[[Material], Verify],
    ours: Callable[[Material], tuple[Verify, Callable[[], None]]],
) -> list[Figure]:
    names = [f"{name} / {seen} token" for seen in ("first-time", "repeated")]
    material = Material()
    try:
        verify = theirs(material)
    except Missing as missing:
        return [skipped(each, str(missing)) for each in names]
    more: dict[str, object] = {"iss": _ISSUER, "aud": _API, "ver": "2.0"}
    tokens = [material.token(**more, nbf=1_700_000_000) for _ in range(effort.tokens)]
    size = effort.batch
    (emptied, forget), (warm, _) = ours(material), ours(material)
    first, again, other = await race(
        [
            each(emptied, batches(tokens, size), size, prepare=forget),
            each(warm, cycle([tokens[:size] * _REPEATS]), size * _REPEATS),
            each(verify, batches(tokens, size), size),
        ],
        rounds=effort.rounds,
    )
    return [compared(names[0], other, first), compared(names[1], other, again)]


def _our_verifier(material: Material) -> tuple[Verify, Callable[[], None]]:
    verifier = material.verifier(issuers=[_ISSUER], audience=_API)
    return verifier.verify, verifier.clear


def _our_dependency(material: Material) -> tuple[Verify, Callable[[], None]]:
    guard = material.guard(issuers=[_ISSUER], audience=_API)
    dependency = RequireSession(guard)

    async def call(token: str) -> object:
        return await dependency(HTTPConnection(scope_for("/", token)))

    return call, guard.verifier.clear


def _auth0(material: Material) -> Verify:
    """Return the verifier of auth0-api-python, with keys that come from a function."""
    auth0 = peer("auth0_api_python")

    async def fetch(url: str, *_: object, **__: object) -> dict[str, Any]:
        if url.endswith("jwks.json"):
            return material.jwks
        return {"issuer": _ISSUER, "jwks_uri": f"{_ISSUER}.well-known/jwks.json"}

    options = auth0.ApiClientOptions(domain=_TENANT, audience=_API, custom_fetch=fetch)
    verify: Verify = auth0.ApiClient(options).verify_access_token
    return verify


def _azure(material: Material) -> Verify:
    """Return the dependency of fastapi-azure-auth, with keys that come from a function."""
    azure, http = peer("fastapi_azure_auth"), peer("httpx2")
    security: Any = peer("fastapi.security")

    def answer(request: Any) -> Any:
        if str(request.url).endswith("keys"):
            return http.Response(200, json=material.jwks)
        names = ("authorization_endpoint", "token_endpoint", "issuer")
        return http.Response(
            200, json={**dict.fromkeys(names, _ISSUER), "jwks_uri": f"{_ISSUER}keys"}
        )

    scheme = azure.SingleTenantAzureAuthorizationCodeBearer(
        app_client_id=_API,
        tenant_id="tenant",
        http_client_config={"transport": http.MockTransport(answer)},
    )
    no_scopes = security.SecurityScopes()

    async def call(token: str) -> object:
        return await scheme(HTTPConnection(scope_for("/", token)), no_scopes)

    return call
