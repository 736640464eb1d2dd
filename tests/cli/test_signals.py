"""The command line where the event loop receives no signals, as asyncio on Windows."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TextIO

import anyio
import pytest

import anyws
import anyws.testing
from anyws._cli import terminal
from anyws._cli.conversation import main
from anyws._cli.terminal import Sink


@contextmanager
def no_receiver(*_: signal.Signals) -> Iterator[None]:
    """Fail as asyncio does on Windows."""
    raise NotImplementedError
    yield


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """Return both ends of a pipe."""
    reading, writing = os.pipe()
    with open(reading) as source, open(writing, "w") as target:
        yield source, target


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a backend, whose event loop receives no signals."""
    monkeypatch.setattr(anyio, "open_signal_receiver", no_receiver)
    monkeypatch.setattr(sys, "stdin", None)
    backend: str = request.param
    return backend


def test_a_conversation_goes_on_without_signals(backend: str, capfd: Any) -> None:
    """Nothing else is missing."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("hello")

    with anyws.testing.HypercornServer(app) as server:
        status = main(["--backend", backend, "-q", "--wait", "10", server.url])

    assert (status, capfd.readouterr().out) == (0, "hello\n")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_told_by_the_status(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio itself ends the conversation, and the peer gets a closing frame."""
    ended: list[int] = []
    main_thread = get_ident()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()  # by now the client is connected
        signal.pthread_kill(main_thread, signal.SIGINT)
        try:
            await ws.receive_text()
        except anyws.ConnectionClosed as exc:
            ended.append(exc.code)

    stdin, typed = pipe
    print("hello", file=typed, flush=True)
    monkeypatch.setattr(anyio, "open_signal_receiver", no_receiver)
    monkeypatch.setattr(sys, "stdin", stdin)
    with anyws.testing.HypercornServer(app) as server:
        status = main(["--backend", "asyncio", "-q", server.url])

    assert (status, ended) == (130, [1001])


async def test_a_pipe_that_cannot_be_awaited_is_written_to(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only sockets can be waited for, output goes out at once."""

    async def never(_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(terminal, "_PIPES_CAN_BE_AWAITED", False)
    monkeypatch.setattr(terminal, "wait_writable", never)
    source, target = pipe
    await Sink(target).send("hello\n")

    assert source.readline() == "hello\n"
