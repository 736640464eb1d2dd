"""The pytest plugin: two fixtures, and one option of the configuration file.

It is loaded wherever the package is installed, so what a fixture needs is imported when
it is asked for; neither Hypercorn nor trio need be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._peer.peer import Peer
    from ._real_hypercorn import HypercornServer

_OPTION = "anyws_server"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a project, or one run of its tests, choose the server."""
    parser.addini(
        _OPTION,
        "the server whose manners the fixture websocket_connect has by default",
        default="strict",
    )


@pytest.fixture
def websocket_connect(
    pytestconfig: pytest.Config,
) -> Callable[..., AbstractAsyncContextManager[Peer]]:
    """Connect to an ASGI application: `anyws.testing.connect`.

    Its `server` is that of the option `anyws_server`, unless the call says another:
    `pytest -o anyws_server=hypercorn-trio` runs all tests once more, as under that.
    """
    from ._connect import connect

    return partial(connect, server=pytestconfig.getini(_OPTION))


@pytest.fixture
def hypercorn_server() -> Iterator[Callable[..., HypercornServer]]:
    """Start real servers: `hypercorn_server(app, worker="trio")`.

    Each is an `anyws.testing.HypercornServer` with its arguments and attributes, and is
    closed with the test. Without Hypercorn the test is skipped.
    """
    pytest.importorskip("hypercorn", reason="hypercorn is not installed")
    from ._real_hypercorn import HypercornServer

    with ExitStack() as stack:

        def start(app: Any, **settings: Any) -> HypercornServer:
            server = HypercornServer(app, **settings)
            stack.callback(server.close)
            return server

        yield start
