"""Frameworks that know nothing of anyws, under `anyws.hypercorn`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from ..support import servers
from ..support.servers import Server, Servers

server, case = servers.server, servers.case


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give servers with applications of all frameworks that are installed."""
    folder = tmp_path_factory.mktemp("frameworks")
    app = "engine_apps:with_frameworks()"
    with contextlib.closing(Servers(folder, module=servers.ENGINE, app=app)) as running:
        yield running


@pytest.mark.parametrize("name", ["fastapi", "quart", "litestar"])
def test_frameworks_are_told_too(server: Server, case: str, name: str) -> None:
    """An echo works; the peer's code and reason arrive; the log has no complaint."""
    if (name, server.worker) == ("quart", "trio"):
        name = "quart_trio"  # Quart itself needs asyncio
    pytest.importorskip(name, reason=f"{name} is not installed here")
    with server.connect(f"/{name}/echo", case) as client:
        for text in ("hello", "x" * 100_000):
            client.send(text)
            assert client.recv(timeout=5) == text
        client.close(4001, "bye")
    event = server.note(case, "event")
    assert (event["code"], event["reason"]) == (4001, "bye")
    if name != "fastapi":  # whose handler, as most do, catches nothing
        closed = server.note(case, "closed")
        assert closed.get("code") == (4001 if name == "litestar" else None)
