"""What an application raises: what ends its own connection, and what ends a server."""

from __future__ import annotations

import anyio
import pytest

from anyws._server.containment import contain


class Odd(BaseException):
    """An exception that is no `Exception`."""


async def contained(exc: BaseException) -> list[str]:
    """Contain an application that raises; return what is logged."""
    logged = list[str]()

    async def app() -> None:
        raise exc

    async def log() -> None:
        logged.append("logged")

    await contain(app(), log)
    return logged


@pytest.mark.parametrize(
    "exc",
    [SystemExit(), Odd(), BaseExceptionGroup("", [Odd(), SystemExit(), ValueError()])],
)
async def test_what_is_logged_and_goes_no_further(exc: BaseException) -> None:
    """Also in a group, as nurseries raise it."""
    assert await contained(exc) == ["logged"]


@pytest.mark.parametrize(
    "exc", [ValueError(), KeyboardInterrupt(), ExceptionGroup("", [ValueError()])]
)
async def test_what_is_left_to_the_server(exc: BaseException) -> None:
    """An exception is for its log, and Ctrl-C ends it."""
    with pytest.raises(type(exc)):
        await contained(exc)


async def test_what_ends_the_server_leaves_a_group() -> None:
    """The rest of the group is logged."""
    with pytest.raises(BaseExceptionGroup) as caught:
        await contained(BaseExceptionGroup("", [Odd(), KeyboardInterrupt()]))
    assert [type(leaf) for leaf in caught.value.exceptions] == [KeyboardInterrupt]


async def test_a_cancellation_passes() -> None:
    """It is not the application's."""
    logged = list[str]()

    async def log() -> None:
        logged.append("logged")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await contain(anyio.sleep(1), log)
    assert scope.cancelled_caught
    assert logged == []
