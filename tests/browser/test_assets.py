"""How stepup.js is served: caches, hashes, sizes."""

import base64
import gzip
import hashlib
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import fastapi_stepup.browser.assets
from fastapi_stepup.browser.assets import stepup_script, stepup_script_routes
from tests.browser.squeeze import squeezed, write

FOLDER = Path(fastapi_stepup.browser.assets.__file__).parent
SCRIPT = FOLDER.joinpath("stepup.js").read_bytes()
PARTS = ("authorize", "flow", "passkey")
IMMUTABLE = "public, max-age=31536000, immutable"


async def where(request: Request) -> JSONResponse:
    """Answer with what a page of this app would write."""
    return JSONResponse(list(stepup_script(request)))


@pytest.fixture
def app() -> Starlette:
    """A Starlette app with the routes."""
    return Starlette(routes=[*stepup_script_routes("/step-up"), Route("/", where)])


@pytest.fixture
def client(app: Starlette) -> TestClient:
    """A client that accepts no compression."""
    return TestClient(app, headers={"Accept-Encoding": "identity"})


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        # With the dialog: what every page loads.
        ("stepup.js", 8704),
        ("stepup-authorize.js", 768),
        ("stepup-flow.js", 512),
        ("stepup-passkey.js", 512),
        ("use-stepup.js", 1024),
    ],
)
def test_scripts_are_small(name: str, limit: int) -> None:
    """They take less than this over the wire."""
    assert len(gzip.compress(FOLDER.joinpath(name).read_bytes(), 9, mtime=0)) < limit


def test_scripts_are_those_of_their_sources(tmp_path: Path) -> None:
    """`python -m tests.browser.squeeze` was run after the last change."""
    for source in FOLDER.glob("*.src.js"):
        shutil.copy(source, tmp_path)

    write(tmp_path)

    for source in tmp_path.glob("*.src.js"):
        name = source.name.replace(".src", "")
        assert tmp_path.joinpath(name).read_bytes() == FOLDER.joinpath(name).read_bytes()


def test_squeezing_keeps_texts() -> None:
    """Every text of the source is in the script."""
    source = FOLDER.joinpath("stepup.src.js").read_text("utf-8")
    code = re.sub(r"^ *//.*\n", "", source, flags=re.MULTILINE)

    texts = re.findall(r'"[^"\\\n]*"', code.split("const CSS = `")[0])
    texts += re.findall(r'"[^"\\\n]*"', code.split("const make =")[1])

    script = SCRIPT.decode()
    assert [text for text in texts if text not in script and text[1:-1] not in PARTS] == []
    assert len(texts) > 150


def test_squeezing_leaves_out_what_means_nothing() -> None:
    """Comments on lines of their own, indentation, spaces, and line ends after an open end."""
    source = (
        "// Why.\nconst a = {\n  // Note.\n  b: 1,\n};\n\nfunction c() {}\n"
        'd(\n  e ? "a , b" : /x , y/,\n);\nf("g : h", [1, 2]);\n'
        "const CSS = `\n:host { color: red;\n  margin: 0 }\n`;\n"
    )

    assert squeezed(source) == (
        "const a={b:1,};function c(){}\n"
        'd(e ? "a , b" : /x , y/,);f("g : h",[1,2]);const CSS=`:host{color:red;margin:0}`;\n'
    )


def test_what_the_hook_loads() -> None:
    """The script, and React."""
    hook = FOLDER.joinpath("use-stepup.js").read_bytes()

    assert re.findall(rb'(?:from |import\()"(.+?)"', hook) == [b"./stepup.js", b"react"]


