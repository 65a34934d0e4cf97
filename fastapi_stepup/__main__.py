"""`python -m fastapi_stepup`: the command line."""

import sys

from fastapi_stepup.cli.start import start

if __name__ == "__main__":
    sys.exit(start())
