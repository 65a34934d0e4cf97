"""json_log: audit records as lines of JSON."""

import json
import logging
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from fastapi_stepup.errors import ConfigurationError
from fastapi_stepup.events import AuditAction, AuditOutcome, AuditRecord
from fastapi_stepup.observability.audit import Shape, json_log

RECORD = AuditRecord(
    time=1_800_000_000.25,
    action="access",
    outcome="refused",
    subject="3f1c",
    issuer="P2abc",
    purpose="delete-account",
    reason="step_up_expired",
    route="/orders/{order_id}",
    request_id="r-1",
)
STRANGER = AuditRecord(time=1.0, action="finish", outcome="failed", method="otp")

# Of the class Authentication (3002) in OCSF 1.3.0, its base event and the objects in it.
OCSF_REQUIRED = (
    "activity_id",
    "category_uid",
    "class_uid",
    "metadata.product.name",
    "metadata.version",
    "severity_id",
    "time",
    "type_uid",
    "user",
)
OCSF_AT_LEAST_ONE = (
    ("service", "dst_endpoint"),
    ("user.account", "user.name", "user.uid"),
    ("metadata.product.name", "metadata.product.uid"),
    ("service.name", "service.uid"),
)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What a handler of the logger writes."""
    written: list[str] = []

    class Writing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Writing()
    logger = logging.getLogger("audit-of-a-test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)


def logged(lines: list[str], record: AuditRecord, shape: Shape, **options: Any) -> dict[str, Any]:
    """Return the one line that *record* leaves, read."""
    json_log(logging.getLogger("audit-of-a-test"), shape, **options)(record)
    (line,) = lines
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def member(document: dict[str, Any], path: str) -> Any:
    """Return the member that *path* names, or `None`."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def test_flat_has_the_members_of_the_record(lines: list[str]) -> None:
    """Those without a value are left out."""
    assert logged(lines, RECORD, "flat") == {
        "time": 1_800_000_000.25,
        "action": "access",
        "outcome": "refused",
        "subject": "3f1c",
        "issuer": "P2abc",
        "purpose": "delete-account",
        "reason": "step_up_expired",
        "route": "/orders/{order_id}",
        "request_id": "r-1",
    }


@pytest.mark.parametrize("record", [RECORD, STRANGER], ids=["user", "stranger"])
def test_ocsf_has_what_its_class_requires(record: AuditRecord, lines: list[str]) -> None:
    """The required members are there, and one of each group that needs one."""
    document = logged(lines, record, "ocsf")

    assert [path for path in OCSF_REQUIRED if member(document, path) is None] == []
    assert all(
        any(member(document, path) is not None for path in group) for group in OCSF_AT_LEAST_ONE
    )


def test_ocsf_says_it_in_its_own_words(lines: list[str]) -> None:
    """Class 3002 of category 3; milliseconds; what the schema has no name for is unmapped."""
    assert logged(lines, RECORD, "ocsf", service="shop") == {
        "class_uid": 3002,
        "category_uid": 3,
        "activity_id": 99,
        "activity_name": "Step-up access",
        "type_uid": 300299,
        "severity_id": 2,
        "time": 1_800_000_000_250,
        "status_id": 2,
        "status": "Failure",
        "status_detail": "step_up_expired",
        "message": "Step-up access refused",
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "fastapi-stepup", "vendor_name": "fastapi-stepup"},
            "correlation_uid": "r-1",
        },
        "service": {"name": "shop"},
        "user": {"uid": "3f1c", "type_id": 1, "domain": "P2abc"},
        "is_remote": True,
        "unmapped": {"purpose": "delete-account", "route": "/orders/{order_id}"},
    }


def test_end_of_a_step_up_is_a_log_on_to_ocsf(lines: list[str]) -> None:
    """The one action that the class has an activity for."""
    document = logged(lines, STRANGER, "ocsf")

    assert (document["activity_id"], document["activity_name"]) == (1, "Logon")
    assert document["type_uid"] == 300201
    assert document["user"] == {"name": "unknown", "type_id": 0}
    assert document["unmapped"] == {"method": "otp"}


def test_ecs_has_the_names_of_the_schema(lines: list[str]) -> None:
    """Flat names with dots, and a time as Elasticsearch reads it."""
    assert logged(lines, RECORD, "ecs", service="shop") == {
        "@timestamp": "2027-01-15T08:00:00.250Z",
        "ecs.version": "8.17.0",
        "event.kind": "event",
        "event.category": ["authentication"],
        "event.type": ["denied"],
        "event.action": "step-up-access",
        "event.outcome": "failure",
        "event.reason": "step_up_expired",
        "event.provider": "fastapi-stepup",
        "service.name": "shop",
        "user.id": "3f1c",
        "user.domain": "P2abc",
        "http.request.id": "r-1",
        "labels.route": "/orders/{order_id}",
        "labels.purpose": "delete-account",
    }


@pytest.mark.parametrize(
    ("outcome", "ocsf", "ecs"),
    [
        ("succeeded", (1, "Success", 1), ("success", ["allowed"])),
        ("refused", (2, "Failure", 2), ("failure", ["denied"])),
        ("failed", (2, "Failure", 2), ("failure", ["error"])),
        ("reported", (0, "Unknown", 1), ("unknown", ["info"])),
    ],
)
def test_outcome_is_said_in_the_words_of_each_schema(
    outcome: AuditOutcome, ocsf: tuple[int, str, int], ecs: tuple[str, list[str]], lines: list[str]
) -> None:
    """What is only reported has neither succeeded nor failed."""
    record = AuditRecord(1.0, "start", outcome, method="otp")
    for shape in ("ocsf", "ecs"):
        json_log(logging.getLogger("audit-of-a-test"), shape)(record)

    first, second = map(json.loads, lines)
    assert (first["status_id"], first["status"], first["severity_id"]) == ocsf
    assert (second["event.outcome"], second["event.type"]) == ecs
    assert second["labels.method"] == "otp"


@pytest.mark.parametrize("shape", get_args(Shape))
def test_every_kind_of_record_has_a_line(shape: Shape, lines: list[str]) -> None:
    """All actions with all outcomes."""
    hook = json_log(logging.getLogger("audit-of-a-test"), shape)
    for action in get_args(AuditAction):
        for outcome in get_args(AuditOutcome):
            hook(AuditRecord(1.0, action, outcome))

    assert len(lines) == len(get_args(AuditAction)) * len(get_args(AuditOutcome))


def test_line_is_ascii_and_one(lines: list[str]) -> None:
    """A user's name cannot forge a second record, nor break a file's encoding."""
    json_log(logging.getLogger("audit-of-a-test"))(
        AuditRecord(1.0, "access", "succeeded", subject='ann\n{"forged": 1}\u2028\ud800')
    )

    assert lines[0].isascii()
    assert lines[0].splitlines() == lines


def test_unknown_shape_is_refused() -> None:
    """The message names the shapes."""
    with pytest.raises(ConfigurationError, match="ocsf"):
        json_log(logging.getLogger("audit-of-a-test"), "cef")  # type: ignore[arg-type]
