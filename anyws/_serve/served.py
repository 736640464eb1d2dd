"""A connection of a server, as the server's owner sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

from .._server.connection import ServerConnection
from .._values.closing import CloseCode, checked_code, fitted_reason
from .._values.statistics import Statistics


class ServedConnection:
    """One connection as the server's owner sees it; `Server.connections` lists them.

    Attributes:
        address: The host and the port of the other end, the client or a proxy; `None`
            where there are none, as on a unix socket.
        path: The path of the request.
        since: When the request was complete, in UTC.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self.address: tuple[str, int] | None = connection.scope["client"]
        self.path: str = connection.scope["path"]
        self.since: datetime = datetime.now(UTC)
        self._connection = connection

    def __repr__(self) -> str:
        """Show the client and the path."""
        return f"<connection of {self.address} to {self.path!r}>"

    def statistics(self) -> Statistics:
        """Return the current counters."""
        return self._connection.session.statistics()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection, unless it has ended; one not accepted yet is rejected.

        Returns at once. The handler's next receive or send raises `ConnectionClosed`.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Cut at a character to 123 bytes of UTF-8.

        Raises:
            ValueError: No closing frame may carry the code.
            TypeError: The code is not an int.
        Source: RFC 6455 section 7.
        """
        session = self._connection.session
        session.close_by_rule(checked_code(code), fitted_reason(reason), by=inf)
