"""One token, verified: against PyJWT, the bare signature check, and other people's verifiers."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import cycle
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jwt.utils import base64url_decode
from starlette.requests import HTTPConnection

from benchmarks.material import PROJECT, Material, Missing, peer
from benchmarks.measuring import (
    Contender,
    Effort,
    Figure,
    at_least,
    at_most,
    below,
    compared,
    race,
    skipped,
)
from benchmarks.requests import scope_for
from fastapi_stepup import RequireSession
from fastapi_stepup.errors import InvalidToken

_REPEATS: Final = 10
_ISSUER: Final = "https://tenant.example/"
_TENANT: Final = "tenant.example"
_API: Final = "https://api.example"

Verify = Callable[[str], Awaitable[object]]


def _batches(tokens: list[str], size: int) -> Iterator[list[str]]:
    """Give ever other *size* of *tokens*, round and round."""
    return cycle([tokens[start : start + size] for start in range(0, len(tokens), size)])


def _each(verify: Verify, batches: Iterator[list[str]], size: int, **options: Any) -> Contender:
    """Return the contender that awaits *verify* on the tokens of the next batch."""

    async def turn() -> None:
        for token in next(batches):
            await verify(token)

    return Contender(turn=turn, calls=size, **options)


def _each_sync(call: Callable[[Any], object], batches: Iterable[list[Any]], size: int) -> Contender:
    """Return the contender that calls a plain function on the next batch."""
    endless = iter(batches)

    async def turn() -> None:
        for item in next(endless):
            call(item)

    return Contender(turn=turn, calls=size)


def _decoder(material: Material) -> Callable[[str], object]:
    """Return what people write with PyJWT, the key in hand."""
    key = material.public_key

    def decode(token: str) -> object:
        return jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            issuer=PROJECT,
            options={"require": ["exp", "iat", "iss", "sub"]},
        )

    return decode


def _signature_parts(token: str) -> tuple[bytes, bytes]:
    signed, _, signature = token.rpartition(".")
    return base64url_decode(signature), signed.encode()


async def figures(effort: Effort) -> list[Figure]:
    """Return what one token costs."""
    material = Material()
    tokens = material.tokens(effort.tokens)
    size = effort.batch
    known = [tokens[:size] * _REPEATS]
    large = [[material.large_token()] * size]
    decode = _decoder(material)
    public = material.public_key
    scheme = padding.PKCS1v15(), hashes.SHA256()

    def bare(parts: tuple[bytes, bytes]) -> None:
        public.verify(*parts, *scheme)

    signatures = [[_signature_parts(token) for token in tokens[:size]]]
    emptied, busy, warm = material.verifier(), material.verifier(), material.verifier()
    # Fewer places than tokens that come round: each one is seen first, and pushes one out.
    crowded = material.verifier(verdict_cache_size=size)

    async def refused(token: str) -> None:
        try:
            await warm.verify(token)
        except InvalidToken:
            return
        raise AssertionError

    first, again, decoded, signed, evicting, big, big_decoded = await race(
        [
            _each(emptied.verify, _batches(tokens, size), size, prepare=emptied.clear),
            _each(busy.verify, cycle(known), size * _REPEATS),
            _each_sync(decode, _batches(tokens, size), size),
            _each_sync(bare, cycle(signatures), size),
            _each(crowded.verify, _batches(tokens, size), size),
            _each(refused, cycle(large), size),
            _each_sync(decode, cycle(large), size),
        ],
        rounds=effort.rounds,
    )
    length = f"{len(tokens[0])} characters"
    over = f"{len(large[0][0])} characters"
    return [
        compared("first-time token / jwt.decode", first, decoded, target=at_most(0.6), note=length),
        compared("first-time token / bare RSA verify", first, signed, target=at_most(2.2)),
        compared("repeated token / jwt.decode", again, decoded, target=at_most(0.08)),
        compared("first-time token, cache full / jwt.decode", evicting, decoded),
        compared("too large token / jwt.decode", big, big_decoded, target=below(0.05), note=over),
    ]


async def against_descope(effort: Effort) -> list[Figure]:
    """Return how many times faster than Descope's own SDK we are."""
    names = [
        f"descope SDK, {kind} validate_session / {seen} token"
        for kind in ("sync", "async")
        for seen in ("first-time", "repeated")
    ]
    try:
        sdk = peer("descope")
    except Missing as missing:
        return [skipped(name, str(missing)) for name in names]
    material = Material()
    tokens = material.tokens(effort.tokens)
    size = effort.batch
    emptied, warm = material.verifier(), material.verifier()
    sync = sdk.DescopeClient(PROJECT, public_key=material.key.jwk)
    async with sdk.DescopeClientAsync(PROJECT, public_key=material.key.jwk) as client:
        first, again, plain, awaited = await race(
            [
                _each(emptied.verify, _batches(tokens, size), size, prepare=emptied.clear),
                _each(warm.verify, cycle([tokens[:size] * _REPEATS]), size * _REPEATS),
                _each_sync(sync.validate_session, _batches(tokens, size), size),
                _each(client.validate_session, _batches(tokens, size), size),
            ],
            rounds=effort.rounds,
        )
    pairs = [(plain, first), (plain, again), (awaited, first), (awaited, again)]
    targets = [at_least(4), at_least(30)] * 2
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
            _each(emptied, _batches(tokens, size), size, prepare=forget),
            _each(warm, cycle([tokens[:size] * _REPEATS]), size * _REPEATS),
            _each(verify, _batches(tokens, size), size),
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