def test_script_loads_its_parts_only() -> None:
    """It has one import, of its own path and of parts in the version it was written with."""
    assert re.findall(rb"\bimport\b.*?\)|https?://|\burl\(", SCRIPT) == [
        b"import(`./stepup.js?part=${query}`)"
    ]
    asked = dict(re.findall(r'part\("(\w+)&v=(\w{16})"\)', SCRIPT.decode()))
    assert asked.keys() == set(PARTS)
    assert len(re.findall(rb"part\(", SCRIPT)) == len(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_part_as_a_browser_gets_it(client: TestClient, part: str) -> None:
    """It comes from the script's own path, may be kept, and loads nothing."""
    (version,) = re.findall(rf'part\("{part}&v=(\w+)"\)', SCRIPT.decode())
    reply = client.get(f"/step-up/stepup.js?part={part}&v={version}")

    assert reply.content == FOLDER.joinpath(f"stepup-{part}.js").read_bytes()
    assert not re.search(rb"\bimport\b|https?://", reply.content)
    assert {name: reply.headers.get(name) for name in EXPECTED} == EXPECTED
    assert client.get(f"/step-up/stepup.js?part={part}").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("query", ["?part=", "?part=other", "?part=../stepup"])
def test_part_that_there_is_not(client: TestClient, query: str) -> None:
    """It is not found, and the other files have no parts."""
    assert client.get(f"/step-up/stepup.js{query}").status_code == 404
    assert client.get("/step-up/use-stepup.js?part=flow").status_code == 404


def test_script_as_a_browser_gets_it(client: TestClient) -> None:
    """It is JavaScript to everybody, and its integrity is that of its bytes."""
    url, integrity = client.get("/").json()
    reply = client.get(url)

    assert reply.content == SCRIPT
    assert integrity == f"sha384-{base64.b64encode(hashlib.sha384(SCRIPT).digest()).decode()}"
    assert {name: reply.headers.get(name) for name in EXPECTED} == EXPECTED


EXPECTED = {
    "Content-Type": "text/javascript; charset=utf-8",
    "Cache-Control": IMMUTABLE,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
    "Vary": "Accept-Encoding",
    "Content-Encoding": None,
}


@pytest.mark.parametrize("query", ["", "?v=", "?v=0123456789abcdef", "?w=1"])
def test_only_the_right_version_is_kept(client: TestClient, query: str) -> None:
    """Under any other URL caches ask each time: it may be another script tomorrow."""
    reply = client.get(f"/step-up/stepup.js{query}")

    assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-cache")
    assert reply.content == SCRIPT


def test_unchanged_script_is_not_sent_again(client: TestClient) -> None:
    """It is answered 304, also through a cache that weakened the tag."""
    url = "/step-up/stepup.js"
    etag = client.get(url).headers["ETag"]

    for known in (etag, f"W/{etag}", f'"x", {etag}', "*", " * "):
        reply = client.get(url, headers={"If-None-Match": known})
        assert (reply.status_code, reply.content, reply.headers["ETag"]) == (304, b"", etag)
    for known in ('"x"', "", ",", '"*"', "x", '"x", *'):
        assert client.get(url, headers={"If-None-Match": known}).status_code == 200


def test_list_that_comes_in_several_fields(client: TestClient) -> None:
    """Two fields of one name are one list (RFC 9110 section 5.3)."""
    etag = client.get("/step-up/stepup.js").headers["ETag"]
    known = [("If-None-Match", '"x"'), ("If-None-Match", etag)]
    codings = [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")]

    assert client.get("/step-up/stepup.js", headers=known).status_code == 304
    zipped = TestClient(client.app).get("/step-up/stepup.js", headers=codings)
    assert zipped.headers["Content-Encoding"] == "gzip"


def test_compressed_for_those_who_take_it(client: TestClient, subtests: pytest.Subtests) -> None:
    """It comes as small as it is said to be, with a tag of its own."""
    rows: list[tuple[str, bool]] = [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", False),
    ]
    for accepted, zipped in rows:
        with subtests.test(accepted=accepted):
            plain = client.get("/step-up/stepup.js")
            reply = client.get("/step-up/stepup.js", headers={"Accept-Encoding": accepted})

            assert reply.content == SCRIPT
            assert (reply.headers.get("Content-Encoding") == "gzip") is zipped
            assert (reply.headers["ETag"] != plain.headers["ETag"]) is zipped
            assert (int(reply.headers["Content-Length"]) < 8704) is zipped


def test_head_has_no_body(client: TestClient) -> None:
    """HEAD answers what GET would, without the body."""
    head, get = client.head("/step-up/stepup.js"), client.get("/step-up/stepup.js")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == get.headers


def test_head_of_an_unchanged_script(client: TestClient) -> None:
    """A conditional HEAD is answered like a conditional GET."""
    reply = client.head("/step-up/stepup.d.ts", headers={"If-None-Match": "*"})

    assert (reply.status_code, reply.content) == (304, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    """It is read-only, and says what it takes."""
    reply = client.request(method, "/step-up/stepup.js")

    assert reply.status_code == 405
    assert {name.strip() for name in reply.headers["Allow"].split(",")} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("stepup.d.ts", "text/plain"),
        ("use-stepup.js", "text/javascript"),
        ("use-stepup.d.ts", "text/plain"),
    ],
)
def test_other_files(client: TestClient, name: str, media_type: str) -> None:
    """The hook and the types are beside it; what is edited is not."""
    reply = client.get(f"/step-up/{name}")

    assert reply.content == FOLDER.joinpath(name).read_bytes()
    assert reply.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert client.get("/step-up/stepup.src.js").status_code == 404


def test_other_layers_keep_their_say(app: Starlette) -> None:
    """Neither CORS nor compression is done twice."""
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])

    reply = TestClient(app).get("/step-up/stepup.js", headers={"Origin": "https://shop.example"})

    assert reply.content == SCRIPT
    assert reply.headers.get_list("Access-Control-Allow-Origin") == ["https://shop.example"]
    assert reply.headers.get_list("Content-Encoding") == ["gzip"]


