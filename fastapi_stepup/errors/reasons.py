"""Reasons of rejections and failures, for operators only."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a token was rejected: for operators and events, never sent to a client."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    HEADER = "header"
    ALGORITHM = "algorithm"
    TYPE = "type"
    KEY_ID = "key_id"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIM_MISSING = "claim_missing"
    CLAIM_INVALID = "claim_invalid"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME = "lifetime"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    SUBJECT = "subject"
    NOT_A_SESSION = "not_a_session"
    SENDER_CONSTRAINED = "sender_constrained"
    REVOKED = "revoked"


class FailureReason(StrEnum):
    """Why outbound HTTP gave nothing usable: for operators, events and health.

    Any request can fail with a reason up to `NOT_JSON`. The others are about key sets, the last two
    about the metadata that says where one is.
    """

    CONNECT = "connect"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    REDIRECT = "redirect"
    THROTTLED = "throttled"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    STATUS = "status"
    NOT_MODIFIED = "not_modified"
    NOT_A_KEY_SET = "not_a_key_set"
    TOO_MANY_KEYS = "too_many_keys"
    NO_USABLE_KEY = "no_usable_key"
    UNEXPECTED = "unexpected"
    ISSUER = "issuer"
    METADATA = "metadata"
