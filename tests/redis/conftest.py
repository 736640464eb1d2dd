"""A Redis server for each module of tests, and hubs that it connects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from anyws import Hub

from ..support.redis_servers import RedisServer, redis_server

_NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a Redis server that writes each command to disk."""
    with redis_server(aof=True) as running:
        yield running


@pytest.fixture
def hub_on(server: RedisServer) -> Callable[..., Hub]:
    """Return what makes hubs that the server connects, apart from those of others."""
    from anyws.redis import RedisBackend

    prefix = f"test{next(_NUMBERS)}"

    def make(*, durable: bool, keep: int = 1000, **arguments: Any) -> Hub:
        backend = RedisBackend(server.url, durable=durable, keep=keep, prefix=prefix)
        return Hub(backend=backend, **arguments)

    make.prefix = prefix  # type: ignore[attr-defined]  # of keys, for the tests
    return make