def test_path_by_prefix() -> None:
    """A prefix is enough where there is no request; an outer path or an origin may be in it."""
    for prefix in ("/step-up", "/shop/step-up", "https://api.example/step-up"):
        assert stepup_script(prefix).url.startswith(f"{prefix}/stepup.js?v=")
    assert stepup_script().url == stepup_script("/step-up").url


def served_by(app: Starlette, page: str, **settings: str) -> httpx2.Response:
    """Return the script as it is found at the URL that *page* writes."""
    client = TestClient(app, **settings)  # type: ignore[arg-type]
    url: str = client.get(page).json()[0]
    assert not urlsplit(url).netloc
    return client.get(url)


def test_path_in_a_fastapi_app() -> None:
    """Included into a FastAPI app, the script is where its pages say."""
    app = FastAPI()
    app.router.routes.extend([*stepup_script_routes("/step-up"), Route("/", where)])

    assert served_by(app, "/").content == SCRIPT


def test_path_in_a_mounted_app(app: Starlette) -> None:
    """A page of a mounted app finds the script of its own app."""
    outer = Starlette(routes=[Mount("/shop", app)])

    assert served_by(outer, "/shop/").content == SCRIPT


def test_path_outside_of_a_mounted_app() -> None:
    """A page of a mounted app finds the script of the app around it."""
    inner = Starlette(routes=[Route("/", where)])
    outer = Starlette(routes=[*stepup_script_routes("/step-up"), Mount("/shop", inner)])

    assert served_by(outer, "/shop/").content == SCRIPT


def test_path_behind_a_proxy(app: Starlette) -> None:
    """The prefix that a proxy strips is in the URL."""
    url = TestClient(app, root_path="/api").get("/").json()[0]

    assert url.startswith("/api/step-up/stepup.js?v=")


def test_path_below_a_parameter(app: Starlette, subtests: pytest.Subtests) -> None:
    """A link does not choose the host of the script, nor any other part of its URL."""
    rows: list[tuple[str, str]] = [
        ("/acme/", "/acme/step-up/stepup.js"),
        ("//evil.example/", "/evil.example/step-up/stepup.js"),
        ("///evil.example/", "/evil.example/step-up/stepup.js"),
        ("/%5Cevil.example/", "/%5Cevil.example/step-up/stepup.js"),
        ("/%0Devil.example/", "/%0Devil.example/step-up/stepup.js"),
        ("/a%3Fb/", "/a%3Fb/step-up/stepup.js"),
        ("/a%23b/", "/a%23b/step-up/stepup.js"),
    ]
    for asked, found in rows:
        with subtests.test(asked=asked):
            outer = Starlette(routes=[Mount("/{tenant:path}", app, name="tenant")])
            client = TestClient(outer)

            url = client.get(f"https://shop.example{asked}").json()[0]

            assert url.split("?")[0] == found


def test_path_where_nothing_is_mounted() -> None:
    """The error says what to do."""
    for scope in ({"type": "http", "headers": []}, {"type": "http", "app": Starlette()}):
        with pytest.raises(LookupError, match="include_router"):
            stepup_script(HTTPConnection(scope))
