"""Secrets: neither a `repr` nor an error report shows them."""

import traceback

import pytest

from fastapi_stepup._secret import Secret, without_frames


def test_secret_is_text_that_is_not_shown() -> None:
    """It is sent as it is, and no container's `repr` shows it."""
    secret = Secret("123456")

    assert f"{secret}" == str(secret) == "123456"
    assert repr({"code": secret}) == "{'code': Secret()}"


@without_frames
async def failing(token: str, *, how: type[BaseException]) -> None:
    """Fail with an error that was raised while another one was handled."""
    try:
        int(token)
    except ValueError as error:
        raise how from error


@pytest.mark.anyio
@pytest.mark.parametrize("how", [KeyError, KeyboardInterrupt])
async def test_a_traceback_starts_where_the_secret_is_gone(how: type[BaseException]) -> None:
    """Neither the function's own frame nor a chained error is left."""
    with pytest.raises(how) as caught:
        await failing("t0k3n", how=how)

    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert [frame.f_code.co_name for frame in frames] == ["calling"]
    assert "t0k3n" not in repr(frames[0].f_locals)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.anyio
async def test_what_is_returned_is_the_functions_own() -> None:
    """And its name and documentation are."""

    @without_frames
    async def twice(number: int) -> int:
        """Double it."""
        return number * 2

    assert await twice(number=4) == 8
    assert (twice.__name__, twice.__doc__) == ("twice", "Double it.")
