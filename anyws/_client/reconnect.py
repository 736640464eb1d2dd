"""A loop of connections: another one is opened when the last one is over."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Self

from anyio import current_time, sleep

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed, HandshakeError
from .retry import Backoff, Retry
from .websocket import ClientWebSocket

_LOGGER: Final = logging.getLogger("anyws.client")


class Connections:
    """An iterator over connections, or the tries of one.

    Args:
        open_one: Opens a connection.
        retry: The rule of the delays.
        reconnects: Whether the connections are those of a loop, whose blocks swallow
            the `ConnectionClosed` of their own connection.
    """

    def __init__(
        self,
        open_one: Callable[..., Awaitable[ClientWebSocket]],
        retry: Retry,
        *,
        reconnects: bool,
    ) -> None:
        self._open_one = open_one
        self._retry = retry
        self._reconnects = reconnects
        self._backoff: Backoff | None = None
        self._last: ClientWebSocket | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientWebSocket:
        """Wait as `Retry` says, and open the next connection.

        Raises:
            HandshakeError: The try has failed, and another one cannot succeed, or would
                come after `Retry.give_up_after`.
            ConnectionClosed: The last connection has ended after `Retry.give_up_after`,
                without a healthy one before.
        """
        last, self._last = self._last, None
        if last is not None:
            await last._discard()
            await self._pause(last)
        return await self.open()

    async def _pause(self, last: ClientWebSocket) -> None:
        """Wait after a connection that is over.

        Raises:
            ConnectionClosed: The time of `Retry.give_up_after` is over.
        """
        info, now = last.close_info, current_time()
        delay = self._history.lost(info, last.lasted, now)
        if delay is None:
            raise ConnectionClosed(info or CloseInfo(CloseCode.ABNORMAL_CLOSURE))
        _LOGGER.info("connection lost (%s), connecting again in %.2f s", info, delay)
        await sleep(delay)

    async def open(self) -> ClientWebSocket:
        """Open a connection, in as many tries as it takes.

        Raises:
            HandshakeError: The try has failed, and another one cannot succeed, or would
                come after `Retry.give_up_after`.
        """
        history = self._history  # its clock runs from here
        while True:
            try:
                self._last = await self._open_one(reconnects=self._reconnects)
            except HandshakeError as exc:
                delay = history.failed(exc, current_time())
                _LOGGER.info("%s; trying again in %.2f s", exc, delay)
            else:
                return self._last
            await sleep(delay)

    @property
    def _history(self) -> Backoff:
        """The tries so far; its clock runs from the first of them."""
        if self._backoff is None:
            self._backoff = Backoff(self._retry, current_time())
        return self._backoff
