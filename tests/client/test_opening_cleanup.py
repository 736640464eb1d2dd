"""Opening a connection that is cancelled: nothing is left open, wherever it struck."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.peers import (
    HOST,
    Authority,
    Visit,
    expect_sockets,
    open_sockets,
    serving,
)
from ..support.proxies import Tunnels
from .test_proxies import script_of

# Not unix sockets: AnyIO's complain to asyncio's loop when they are cancelled in the
# turn of a read (`InvalidStateError`); nothing stays open there either.
WAYS = ["ws", "wss", "http", "https", "socks5h", "redirect", "rejected"]
TURNS = 200  # of the scheduler, before which each of these ways is open
OPENED = 5  # times that it was open already; later turns find nothing new


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority for certificates."""
    return Authority()


@asynccontextmanager
async def server(way: str, authority: Authority) -> AsyncIterator[Callable[[], Any]]:
    """Serve echoes in some way; yield what opens a connection to it."""
    options: dict[str, Any] = {"ssl_context": authority.client()}
    async with AsyncExitStack() as stack:
        secure = way in ("wss", "http", "socks5h")
        tls = authority.server() if secure else None
        peer = await stack.enter_async_context(serving(Visit.echo, tls=tls))
        url = peer.url
        if way in ("redirect", "rejected"):
            status = 302 if way == "redirect" else 403
            head = (
                f"HTTP/1.1 {status} x\r\nLocation: {url}\r\nContent-Length: 3\r\n\r\n"
            )

            async def answer(visit: Visit) -> None:
                await visit.read_request()
                for part in (head, "w", "hy"):
                    await visit.send(part)
                    await checkpoint()

            url = (await stack.enter_async_context(serving(answer))).url
        elif way in ("http", "https", "socks5h"):
            script = script_of(Tunnels(peer.port), way)
            tls = authority.server() if way == "https" else None
            proxy = await stack.enter_async_context(serving(script, tls=tls))
            options["proxy"] = f"{way}://{HOST}:{proxy.port}"
        yield lambda: anyws.connect(url, **options)


async def opened(connecting: Any, opens: list[bool]) -> None:
    """Open a connection, and stay."""
    try:
        async with connecting as ws:
            opens.append(True)
            await ws.wait_closed()
    except anyws.HandshakeRejected:
        opens.append(True)
        await anyio.sleep_forever()


@pytest.fixture
def certificates(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have the system trust the authority: a proxy's certificate is checked by that."""
    authority.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.mark.slow
@pytest.mark.usefixtures("certificates")
@pytest.mark.parametrize("way", WAYS)
async def test_a_scope_is_cancelled(way: str, authority: Authority) -> None:
    """After any number of turns until it has opened."""
    opens: list[bool] = []
    async with server(way, authority) as connecting:
        before = open_sockets()
        for turns in range(TURNS):
            async with anyio.create_task_group() as tg:
                tg.start_soon(opened, connecting(), opens)
                for _ in range(turns):
                    await checkpoint()
                tg.cancel_scope.cancel()
            await expect_sockets(before)
            if len(opens) == OPENED:
                break
    gc.collect()  # what is left open warns then, which is an error
    assert len(opens) == OPENED


@pytest.mark.slow
@pytest.mark.usefixtures("certificates")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("twice", [False, True])
async def test_a_task_is_cancelled(
    way: str,
    twice: bool,
    authority: Authority,
    anyio_backend: tuple[str, dict[str, Any]],
) -> None:
    """By asyncio itself, once or while it is cleaning up."""
    if anyio_backend[0] != "asyncio":
        pytest.skip("trio cancels by scopes alone")
    opens: list[bool] = []
    async with server(way, authority) as connecting:
        before = open_sockets()
        for turns in range(TURNS):
            task = asyncio.ensure_future(opened(connecting(), opens))
            for _ in range(turns):
                await checkpoint()
            task.cancel()
            if twice:
                await checkpoint()
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await expect_sockets(before)
            if len(opens) == OPENED:
                break
    gc.collect()
    assert len(opens) == OPENED


async def test_a_failing_block_leaves_nothing() -> None:
    """The connection is closed by what leaves the block."""
    async with serving(Visit.echo) as peer:
        for error in (LookupError, KeyboardInterrupt):
            with pytest.raises(error):
                async with anyws.connect(peer.url):
                    raise error


async def test_what_fails_behind_the_handshake_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is closed, though it never came to be a WebSocket."""

    def broken(*_: Any, **__: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("anyws._client.websocket.Codec", broken)
    async with serving(Visit.echo) as peer:
        with pytest.raises(LookupError) as caught:
            async with anyws.connect(peer.url):
                pass
    assert caught.value.__traceback__ is not None  # nothing was collected meanwhile
