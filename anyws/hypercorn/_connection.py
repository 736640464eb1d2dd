"""One accepted connection: the part that is the same for every kind of worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any
from weakref import ref

from anyio import CancelScope, sleep
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol import ProtocolWrapper

from .._frames.attributes import Attributes, attributes_of
from .._frames.transport import Recipient, Turn, keep_little_unsent
from .._session.wakeup import Wakeup
from ._idle import IdleAlarm
from ._stream import EngineStream, current_connection
from ._worker import Worker, worker_of


class EngineConnection(ABC):
    """Mixed into Hypercorn's `TCPServer`: one connection, of any protocol.

    After the upgrade of HTTP/1.1 the connection carries one WebSocket and nothing else.
    It is the `Transport` of that WebSocket from then on: the bytes go from the socket
    to the frames, and not through Hypercorn's protocol objects.
    """

    config: Config
    context: Any  # Hypercorn's `WorkerContext`
    protocol: ProtocolWrapper
    idle_task: Any  # an `IdleAlarm`, in place of Hypercorn's `SingleTask`
    sends_at_once = True
    _websocket: EngineStream | None = None  # which has the connection for itself

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.worker: Worker = worker_of(self.config)
        self.worker.guard_log(self.config.log)
        self.worker.connections.add(self)
        self.worker.heed(self.context.terminated)
        self.idle_task = IdleAlarm(
            self.worker, self.config.keep_alive_timeout, self._close_idle
        )
        keep_little_unsent(self.plain_socket)

    @property
    @abstractmethod
    def plain_socket(self) -> Any:
        """The socket, below TLS too, as the event loop shows it."""

    @property
    @abstractmethod
    def tls(self) -> Any:
        """An object with the methods of an `ssl.SSLObject`; `None` without TLS."""

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the connection."""
        return attributes_of(self.plain_socket, self.tls)

    async def run(self) -> None:
        """Serve the connection; an error in it ends no other connection."""
        current_connection.set(ref(self))
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

    def end_if_idle(self) -> None:
        """Close the connection, unless a request or a WebSocket is under way."""
        self.idle_task.end()

    async def _close_idle(self) -> None:
        with CancelScope(shield=True):
            await super()._initiate_server_close()  # type: ignore[misc]  # Hypercorn's

    async def _read_data(self) -> None:
        data = b"something"
        while data:
            stream = getattr(self.protocol.protocol, "stream", None)
            if isinstance(stream, EngineStream):
                self._websocket = stream
                stream.read_from(self)
                await self.pump(stream)
                break
            data = await self.receive()
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        # Hypercorn would hold the socket until its keep-alive time is over.
        await self.idle_task.stop()

    async def pump(self, recipient: Recipient) -> None:
        """Hand all bytes over to a recipient, to the end of the connection.

        The callbacks of asyncio's event loop do so, where there are such; on trio the
        task of the connection does, and waits while the recipient has no room. An
        exception that `take_in` raises leaves this method.
        """
        if self.read_to(recipient):
            await self.receive()
            return
        turn = Turn(recipient)
        while data := await self.receive():
            more = turn.take(data)
            while turn.over or not more:
                if more:
                    await sleep(turn.pause)
                else:
                    await self._room.wait()
                more = turn.take()
        recipient.take_end(None)

    @property
    def close_timeout(self) -> float:
        """Seconds that the bytes that are left may take, once it is being closed."""
        if self._websocket is not None:
            return self._websocket.close_timeout
        return self.worker.options.close_timeout

    @cached_property
    def _room(self) -> Wakeup:
        return Wakeup()

    # The transport

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, also at one by an error."""

    def read_to(self, recipient: Recipient) -> bool:
        """Return false: only the task of the connection reads."""
        return False

    def resume(self) -> None:
        """Wake the task of the connection, which goes on reading."""
        self._room.wake()

    @abstractmethod
    async def send_all(self, data: bytes) -> bool:
        """Write all bytes; return whether any had to wait for the peer.

        Raises:
            OSError: The connection is closed or broken.
        """

    @abstractmethod
    def send_nowait(self, data: bytes) -> int:
        """Write as many bytes as the kernel takes at once; return how many."""

    @abstractmethod
    async def send_eof(self) -> bool:
        """End the server's half of the connection; false under TLS or when broken."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection now; bytes that wait to be sent are dropped."""
