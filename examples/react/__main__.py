"""Builds the pages where that is due, and serves them: `python -m examples.react`.

`DESCOPE_PROJECT_ID` in the environment runs them on that project, which needs the flows
`sign-up-or-in` and `step-up`; without it an emulator comes along.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import uvicorn

from examples.react.app import PAGES, create_app
from fastapi_stepup.testing import DescopeEmulator

HERE = Path(__file__).parent
PORT = int(os.environ.get("PORT", "8000"))


def main() -> None:
    """Serve the example until it is stopped."""
    if not PAGES.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            sys.exit("The pages are not built yet, and npm, which builds them, is not there.")
        for step in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([npm, *step, "--prefix", str(HERE)], check=True)  # noqa: S603  # fixed arguments
    with ExitStack() as stack:
        project_id, url = os.environ.get("DESCOPE_PROJECT_ID"), None
        if not project_id:
            emulator = DescopeEmulator()
            emulator.create_user("ann@example.com", name="Ann", phone="+15550100012")
            served = stack.enter_context(
                emulator.serve(port=int(os.environ.get("EMULATOR_PORT", "0")))
            )
            # By its name: passkeys need one.
            project_id, url = emulator.project_id, served.replace("127.0.0.1", "localhost")
        app = create_app(project_id, url)
        print(f"\n  Transfers: http://localhost:{PORT} (React), /component.html (web component)")
        if url:
            print(
                f"  The codes that are sent: {url}. Try ann@example.com. Ctrl+C closes.\n",
                flush=True,
            )
        uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
