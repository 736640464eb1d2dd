"""A connection of uvicorn as a transport: written by asyncio's, read by an Inlet."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from .._frames.attributes import Attributes, attributes_of
from .._frames.event_loop import Inlet, write_nowait
from .._frames.transport import Recipient, keep_little_unsent

# Seconds until a transport that is being closed is aborted: asyncio closes it once its
# buffer is written, which a peer that does not read delays without limit.
_CLOSE_SECONDS: Final = 5.0


class UvicornTransport:
    """The bytes of one connection.

    Args:
        transport: The event loop's transport.

    Attributes:
        ended: Whether the peer has ended its half of the connection.
        lost: Whether the connection is gone.
        secure: Whether it is under TLS.
    """

    sends_at_once = True

    def __init__(self, transport: asyncio.Transport) -> None:
        self.ended = False
        self.lost = False
        self.secure: bool = transport.get_extra_info("sslcontext") is not None
        keep_little_unsent(transport.get_extra_info("socket"))
        self._transport = transport
        self._inlet: Inlet | None = None
        self._abortion: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        plain = os.name == "posix" and not self.secure
        sock = transport.get_extra_info("socket") if plain else None
        self._fileno: int | None = None if sock is None else sock.fileno()

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the connection."""
        told = self._transport.get_extra_info
        return attributes_of(told("socket"), told("ssl_object"))

    # Called by the protocol

    def pause_writing(self) -> None:
        """Have `send_all` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Have `send_all` return."""
        self._writable.set()

    def lose(self) -> None:
        """Note that the connection is gone."""
        self.ended = self.lost = True
        self._writable.set()
        if self._abortion is not None:
            self._abortion.cancel()

    # The transport

    async def send_all(self, data: bytes) -> bool:
        """Write all bytes; return whether any had to wait for the peer.

        Raises:
            OSError: The connection is closed or broken.
        Cancellation:
            Safe: the event loop's transport writes all bytes by itself.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is gone")
        self._transport.write(data)
        waits = self._inlet is not None and self._inlet.writing_waits
        await self._writable.wait()
        if self.lost:
            raise ConnectionResetError("the connection is gone")
        return waits

    def send_nowait(self, data: bytes) -> int:
        """Write if nothing waits to be written; return how many bytes were taken."""
        return write_nowait(self._transport, data, self._fileno)

    async def send_eof(self) -> bool:
        """End the server's half of the connection; false under TLS or when closing."""
        try:
            self._transport.write_eof()
        except (NotImplementedError, RuntimeError):  # TLS; uvloop, when closing
            return False
        return not self.lost

    def read_to(self, recipient: Recipient) -> bool:
        """Replace the protocol by one that hands every read to the recipient."""
        self._inlet = inlet = Inlet(self._transport, recipient)
        if self.ended:
            inlet.end()
        if not self.lost:
            self._transport.set_protocol(inlet)
        return True

    async def receive(self) -> bytes:
        """Wait for the end of the connection: an Inlet reads."""
        if self._inlet is not None:
            await asyncio.wait([self._inlet.ended])
        return b""

    def resume(self) -> None:
        """Go on reading after the recipient had no room."""
        if self._inlet is not None:
            self._inlet.resume()

    def close(self) -> None:
        """Close the connection, once the bytes that wait are written."""
        if self._abortion is None and not self.lost:
            self._transport.close()
            loop = asyncio.get_running_loop()
            self._abortion = loop.call_later(_CLOSE_SECONDS, self._transport.abort)

    def close_nowait(self) -> bool:
        """Close the connection, once the bytes that wait are written; return true."""
        self.close()
        return True

    async def aclose(self) -> None:
        """Close the connection; return once it is gone."""
        self.close()
        if self._inlet is not None:
            await asyncio.wait([self._inlet.ended])
