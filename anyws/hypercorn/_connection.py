"""What both workers' connections have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol import ProtocolWrapper

from ._stream import EngineStream, Transport
from ._worker import Worker, worker_of


class EngineConnection(Transport):
    """Mixed into Hypercorn's `TCPServer`: one connection, of whatever protocol.

    It belongs to its WebSocket alone once HTTP/1.1 has been upgraded, so that what is
    read takes no way through Hypercorn's protocol objects.
    """

    config: Config
    protocol: ProtocolWrapper

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

    @abstractmethod
    async def receive(self) -> bytes:
        """Return what was read; empty at the end, however it came."""

    async def _read_data(self) -> None:
        data = b"something"
        while data:
            stream = getattr(self.protocol.protocol, "stream", None)
            if isinstance(stream, EngineStream):
                await stream.pump(self)
                break
            data = await self.receive()
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())

    @abstractmethod
    def abort(self) -> None:
        """End the connection now, whatever is still to be sent."""
