"""The shop with hooks for metrics and for an audit trail."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from examples.tee_hee_tees.app import Settings, create_app
from fastapi_stepup.events import AuditHook, EventHook
from fastapi_stepup.observability.audit import json_log


def observed_shop(
    *, database: Path, on_event: list[EventHook], on_audit: list[AuditHook], **options: Any
) -> FastAPI:
    """Return a shop that reports to these hooks.

    Args:
        database: The SQLite file with carts and orders.
        on_event: Called with each event.
        on_audit: Called with each audit record.
        options: Further options of the guard.
    """
    guard = {"on_event": on_event, "on_audit": on_audit, **options}
    project = os.environ.get("DESCOPE_PROJECT_ID")
    return create_app(Settings(database=database, project_id=project, guard=guard))


def audit_log() -> AuditHook:
    """Return a hook that writes each record to standard output, as a line of JSON."""
    logger = logging.getLogger("tee_hee_tees.audit")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.stdout))
    return json_log(logger, shape="ecs", service="tee-hee-tees")
