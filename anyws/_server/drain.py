"""The end of a server's connections: no new ones, and some time for the open ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, inf
from typing import Final

from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._session.session import Session
from .._values.closing import CloseCode, checked_code, fitted_reason
from .._values.states import CLOSE

# Seconds that handlers are waited for once they are cancelled: one that shields itself
# must not hold the server for ever.
_CANCELLED_GRACE: Final = 2.0


class Drain:
    """Ends the connections of a server that is about to stop.

    It knows the connections of the guards that are given it:
    `WebSocketMiddleware(app, drain=drain)`, `endpoint(drain=drain)`. From the call of
    `aclose()` on, opening handshakes are refused with 503 (403 where the server cannot
    do that) and the open connections closed with `code`, or rejected if they are not
    accepted yet; a denial response that has begun may end. Handlers meet
    `ConnectionClosed`, or the cancellation of `cancel_on_disconnect()`, and have
    `timeout` seconds to end; those that are left are cancelled. No error comes of it.

    A drain serves one event loop, and once: it does not open again. It is to be closed
    while the server is still running. The lifespan's shutdown is too late: on uvicorn
    and Hypercorn the sockets are gone by then. For uvicorn:

        class Server(uvicorn.Server):
            async def shutdown(self, sockets=None):
                await drain.aclose()
                await super().shutdown(sockets)

        Server(uvicorn.Config(app)).run()

    For Hypercorn's `serve`, on either backend, it is the `shutdown_trigger`:

        async def stopped():
            await stop.wait()  # an event that your handler of SIGTERM sets
            await drain.aclose()

        await serve(app, config, shutdown_trigger=stopped)

    Args:
        code: The close code: 1012 (default), or 1001 and others that may be sent.
        reason: The close reason, cut at a character to 123 bytes of UTF-8.
        timeout: Seconds that handlers have to end before they are cancelled (default
            3.0). Peers have them too, to answer the closing frame.

    Attributes:
        code, reason, timeout: As given.
        draining: Whether the drain has begun.
    """

    def __init__(
        self,
        *,
        code: int = CloseCode.SERVICE_RESTART,
        reason: str = "",
        timeout: float = 3.0,
    ) -> None:
        if type(timeout) not in (int, float) or not 0 < timeout < inf:
            raise ValueError(
                f"timeout must be a finite number of seconds above 0, not {timeout!r}"
            )
        self.code: int = checked_code(code)
        self.reason: str = fitted_reason(reason)
        self.timeout: float = timeout
        self.draining: bool = False
        self._cancel_at = inf
        self._hosted: dict[Session, CancelScope] = {}
        self._closed: set[Session] = set()  # by us; their closing handshake may go on
        self._emptied: Signal | None = None  # somebody waits for the last one

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return len(self._hosted)

    async def aclose(self) -> None:
        """Begin the drain, and wait until every connection is over.

        Waits at most `timeout` seconds, and 2 more for handlers that were cancelled and
        clean up: one that shields itself for longer is left behind, and counted by
        `connections`. May be called again, and by several tasks: they wait for the same
        end. To be called from another task than a handler's, which would wait for
        itself.

        Cancellation:
            The drain goes on: the connections are closed, and handlers cancelled when
            their time is over. Nothing but the waiting ends.
        Source: RFC 6455 section 7.1.5, IANA close code 1012.
        """
        self._begin()
        await checkpoint()
        with CancelScope(deadline=self._cancel_at + _CANCELLED_GRACE):
            while self._hosted:
                self._emptied = self._emptied or Signal()
                await self._emptied.wait()
            while self._closed:  # one whose host has no drain is still at its end
                session = next(iter(self._closed))
                await session.wait_closed()
                self._closed.discard(session)

    def _begin(self) -> None:
        if self.draining:
            return
        self.draining = True
        self._cancel_at = current_time() + self.timeout
        for session, scope in self._hosted.items():
            self._close(session, scope)

    def _close(self, session: Session, scope: CancelScope) -> None:
        scope.deadline = self._cancel_at
        self._closed.add(session)
        session.close_by_rule(self.code, self.reason, by=self._cancel_at)

    # What hosts a connection calls

    @contextmanager
    def hosting(self, session: Session) -> Iterator[None]:
        """Know a connection while the block runs; end both when the drain says so.

        The block is cancelled when its time is over, and that ends here. One that comes
        when the drain has begun is closed at once.
        """
        if session in self._hosted:  # an outer guard has the same drain
            yield
            return
        with CancelScope() as scope:
            self._hosted[session] = scope
            try:
                if self.draining:
                    self._close(session, scope)
                yield
            finally:
                del self._hosted[session]
                if self._emptied is not None and not self._hosted:
                    self._emptied.set()
                    self._emptied = None

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the application of a connection that comes when the drain has begun.

        Answers with 503 where the server takes a denial response, which nearly all do;
        else with a close, which is 403. There is no body: uvicorn's older protocol
        class loses it, and with it the response.

        Cancellation:
            As that of `receive` and `send`.
        Source: RFC 9110 section 15.6.4; ASGI "websocket.http.response".
        """
        await receive()  # websocket.connect
        if "websocket.http.response" in (scope.get("extensions") or {}):
            headers = {"retry-after": str(ceil(self.timeout))}
            await Response(None, 503, headers)(scope, receive, send)
        else:
            await send({"type": CLOSE, "code": self.code, "reason": self.reason})


def check_drain(drain: object) -> None:
    """Refuse what is neither a `Drain` nor `None`."""
    if drain is not None and not isinstance(drain, Drain):
        raise TypeError(f"drain must be an anyws.Drain, not {type(drain).__name__}")
