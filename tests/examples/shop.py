"""A shop of one's own for a test, and a client that signs in and orders there."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from starlette.testclient import TestClient

from examples.tee_hee_tees.store import Store
from fastapi_stepup.testing import DescopeEmulator

HERE = "https://testserver"
ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}
PICK = {"shirt": "free-hugs", "size": "M", "quantity": "2"}


@dataclass
class Shop:
    """A shop of one's own, and a browser in it."""

    app: FastAPI
    browser: TestClient
    descope: DescopeEmulator
    store: Store

    def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        """Send a form the way a page of the shop does."""
        return self.browser.post(path, data=form, headers={"Origin": HERE, **headers})

    def call(self, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """Send JSON the way the shop's script does."""
        return self.browser.post(path, json=body, headers={"Sec-Fetch-Site": "same-origin"})

    def sign_in(self, email: str = "ann@example.com", page: str = "home") -> httpx2.Response:
        """Sign in with the code from the inbox; return the last answer of the way."""
        assert self.post("/sign-in", {"email": email, "next": page}).status_code == 303
        return self.post("/sign-in/code", {"code": self.descope.outbox[-1].code, "next": page})

    def step_up(self) -> httpx2.Response:
        """Step up with the code from the inbox."""
        assert self.call("/step-up/otp/start", {"delivery": "email"}).status_code == 200
        code = self.descope.outbox[-1].code
        return self.call("/step-up/otp/verify", {"delivery": "email", "code": code})

    @property
    def subject(self) -> str:
        """The user who signed in last."""
        return self.descope.outbox[-1].user_id

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return what is in a table of the shop's database."""
        with closing(sqlite3.connect(self.store.path)) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()
