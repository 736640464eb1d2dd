"""Ctrl-C in a client: the close code says that the program goes away."""

from __future__ import annotations

import signal
from typing import Any

import anyio
import pytest

import anyws
from anyws._values.outcomes import leaves_of

from ..support.peers import Visit, serving


class Closings:
    """An echo server that takes down the close codes of its clients."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def __call__(self, visit: Visit) -> None:
        """Accept, and read up to the closing frame, which is masked."""
        await visit.accept()
        head = await visit.stream.receive()
        while head[0] != 0x88:
            head = await visit.stream.receive()
        self.codes.append((head[6] ^ head[2]) << 8 | head[7] ^ head[3])
        await visit.send(b"\x88\0")


pytestmark = pytest.mark.usefixtures("ctrl_c")

Backend = tuple[str, dict[str, Any]]


def run(main: Any, backend: Backend) -> None:
    """Run a program that Ctrl-C ends."""
    name, options = backend
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        anyio.run(main, backend=name, backend_options=options)
    (cause,) = leaves_of(caught.value)
    assert isinstance(cause, KeyboardInterrupt)


@pytest.mark.parametrize("scope", [False, True])
def test_ctrl_c_closes_with_1001(anyio_backend: Backend, scope: bool) -> None:
    """It is KeyboardInterrupt at once on trio, and a cancellation first on asyncio."""
    closings = Closings()

    async def main() -> None:
        async with serving(closings) as peer:
            async with anyws.connect(peer.url) as ws:
                with anyio.CancelScope() if scope else anyio.fail_after(10):
                    signal.raise_signal(signal.SIGINT)
                    await ws.receive_text()

    run(main, anyio_backend)
    assert closings.codes == [1001]


def test_a_close_before_ctrl_c_stays(anyio_backend: Backend) -> None:
    """The first word is the last one."""
    closings = Closings()

    async def main() -> None:
        async with serving(closings) as peer:
            async with anyws.connect(peer.url) as ws:
                await ws.close(4000)
                signal.raise_signal(signal.SIGINT)
                await anyio.sleep_forever()

    run(main, anyio_backend)
    assert closings.codes == [4000]


def test_what_ctrl_c_cancels_besides(anyio_backend: Backend) -> None:
    """Another task than the main one is cancelled by its task group, as on trio."""
    if anyio_backend[0] == "trio":
        pytest.skip("the signal would be raised in the task that sends it")
    closings = Closings()

    async def main() -> None:
        async with serving(closings) as peer, anyio.create_task_group() as tasks:

            async def client() -> None:
                async with anyws.connect(peer.url) as ws:
                    signal.raise_signal(signal.SIGINT)
                    await ws.receive_text()

            tasks.start_soon(client)
            await anyio.sleep_forever()

    run(main, anyio_backend)
    assert closings.codes == [1012]


def test_another_cancellation_closes_with_1012(anyio_backend: Backend) -> None:
    """Nothing was interrupted."""
    closings = Closings()

    async def main() -> None:
        async with serving(closings) as peer:
            with anyio.CancelScope() as scope:
                async with anyws.connect(peer.url) as ws:
                    scope.cancel()
                    await ws.receive_text()

    name, options = anyio_backend
    anyio.run(main, backend=name, backend_options=options)
    assert closings.codes == [1012]
