"""The end of a server's connections, from the call of `Drain.aclose` to the last one.

A guard tells its drain of each connection (`hosting`), so the drain can close them all.
A connection is over when its guard has left `hosting`. If the guard only joined a
session, whose host further out does not have this drain, the connection is over when
the session is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import ceil, inf
from operator import itemgetter
from types import TracebackType
from typing import Final

from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._session.session import Session
from .._values.closing import CloseCode, checked_code, fitted_reason
from .._values.events import has_responses
from .._values.states import CLOSE

# Seconds that cancelled handlers have to clean up: one that shields itself must not
# hold the server for ever.
_CANCELLED_GRACE: Final = 2.0


class Drain:
    """Ends the connections of a server that is about to stop.

    A drain knows the connections of all guards that it was given to:
    `WebSocketMiddleware(app, drain=drain)`, `endpoint(drain=drain)`. Once `aclose()` is
    called, opening handshakes are refused with 503, or with 403 if the server has no
    denial responses. Open connections are closed with `code`; connections that are not
    accepted yet are rejected; a denial response that has begun may end. Handlers get
    `ConnectionClosed`, or the cancellation of `cancel_on_disconnect()`. They have
    `timeout` seconds to end. After that they are cancelled, and the cancellation ends
    at the guard, so the server sees no error.

    A *soft* drain first tells the handlers: `ws.draining` becomes true, for one
    connection after another, evenly over `spread` seconds, so that the peers do not all
    connect again at once. From then on a handler has `turn` seconds to finish its work
    and return, which closes the connection with `code`. A connection that is still open
    after that is closed as above. In total, a soft drain takes at most `spread + turn +
    timeout + 2` seconds.

    A drain serves one event loop, once: it does not open again. Call `aclose()` while
    the server is still running. The lifespan's shutdown is too late: on uvicorn and
    Hypercorn the sockets are gone by then. For uvicorn:

        class Server(uvicorn.Server):
            async def shutdown(self, sockets=None):
                await drain.aclose()
                await super().shutdown(sockets)

        Server(uvicorn.Config(app)).run()

    For Hypercorn's `serve`, on either backend, call it in the `shutdown_trigger`:

        async def stopped():
            await stop.wait()  # an event that your handler of SIGTERM sets
            await drain.aclose()

        await serve(app, config, shutdown_trigger=stopped)

    Args:
        code: The close code: 1012 (default), or 1001 and others that may be sent.
        reason: The close reason, cut at a character to 123 bytes of UTF-8.
        timeout: Seconds that handlers have to end before they are cancelled (default
            3.0). Peers have the same seconds to answer the closing frame.
        soft: Whether handlers are told before their connections are closed, and have
            time to finish (default false).
        turn: Seconds between telling a handler and closing its connection (default
            10.0), if the drain is soft.
        spread: Seconds over which the handlers are told (default 10.0), if it is soft.

    Attributes:
        code, reason, timeout, soft, turn, spread: As given.
        draining: Whether the drain has begun.

    Raises:
        ValueError: No closing frame may carry the code; or `timeout` is not a finite
            number above 0; or `turn` or `spread` is not a finite number of at least 0.
        TypeError: The code is not an int.
    """

    def __init__(
        self,
        *,
        code: int = CloseCode.SERVICE_RESTART,
        reason: str = "",
        timeout: float = 3.0,
        soft: bool = False,
        turn: float = 10.0,
        spread: float = 10.0,
    ) -> None:
        if type(timeout) not in (int, float) or not 0 < timeout < inf:
            raise ValueError(
                f"timeout must be a finite number of seconds above 0, not {timeout!r}"
            )
        for name, value in (("turn", turn), ("spread", spread)):
            if type(value) not in (int, float) or not 0 <= value < inf:
                raise ValueError(
                    f"{name} must be a finite number of seconds from 0 on, "
                    f"not {value!r}"
                )
        self.code: int = checked_code(code)
        self.reason: str = fitted_reason(reason)
        self.timeout: float = timeout
        self.soft: bool = soft
        self.turn: float = turn
        self.spread: float = spread
        self.draining: bool = False
        self._cancel_at = inf  # when the handlers are cancelled
        self._hosted: dict[Session, CancelScope] = {}
        # Closed by the drain; the closing handshake may still go on.
        self._closed: set[Session] = set()
        # Set when `_hosted` becomes empty; made only if a task waits for that.
        self._emptied: Signal | None = None
        self._softened: Signal | None = None  # set once a soft drain closes for good
        self._watchers: list[Callable[[], None]] = []  # called when the drain begins

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return len(self._hosted)

    async def aclose(self) -> None:
        """Begin the drain, and wait until every connection is over.

        Waits at most `timeout` seconds, and 2 more for cancelled handlers that clean
        up. A soft drain waits `spread` and `turn` seconds before that. The drain does
        not wait for a handler that shields itself for longer; `connections` still
        counts it. Several tasks may call this; all wait for the same end. Do not call
        it from a handler of the drain, because the handler would wait for itself.

        Cancellation:
            Safe: only the wait ends. The drain goes on: the connections are closed, and
            the handlers are cancelled when their time is over. If the call that began a
            soft drain is cancelled, the drain closes the connections at once.
        Source: RFC 6455 section 7.1.5, IANA close code 1012.
        """
        if self._softened is not None:
            await self._softened.wait()
        elif self.soft and not self.draining:
            self.draining, self._softened = True, Signal()
            try:
                await self._soften()
            finally:
                self._softened.set()
                self._close_all()
        elif not self.draining:
            self.draining = True
            self._close_all()
        await checkpoint()
        with CancelScope(deadline=self._cancel_at + _CANCELLED_GRACE):
            while self._hosted:
                self._emptied = self._emptied or Signal()
                await self._emptied.wait()
            # A session whose host lies outside of this drain's guard: the handler has
            # left the guard, and the host still waits for the peer's answer.
            while self._closed:
                session = next(iter(self._closed))
                await session.wait_closed()
                self._closed.discard(session)

    async def _soften(self) -> None:
        """Tell the connections one by one, and close each when its turn is over."""
        sessions, start = list(self._hosted), current_time()
        pace = self.spread / max(len(sessions) - 1, 1)
        due = [
            *((start + n * pace, True, each) for n, each in enumerate(sessions)),
            *(
                (start + n * pace + self.turn, False, each)
                for n, each in enumerate(sessions)
            ),
        ]
        due.sort(key=itemgetter(0))
        for at, tells, session in due:
            await self._wait_until(at)
            scope = self._hosted.get(session)
            if scope is None:
                continue
            if tells:
                session.tell_of_drain(self.code, self.reason)
            else:
                self._close(session, scope, current_time() + self.timeout)

    async def _wait_until(self, at: float) -> None:
        """Wait until a time, or until no connection is left."""
        with CancelScope(deadline=at):
            while self._hosted:
                self._emptied = self._emptied or Signal()
                await self._emptied.wait()

    def _close_all(self) -> None:
        """Close the connections that are not closed yet."""
        self._cancel_at = current_time() + self.timeout
        for tell in self._watchers:
            tell()
        for session, scope in self._hosted.items():
            if session not in self._closed:
                self._close(session, scope, self._cancel_at)

    def _close(self, session: Session, scope: CancelScope, cancel_at: float) -> None:
        scope.deadline = cancel_at
        self._closed.add(session)
        session.tell_of_drain(self.code, self.reason)
        session.close_by_rule(self.code, self.reason, by=cancel_at)

    # For hubs

    @contextmanager
    def watched(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call a function when the drain begins, or now if it has begun."""
        self._watchers.append(tell)
        try:
            if self.draining:
                tell()
            yield
        finally:
            self._watchers.remove(tell)

    # For guards and the engine

    def hosting(self, session: Session) -> AbstractContextManager[object]:
        """Count a connection among the drain's own while the block runs.

        If the drain begins, the session is closed; when the drain's time is over, the
        block is cancelled, and the cancellation ends here. If the drain has begun
        already, the session is closed at once. A soft drain tells the session at once,
        and closes it at the end of the drain.
        """
        if session in self._hosted:  # by an outer guard with the same drain
            return nullcontext()
        return _Hosting(self, session)

    def admit(self, session: Session, scope: CancelScope) -> None:
        """Count a connection, whose scope the drain may cancel."""
        self._hosted[session] = scope
        if self._cancel_at < inf:
            self._close(session, scope, self._cancel_at)
        elif self.draining:
            session.tell_of_drain(self.code, self.reason)

    def dismiss(self, session: Session) -> None:
        """Count a connection no more."""
        del self._hosted[session]
        if self._emptied is not None and not self._hosted:
            self._emptied.set()
            self._emptied = None

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse an opening handshake that arrives after the drain has begun.

        Called as an ASGI application. Answers with 503 where the server offers denial
        responses, as nearly all do, else with a close, which is 403. The response has
        no body: uvicorn's older protocol class loses bodies, and with one the whole
        response.

        Cancellation:
            Ends the wait for `receive` or `send`, with what the server's own calls do
            then: the response may have been sent or not.
        Source: RFC 9110 section 15.6.4; ASGI "websocket.http.response".
        """
        await receive()  # websocket.connect
        if has_responses(scope):
            seconds = self.timeout + (self.turn + self.spread if self.soft else 0)
            headers = {"retry-after": str(ceil(seconds))}
            await Response(None, 503, headers)(scope, receive, send)
        else:
            await send({"type": CLOSE, "code": self.code, "reason": self.reason})


class _Hosting:
    """The block of `Drain.hosting`: no generator, which is memory of each connection.

    Args:
        drain: The drain.
        session: The session that it counts.
    """

    __slots__ = ("_drain", "_scope", "_session")

    def __init__(self, drain: Drain, session: Session) -> None:
        self._drain = drain
        self._session = session
        self._scope = CancelScope()

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._drain.admit(self._session, self._scope)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._drain.dismiss(self._session)
        return self._scope.__exit__(kind, exc, traceback)


def check_drain(drain: object) -> None:
    """Check the argument of a guard.

    Raises:
        TypeError: It is neither a `Drain` nor `None`.
    """
    if drain is not None and not isinstance(drain, Drain):
        raise TypeError(f"drain must be an anyws.Drain, not {type(drain).__name__}")
