"""A Redis by its URL, with the package `limits`, an extra."""

from typing import Any, Final

from fastapi_stepup.errors import ConfigurationError

REDIS_TIMEOUT: Final = 1.0

# Those of `limits` whose calls block, so that a thread runs them.
_SCHEMES: Final = (
    "redis://",
    "rediss://",
    "redis+unix://",
    "redis+sentinel://",
    "redis+cluster://",
    "valkey://",
    "valkeys://",
    "valkey+unix://",
    "valkey+sentinel://",
    "valkey+cluster://",
)


def redis_storage(redis_url: object) -> Any:
    """Return the storage of `limits` for *redis_url*; connects at the first call.

    Raises:
        ConfigurationError: It cannot be used, or a package is missing. The message never holds the
            URL, which may have a password.
    """
    name = "scheme"
    if isinstance(redis_url, str) and redis_url.startswith(_SCHEMES):
        try:
            from limits.storage import storage_from_string  # noqa: PLC0415  # an extra

            return storage_from_string(
                redis_url,
                wrap_exceptions=True,
                socket_timeout=REDIS_TIMEOUT,
                socket_connect_timeout=REDIS_TIMEOUT,
            )
        except Exception as error:  # noqa: BLE001  # limits raises its own kinds
            name = type(error).__name__
    # Without the URL and the cause: they may hold a password.
    msg = (
        "redis_url must be a redis:// or rediss:// URL (or valkey://, +sentinel://, +cluster://), "
        f"and its client must be there: pip install 'fastapi-stepup[redis]' ({name})."
    )
    raise ConfigurationError(msg)
