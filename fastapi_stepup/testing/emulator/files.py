"""Files of the command line: a state that outlives the emulator, and users to start with."""

import json
import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

from fastapi_stepup.testing.emulator.arguments import USER, arguments_of
from fastapi_stepup.testing.emulator.emulator import DescopeEmulator


class StateFile:
    """An emulator whose users, keys and sessions outlive it, as an ASGI app.

    Guarantees:
    - The file is written after each request that changed something, whole or not at all.
    - Only its owner can read it: it has the private keys.

    Args:
        emulator: The emulator; it takes the state of the file if there is one.
        path: The file.

    Raises:
        ValueError: The file is no state of this project.
        OSError: It can neither be read nor made.
    """

    def __init__(self, emulator: DescopeEmulator, path: Path) -> None:
        self._emulator = emulator
        self._path = path
        self._written = ""
        if path.exists():
            try:
                emulator.import_state(json.loads(path.read_text(encoding="utf-8")))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        self.save()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection, and save."""
        try:
            await self._emulator(scope, receive, send)
        finally:
            self.save()

    def save(self) -> None:
        """Write the file if something has changed."""
        text = json.dumps(self._emulator.export_state(), indent=2)
        if text == self._written:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(self._path)
        self._written = text


def seed(emulator: DescopeEmulator, path: Path) -> None:
    """Create the users of a JSON file; those who exist already stay as they are.

    The file is `{"users": [{"login_id": …}]}`; a user has the members of `POST /_emulator/users`.

    Raises:
        ValueError: The file is not of this form; the message names the user.
        OSError: It cannot be read.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    users = read.get("users") if isinstance(read, dict) else None
    if not isinstance(users, list):
        raise ValueError(f'{path}: the file must be {{"users": [...]}}.')  # noqa: TRY004 - a file
    for place, user in enumerate(users, 1):
        try:
            given = arguments_of(user, USER)
            known = {login_id for user in emulator.users for login_id in user.login_ids}
            if given["login_id"] not in known:
                emulator.create_user(**given)
        except ValueError as error:
            raise ValueError(f"{path}, user {place}: {error}") from None
