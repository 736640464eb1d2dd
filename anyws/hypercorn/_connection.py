"""What both workers' connections have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol import ProtocolWrapper

from .._frames.transport import Recipient
from .._session.wakeup import Wakeup
from ._stream import EngineStream
from ._worker import Worker, worker_of


class EngineConnection(ABC):
    """Mixed into Hypercorn's `TCPServer`: one connection, of whatever protocol.

    It belongs to its WebSocket alone once HTTP/1.1 has been upgraded, so that what is
    read takes no way through Hypercorn's protocol objects. It is the `Transport` of
    that WebSocket.
    """

    config: Config
    protocol: ProtocolWrapper
    sends_at_once = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.worker: Worker = worker_of(self.config)
        self.worker.connections.add(self)

    async def run(self) -> None:
        """Serve the connection; what goes wrong in it ends nothing else."""
        try:
            await super().run()  # type: ignore[misc]  # Hypercorn's, on the other side
        except BaseExceptionGroup as group:
            errors, others = group.split(Exception)
            if errors is not None:
                await self.config.log.exception("Error in a connection")
            if others is not None:
                raise others from None
        except Exception:
            await self.config.log.exception("Error in a connection")
        finally:
            self.worker.connections.discard(self)

    async def _read_data(self) -> None:
        data = b"something"
        while data:
            stream = getattr(self.protocol.protocol, "stream", None)
            if isinstance(stream, EngineStream):
                stream.read_from(self)
                await self.pump(stream)
                break
            data = await self.receive()
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())

    async def pump(self, recipient: Recipient) -> None:
        """Have all that is read handed over, to the end; raise what `take_in` raises.

        By the event loop, if it does so; else by this task, the connection's own, which
        then waits while the recipient has no room.
        """
        if self.read_to(recipient):
            await self.receive()
            return
        while data := await self.receive():
            if not recipient.take_in(data):
                await self._room.wait()
        recipient.take_end(None)

    @cached_property
    def _room(self) -> Wakeup:
        return Wakeup()

    # The transport

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, however it came."""

    def read_to(self, recipient: Recipient) -> bool:
        """Return false: nothing reads but the connection's own task."""
        return False

    def resume(self) -> None:
        """Have the connection's task go on reading."""
        self._room.wake()

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Write all of it; raise OSError once that is not possible any more."""

    @abstractmethod
    def send_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; return how many bytes it was."""

    @abstractmethod
    async def send_eof(self) -> bool:
        """End our half of the connection; false: it is under TLS, or broken."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection now, whatever is still to be sent."""
