"""Each small example is started by the command of its own first lines, and driven from outside."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


class Started(NamedTuple):
    """An example that runs."""

    http: httpx.Client
    emulator: httpx.Client
    session: str
    refresh: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header field of Ann's session."""
        return {"Authorization": f"Bearer {self.session}"}

    def stepped_up(self) -> dict[str, str]:
        """Step Ann up by code, and return the header field of the new session."""
        body = {"delivery": "email", "refresh_token": self.refresh}
        started = self.http.post("/step-up/otp/start", json=body, headers=self.bearer)
        assert started.status_code == 200, started.text
        body["code"] = self.emulator.get("/_emulator/outbox").json()["messages"][-1]["code"]
        done = self.http.post("/step-up/otp/verify", json=body, headers=self.bearer).json()
        return {"Authorization": f"Bearer {done['session_token']}"}


def command(path: Path) -> str:
    """Return the command that the first lines of an example give: its last `python -m …`."""
    head = "\n".join(path.read_text("utf-8").splitlines()[:6])
    found = re.findall(r"python -m ([\w. /]+)`", head)
    assert found, f"{path.name} does not say how it is started"
    return str(found[-1])


@contextmanager
def started(name: str) -> Iterator[Started]:
    """Start an example on free ports."""
    words = [sys.executable, "-m", *command(EXAMPLES / f"{name}.py").split(), "--port", "0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            said = "".join(program.stdout.readline() for _ in range(4))
            app, emulator = re.findall(r"http://127\.0\.0\.1:\d+", said)[:2]
            session, refresh = re.findall(r"eyJ\S+", said)
            with httpx.Client(base_url=app) as client, httpx.Client(base_url=emulator) as descope:
                yield Started(client, descope, session, refresh)
        finally:
            program.terminate()


def test_existing_app_pays_after_a_step_up() -> None:
    """30 routes, a database, handlers of its own; the refusal is the challenge all the same."""
    pytest.importorskip("sqlalchemy")
    with started("existing_app") as bank:
        ann = {"X-Customer": "ann"}
        number = bank.http.post("/api/accounts", json={"name": "Savings"}, headers=ann).json()
        iban = {"iban": "DE89370400440532013000"}
        refused = bank.http.post("/api/payees", json=iban, headers=ann | bank.bearer)
        assert refused.json()["code"] == "insufficient_user_authentication"

        stepped_up = ann | bank.stepped_up()
        payee = bank.http.post("/api/payees", json=iban, headers=stepped_up).json()
        body = {"account_id": number, "payee_id": payee, "amount": "30"}
        paid = bank.http.post("/api/transfers", json=body, headers=stepped_up)
        assert paid.json() == {"balance": "70.00"}
        assert len(bank.http.get("/openapi.json").json()["paths"]) >= 20


def test_plain_starlette_refunds_after_a_step_up() -> None:
    """A public page, one for a session, one behind the decorator, one that asks inside."""
    with started("plain_starlette") as app:
        assert app.http.get("/").text == "Welcome."
        assert app.http.get("/profile").status_code == 401
        assert app.http.get("/profile", headers=app.bearer).text.startswith("U")
        assert app.http.post("/transfer?amount=5", headers=app.bearer).text == "Paid 5."
        refused = app.http.post("/refund", headers=app.bearer).json()
        assert refused["step_up"]["start_uri"] == "/step-up/otp/start"
        assert app.http.post("/transfer?amount=5000", headers=app.bearer).status_code == 401

        stepped_up = app.stepped_up()
        assert app.http.post("/refund", headers=stepped_up).text.startswith("Refunded by U")
        assert app.http.post("/transfer?amount=5000", headers=stepped_up).text == "Paid 5000."


@pytest.mark.skipif(find_spec("websockets") is None, reason="websockets is not installed")
def test_websocket_takes_orders_of_a_stepped_up_session() -> None:
    """Refused with 401 before it is accepted; then each order is taken."""
    from websockets.exceptions import InvalidStatus  # noqa: PLC0415  # may be missing
    from websockets.sync.client import connect  # noqa: PLC0415

    with started("websocket") as app:
        url = str(app.http.base_url).replace("http", "ws")
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{url}/orders", additional_headers=app.bearer)
        assert refused.value.response.status_code == 401
        assert b"insufficient_user_authentication" in refused.value.response.body

        stepped_up = app.stepped_up()
        with connect(f"{url}/orders", additional_headers=stepped_up) as orders:
            orders.send("tea")
            assert str(orders.recv(timeout=5)).endswith(" ordered tea.")
        with connect(f"{url}/chat") as chat:
            chat.send(stepped_up["Authorization"].removeprefix("Bearer "))
            assert str(chat.recv(timeout=5)).startswith("Welcome, U")


def test_tests_folder_passes() -> None:
    """Its tests pass, each of them."""
    words = [sys.executable, "-m", *command(EXAMPLES / "tests_folder" / "conftest.py").split()]
    run = subprocess.run(
        [*words, "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert re.search(r"^7 passed", run.stdout, re.MULTILINE)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_two_workers_count_together() -> None:
    """Both answer at one address, and a user has one count of starts in both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", command(EXAMPLES / "two_workers.py"), "--port", str(port)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            said = "".join(program.stdout.readline() for _ in range(2))
            emulator = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
            limits_and_workers(f"http://127.0.0.1:{port}", emulator)
        finally:
            program.terminate()


def answers(url: str) -> bool:
    """Return whether something serves there."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def limits_and_workers(shop: str, emulator: str) -> None:
    """Ask on new connections, as the kernel hands those to either worker."""
    deadline = time.monotonic() + 60
    while not answers(shop):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    signed_in = httpx.post(f"{emulator}/_emulator/sign-in", json={"login_id": "ann@example.com"})
    ann: dict[str, Any] = json.loads(signed_in.text)
    headers = {"Authorization": f"Bearer {ann['session_token']}"}
    body = {"delivery": "email", "refresh_token": ann["refresh_token"]}
    replies = [
        httpx.post(f"{shop}/step-up/otp/start", json=body, headers=headers) for _ in range(24)
    ]

    assert [reply.status_code for reply in replies] == [200] * 10 + [429] * 14
    assert len({reply.headers["X-Worker"] for reply in replies}) == 2
