"""The one logger of the package."""

import logging
from typing import Final

logger: Final = logging.getLogger("fastapi_stepup")
