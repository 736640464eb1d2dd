"""One HTTP/2 connection, with WebSockets on its streams (RFC 8441)."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

import h2.events
from anyio.lowlevel import checkpoint
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol.events import Body, Data, EndBody, EndData, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.ws_stream import WSStream
from hyperframe.frame import GoAwayFrame
from priority.priority import DeadlockError, MissingStreamError

from ..._frames.transport import waited_since
from ..._session.wakeup import Wakeup
from .._stream import EngineStream
from .allowance import Allowance
from .streams import Account, EngineStreamBuffer, HypercornEvent, Stallable, refusal

# Seconds that the peer may take to end a stream that the server has ended, and to read
# the bytes that are left to be sent.
LINGER: Final = 5.0

_STREAM_WINDOW: Final = 65535  # RFC 9113 section 6.9.2: what a stream starts with

# Bytes that h2 parses at a time. Other connections wait meanwhile: some 10 to 30 ms if
# the frames are small.
_PIECE_BYTES: Final = 4096

# A peer resets streams when it has no more use for them, and may well reset all that it
# has open at once. Thousands a second are an attack (CVE-2023-44487, CVE-2025-8671):
# (how many at once, how many a second). nghttp2 has the same numbers.
_RESETS: Final = (1000, 33)

# The same for frames that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty
# DATA (CVE-2019-9512, -9515, -9518). Each costs the server 10 to 30 microseconds.
_IDLE_FRAMES: Final = (10_000, 1000)
_WINDOW_UPDATES_PER_FRAME: Final = 16  # for one DATA frame of ours; Go's client sends 8

_IDLE: Final = (
    h2.events.PingReceived,
    h2.events.PingAckReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.PriorityUpdated,
    h2.events.WindowUpdated,
    h2.events.UnknownFrameReceived,
)


class EngineH2Protocol(H2Protocol):
    """One HTTP/2 connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.has_data: HypercornEvent = HypercornEvent()
        self._accounts: dict[int, Account] = {}
        self._reaper = self.context.single_task_class()
        self._lingering = Wakeup()  # there are new deadlines
        self._idle_reported = True
        self._going_away = False
        self._cut_off = False
        now = self.context.time()
        self._resets = Allowance(*_RESETS, now)
        self._idle_frames = Allowance(*_IDLE_FRAMES, now)
        self._unsent = bytearray()  # frames that are not the work of h2
        self._writing_since: float | None = None

    @property
    def idle(self) -> bool:
        """Tell whether nothing is going on, and everything was sent."""
        return not self.stream_buffers and super().idle

    # The connection

    async def initiate(
        self,
        headers: list[tuple[bytes, bytes]] | None = None,
        settings: bytes | None = None,
    ) -> None:
        """Begin; with the HTTP/1.1 request that asked for the upgrade, if any."""
        if headers is not None:
            self._accounts[1] = Account(peer_ended=True)
        try:
            await super().initiate(headers, settings)
        except KeyError:  # that request was refused
            self.task_group.spawn(self.send_task)
        # h2 returns a window only when half of it was used (RFC 9113 section 6.9). With
        # twice the sum of all windows of streams, no stalled stream stalls another.
        windows = 2 * (self.config.h2_max_concurrent_streams + 1)
        wanted = min(windows * _STREAM_WINDOW, 2**31 - 1)
        self.connection.increment_flow_control_window(wanted - _STREAM_WINDOW)
        await self._reaper.restart(self.task_group, self._reap)
        await self._flush()

    async def handle(self, event: ConnectionEvent) -> None:
        """Handle bytes from the peer, or the end of the connection."""
        if isinstance(event, Closed):
            await self._close()
        elif isinstance(event, RawData):
            for start in range(0, len(event.data), _PIECE_BYTES):
                if start:
                    await checkpoint()
                if self.closed or self._cut_off:
                    return
                await self._receive(event.data[start : start + _PIECE_BYTES])

    async def _receive(self, data: bytes) -> None:
        """Handle bytes from the peer, and write the answers."""
        try:
            events = self.connection.receive_data(data)
        except Exception as exc:
            if not isinstance(exc, ProtocolError):
                await self.config.log.exception("Error in HTTP/2")
            self._cut_off = True
        else:
            await self._handle_events(events)
        await self._write()
        if self._cut_off:
            await self.send(Closed())

    async def _close(self) -> None:
        """End every stream, and wake every task that waits for the connection."""
        if self.closed:
            return
        self.closed = True
        for buffer in list(self.stream_buffers.values()):
            await buffer.close()
        for stream_id in list(self.streams):
            await self._close_stream(stream_id)
        await self._reaper.stop()
        await self.has_data.set()

    async def _report_idle(self) -> None:
        """Tell Hypercorn that the connection has become idle, or busy."""
        idle = self.idle
        if idle == self._idle_reported or self.closed:
            return
        self._idle_reported = idle
        if idle and self.context.terminated.is_set():
            self.connection.close_connection()
            await self._write()
        await self.send(Updated(idle=idle))

    async def _go_away(self) -> None:
        """Ask the peer to open no more streams; the open streams go on.

        The frame is not made by h2: after its `close_connection` nothing can be sent on
        any stream. Source: RFC 9113 section 6.8.
        """
        if not self._going_away:
            self._going_away = True
            frame = GoAwayFrame(0)
            frame.last_stream_id = self.connection.highest_inbound_stream_id
            self._unsent += frame.serialize()
            await self._flush()

    def _spend(self, allowance: Allowance) -> None:
        """Count an event against an allowance; one too many ends the connection.

        Source: RFC 9113 section 10.5.
        """
        if not self._cut_off and not allowance.spend(self.context.time()):
            self._cut_off = True
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)

    # Writing

    async def send_task(self) -> None:
        """Write the bytes of the streams, in turns."""
        while not self.closed:
            try:
                stream_id = next(self.priority)
            except DeadlockError:
                await self._write()
                await self._report_idle()
                await self.has_data.wait()
                await self.has_data.clear()
            else:
                await self._send_data(stream_id)
                if await self._write():
                    self._take_room(stream_id)

    async def _send_data(self, stream_id: int) -> None:
        self._idle_frames.earn(_WINDOW_UPDATES_PER_FRAME)
        try:
            self._look_at_window(stream_id)
            await super()._send_data(stream_id)
        except (KeyError, MissingStreamError, ProtocolError):
            # The stream was reset while its bytes were being sent.
            await self._drop_buffer(stream_id)
        if stream_id not in self.stream_buffers:
            self._settle(stream_id)

    def _look_at_window(self, stream_id: int) -> None:
        """Tell a stream whose bytes have waited for a window that it has one now.

        The window may be the connection's: the peer may have given the stream so large
        a one that it updates the other alone.
        """
        account, buffer = self._accounts.get(stream_id), self._buffer(stream_id)
        if account is None or buffer is None or not buffer.buffer:
            return
        closed = self.connection.local_flow_control_window(stream_id) <= 0
        if account.window_closed and not closed:
            self._take_room(stream_id)
        account.window_closed = closed

    def _take_room(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if isinstance(stream, EngineStream):
            stream.take_room()

    async def _flush(self) -> None:
        """Wake the sending task, which is not cancelled when the caller is."""
        await self.has_data.set()

    async def _write(self) -> bool:
        """Write the frames that h2 has made; return whether the peer had to read."""
        data = self.connection.data_to_send()
        if self._unsent:
            data += self._unsent
            self._unsent.clear()
        if not data or self.closed:
            return False
        began = self.context.time()
        self._writing_since = self._writing_since or began
        try:
            await self.send(RawData(data=data))
        except OSError:  # Hypercorn catches only some of asyncio's
            await self._close()
        self._writing_since = None
        return waited_since(began)

    async def stream_send(self, event: StreamEvent) -> None:
        """Take an event that a stream sends."""
        if self.closed:
            return
        if isinstance(event, StreamClosed):
            await self._finish(event.stream_id)
        elif isinstance(event, Body | Data):
            await self._send_part(event.stream_id, event.data)
        elif isinstance(event, EndBody | EndData):
            await self._send_end(event.stream_id)
        else:
            await super().stream_send(event)

    async def _send_part(self, stream_id: int, data: bytes) -> None:
        """Queue bytes of a stream, and wait while its buffer is full."""
        buffer = self._buffer(stream_id)
        if buffer is None:
            return
        await buffer.put(data)
        self.priority.unblock(stream_id)
        self.has_data.set_nowait()
        await buffer.wait_room()

    async def _send_end(self, stream_id: int) -> None:
        """End a stream after its queued bytes, and wait until they are sent."""
        buffer = self._buffer(stream_id)
        if buffer is None:
            return
        buffer.set_complete()
        account = self._accounts.get(stream_id)
        if account is not None and isinstance(self.streams.get(stream_id), WSStream):
            account.deadline = self.context.time() + LINGER
        self.priority.unblock(stream_id)
        self.has_data.set_nowait()
        await buffer.drain()

    def _buffer(self, stream_id: int) -> EngineStreamBuffer | None:
        return cast("EngineStreamBuffer | None", self.stream_buffers.get(stream_id))

    # Reading

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        reset = {e.stream_id for e in events if isinstance(e, h2.events.StreamReset)}
        for event in events:
            if self._cut_off:
                return
            if (
                isinstance(event, h2.events.RequestReceived)
                and event.stream_id in reset
            ):
                continue  # the peer has taken its request back
            try:
                await self._handle_event(event)
            except ProtocolError:
                # h2 has parsed what follows in `events` already: the peer has ended the
                # stream, or the connection.
                await self._reset_provoked(event)
            except Exception:
                await self.config.log.exception("Error in an HTTP/2 stream")
                await self._reset_provoked(event)

    async def _handle_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            await self._request_received(event)
        elif isinstance(event, h2.events.DataReceived):
            await self._data_received(event)
        elif isinstance(event, h2.events.StreamReset):
            self._spend(self._resets)  # h2 also reports resets that it had to send
            if event.stream_id in self._accounts:
                await self._discard(event.stream_id)
                await checkpoint()  # the application ends
        elif isinstance(event, h2.events.StreamEnded):
            if account := self._accounts.get(event.stream_id):
                account.peer_ended = True
            if stream := self.streams.get(event.stream_id):
                await stream.handle(EndBody(stream_id=event.stream_id))
            self._settle(event.stream_id)
        else:
            if isinstance(event, _IDLE):
                self._spend(self._idle_frames)
            if isinstance(event, h2.events.WindowUpdated) and event.stream_id:
                self._take_room(event.stream_id)
            await super()._handle_events([event])

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        """Ignore priorities: a busy stream would starve those that depend on it.

        Source: RFC 9113 section 5.3.2, which deprecates them.
        """

    async def _request_received(self, event: h2.events.RequestReceived) -> None:
        if self.context.terminated.is_set():
            await self._go_away()
        if self._going_away:
            self._spend(self._resets)
            self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._accounts[event.stream_id] = Account()
        await self._create_stream(event)
        await self._report_idle()
        await checkpoint()  # the application starts; other connections have their turn
        if self.keep_alive_requests > self.config.keep_alive_max_requests:
            await self._go_away()

    async def _data_received(self, event: h2.events.DataReceived) -> None:
        stream_id, size = event.stream_id, event.flow_controlled_length
        if not event.data and event.stream_ended is None:
            self._spend(self._idle_frames)
        account = self._accounts.get(stream_id)
        if account is None:
            self.connection.acknowledge_received_data(size, stream_id)
            return
        account.held_bytes += size
        if stream := self.streams.get(stream_id):
            await stream.handle(Body(stream_id=stream_id, data=event.data))
        if not getattr(stream, "paused", False):
            self._acknowledge(stream_id)

    def _resumed(self, stream_id: int) -> None:
        self._acknowledge(stream_id)
        self.has_data.set_nowait()

    def _acknowledge(self, stream_id: int) -> None:
        """Return to the peer the window of the bytes that were received and held."""
        account = self._accounts.get(stream_id)
        if account is not None and account.held_bytes:
            size, account.held_bytes = account.held_bytes, 0
            self.connection.acknowledge_received_data(size, stream_id)

    # The life of a stream

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        stream_id = request.stream_id
        status = refusal(request.headers)
        if status is None:
            try:
                await super()._create_stream(request)
            except UnicodeDecodeError:  # Hypercorn decodes headers as ASCII
                self.streams.pop(stream_id, None)
                await self._drop_buffer(stream_id)
                status = 400
        if status is not None:
            headers = [
                (b":status", b"%d" % status),
                (b"content-length", b"0"),
                *self.config.response_headers("h2"),
            ]
            self.connection.send_headers(stream_id, headers, end_stream=True)
            self._settle(stream_id)
        elif (stream := self.streams.get(stream_id)) and stream.closed:
            del self.streams[stream_id]  # it has answered with an error, and ended
            self._settle(stream_id)
        elif stream:
            cast("Stallable", stream).on_resume = partial(self._resumed, stream_id)

    async def _finish(self, stream_id: int) -> None:
        """End a stream after the application has ended and its bytes are sent."""
        buffer = self._buffer(stream_id)
        if buffer is not None and not buffer.ended:
            if isinstance(self.streams.get(stream_id), WSStream):
                buffer.set_complete()
                self.priority.unblock(stream_id)
            else:  # END_STREAM would make a part of a response look whole
                await self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        await self._close_stream(stream_id)
        self._settle(stream_id)
        await self._flush()

    async def _close_stream(self, stream_id: int) -> None:
        """Tell a stream that it is closed; log an error that it raises then."""
        self._acknowledge(stream_id)
        try:
            await super()._close_stream(stream_id)
        except Exception:
            await self.config.log.exception("Error in an HTTP/2 stream")

    def _settle(self, stream_id: int) -> None:
        """Forget a stream that both ends have ended, or set a deadline for the peer."""
        account = self._accounts.get(stream_id)
        if account is None or stream_id in self.streams:
            return
        if account.peer_ended and stream_id not in self.stream_buffers:
            self._acknowledge(stream_id)
            del self._accounts[stream_id]
            return
        if account.deadline is None:
            account.deadline = self.context.time() + LINGER
        self._lingering.wake()

    async def _reap(self) -> None:
        """Reset the streams that the peer has not ended in time.

        When no stream is left, and the peer has read nothing for `LINGER`, the
        connection is closed: it becomes idle only when all bytes are written.
        """
        while not self.closed:
            soonest = min(self._deadlines().values(), default=None)
            if soonest is None:
                await self._lingering.wait()
                continue
            await self.context.sleep(max(0, soonest - self.context.time()))
            for stream_id, deadline in self._deadlines().items():
                if deadline > self.context.time():
                    continue
                if stream_id:
                    await self._reset(stream_id, ErrorCodes.NO_ERROR)
                else:
                    await self.send(Closed())

    def _deadlines(self) -> dict[int, float]:
        """Return when each stream is to be reset; stream 0 is the connection."""
        deadlines = {
            stream_id: account.deadline
            for stream_id, account in self._accounts.items()
            if account.deadline is not None and stream_id not in self.streams
        }
        if (not self.streams or self._cut_off) and self._writing_since is not None:
            deadlines[0] = self._writing_since + LINGER
        return deadlines

    async def _reset_provoked(self, event: h2.events.Event) -> None:
        """Reset the stream of an event, if it has one, at the peer's expense."""
        stream_id = getattr(event, "stream_id", None)
        if stream_id:
            self._spend(self._resets)
            await self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)

    async def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Reset a stream."""
        try:
            self.connection.reset_stream(stream_id, code)
        except ProtocolError:
            pass  # the stream or the connection has ended
        await self._discard(stream_id)

    async def _discard(self, stream_id: int) -> None:
        """Forget a stream that was reset."""
        await self._close_stream(stream_id)
        self._accounts.pop(stream_id, None)
        await self._drop_buffer(stream_id)
        await self._flush()

    async def _drop_buffer(self, stream_id: int) -> None:
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            await buffer.close()
        try:
            self.priority.remove_stream(stream_id)
        except MissingStreamError:
            pass
