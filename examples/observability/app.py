"""The shop as Prometheus and an auditor see it.

`app` is for servers, and for `fastapi-stepup routes examples/observability/app.py`. Its metrics are
in `registry`, which `python -m examples.observability` serves on a port of its own: figures about
an app are nothing for its users.
"""

import os
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from examples.observability.shop import audit_log, observed_shop
from fastapi_stepup.observability import prometheus

registry: Final = CollectorRegistry()
app: Final = observed_shop(
    database=Path(os.environ.get("SHOP_DATABASE", "tee_hee_tees.sqlite3")),
    on_event=[prometheus.hook(registry)],
    on_audit=[audit_log()],
    # From your secrets: the digests of users can then be compared between processes.
    audit_key=os.environ.get("AUDIT_KEY"),
)
