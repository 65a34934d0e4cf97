"""json_log: audit records as lines of JSON, in a shape that log collectors know."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from logging import Logger, LoggerAdapter
from typing import Any, Final, Literal, get_args

from fastapi_stepup._options import one_of
from fastapi_stepup.events import AuditHook, AuditOutcome, AuditRecord

Shape = Literal["flat", "ocsf", "ecs"]

PRODUCT: Final = "fastapi-stepup"
OCSF_VERSION: Final = "1.3.0"
ECS_VERSION: Final = "8.17.0"

_AUTHENTICATION: Final = 3002
_IDENTITY_AND_ACCESS: Final = 3
_LOGON: Final = 1
_OTHER: Final = 99
# status_id: 0 unknown, 1 success, 2 failure; severity_id: 1 informational, 2 low.
_OCSF_STATUS: Final[Mapping[AuditOutcome, tuple[int, str, int]]] = {
    "succeeded": (1, "Success", 1),
    "refused": (2, "Failure", 2),
    "failed": (2, "Failure", 2),
    "reported": (0, "Unknown", 1),
}
_ECS_OUTCOME: Final[Mapping[AuditOutcome, tuple[str, str]]] = {
    "succeeded": ("success", "allowed"),
    "refused": ("failure", "denied"),
    "failed": ("failure", "error"),
    "reported": ("unknown", "info"),
}


def json_log(
    logger: "Logger | LoggerAdapter[Any]", shape: Shape = "flat", *, service: str = PRODUCT
) -> AuditHook:
    """Return a hook for `on_audit=` that logs each record at INFO, as one line of ASCII JSON.

    - `flat` has the members of `AuditRecord`, those without a value left out.
    - `ocsf` is the class Authentication (3002) of the Open Cybersecurity Schema Framework.
    - `ecs` has the names of the Elastic Common Schema.

    Uses the standard library only. Does not set the logger up: a logger whose level is above INFO
    drops the records.

    Args:
        logger: Gets the lines; give it a handler and a formatter of its own (`%(message)s`).
        shape: One of the above.
        service: How OCSF and ECS name the service that the user wanted.

    Raises:
        ConfigurationError: *shape* is unknown.
    """
    shaped: Callable[[AuditRecord, str], dict[str, Any]]
    shaped = {"flat": _flat, "ocsf": _ocsf, "ecs": _ecs}[one_of("shape", shape, get_args(Shape))]

    def log(record: AuditRecord) -> None:
        logger.info("%s", json.dumps(shaped(record, service), separators=(",", ":")))

    return log


def _flat(record: AuditRecord, _: str) -> dict[str, Any]:
    return _without_none(asdict(record))


def _ocsf(record: AuditRecord, service: str) -> dict[str, Any]:
    # The end of a step-up is a log-on; for the other actions the class has no activity.
    activity = _LOGON if record.action == "finish" else _OTHER
    status_id, status, severity = _OCSF_STATUS[record.outcome]
    user = {"name": "unknown", "type_id": 0}
    if record.subject is not None:
        user = {"uid": record.subject, "type_id": 1, "domain": record.issuer}
    product = {"name": PRODUCT, "vendor_name": PRODUCT}
    correlation = {} if record.request_id is None else {"correlation_uid": record.request_id}
    ours = {"purpose": record.purpose, "method": record.method, "route": record.route}
    return _without_none(
        {
            "class_uid": _AUTHENTICATION,
            "category_uid": _IDENTITY_AND_ACCESS,
            "activity_id": activity,
            "activity_name": "Logon" if activity == _LOGON else f"Step-up {record.action}",
            "type_uid": _AUTHENTICATION * 100 + activity,
            "severity_id": severity,
            "time": round(record.time * 1000),
            "status_id": status_id,
            "status": status,
            "status_detail": record.reason,
            "message": f"Step-up {record.action} {record.outcome}",
            "metadata": {"version": OCSF_VERSION, "product": product, **correlation},
            "service": {"name": service},
            "user": user,
            "is_remote": True,
            "unmapped": _without_none(ours) or None,
        }
    )


def _ecs(record: AuditRecord, service: str) -> dict[str, Any]:
    outcome, kind = _ECS_OUTCOME[record.outcome]
    moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds")
    return _without_none(
        {
            "@timestamp": moment.replace("+00:00", "Z"),
            "ecs.version": ECS_VERSION,
            "event.kind": "event",
            "event.category": ["authentication"],
            "event.type": [kind],
            "event.action": f"step-up-{record.action}",
            "event.outcome": outcome,
            "event.reason": record.reason,
            "event.provider": PRODUCT,
            "service.name": service,
            "user.id": record.subject,
            "user.domain": record.issuer,
            "http.request.id": record.request_id,
            "labels.route": record.route,
            "labels.method": record.method,
            "labels.purpose": record.purpose,
        }
    )


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
