"""The pytest plugin: two fixtures, and one option of the configuration file.

pytest loads it wherever the package is installed, so each fixture imports what it needs
when a test asks for it. Neither Hypercorn nor trio has to be installed.
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
    """Add the option by which a project, or one run of it, chooses the server."""
    parser.addini(
        _OPTION,
        "the server that the fixture websocket_connect imitates by default",
        default="strict",
    )


@pytest.fixture
def websocket_connect(
    pytestconfig: pytest.Config,
) -> Callable[..., AbstractAsyncContextManager[Peer]]:
    """Connect to an ASGI application: `anyws.testing.connect`.

    The default of its argument `server` is the option `anyws_server`:
    `pytest -o anyws_server=hypercorn-trio` imitates that server in all tests.
    """
    from ._connect import connect

    return partial(connect, server=pytestconfig.getini(_OPTION))


@pytest.fixture
def hypercorn_server() -> Iterator[Callable[..., HypercornServer]]:
    """Start real servers: `hypercorn_server(app, worker="trio")`.

    Each is an `anyws.testing.HypercornServer`, and takes its arguments. The end of the
    test closes it. Without Hypercorn the test is skipped.
    """
    pytest.importorskip("hypercorn", reason="hypercorn is not installed")
    from ._real_hypercorn import HypercornServer

    with ExitStack() as stack:

        def start(app: Any, **settings: Any) -> HypercornServer:
            server = HypercornServer(app, **settings)
            stack.callback(server.close)
            return server

        yield start
