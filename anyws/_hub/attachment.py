"""A member that is a connection: its session takes messages from the topics."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .._session.feed import Feed
from .._session.session import Session
from .._values.shared import SharedMessage
from .log import Encode, Entry
from .member import Membership, SinceArgument, TopicMember, Wishes
from .roster import Roster


class Attachment(TopicMember):
    """A connection that gets the messages of topics; `Hub.attach` makes it.

    Use it in a `with` block, which never waits. No message is missed after the block is
    entered. Leaving the block in any way leaves the topics, and so does the end of the
    connection. No task is started: a message is written when it is published, or later,
    when the connection has room for it.
    """

    __slots__ = ("_encode", "_error", "_feed", "_session")

    def __init__(
        self,
        roster: Roster,
        wishes: Wishes,
        session: Session,
        encode: Encode | None,
        own_topic: str | None = None,
    ) -> None:
        super().__init__(roster, Membership(roster, wishes, self, own_topic))
        self._session = session
        self._encode = encode
        self._feed: Feed | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        """Join the topics.

        Raises:
            RuntimeError: The attachment has been entered before, or `accept()` has not
                been called.
            ConnectionClosed: The connection has ended.
            HubError: The hub is not running.
        """
        if self._feed is not None:
            raise RuntimeError("an attachment cannot be entered twice")
        self._roster.check_open()
        feed = Feed.of(self._session.connection, self._session.sender)
        feed.add(self)
        self._feed = feed
        self._roster.enter(self)
        self._membership.enter()
        feed.pump()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the topics.

        Raises:
            Exception: The exception that the filter or `encode` has raised, unless
                another exception leaves the block that is not about the end of this
                connection.
        """
        self._leave()
        if self._error is not None and (exc is None or self._session.explains(exc)):
            raise self._error

    def _leave(self) -> None:
        if self._feed is not None:
            self._feed.remove(self)
        self._roster.leave(self)
        self._membership.leave_all()

    # The taker of the reading

    def wake(self) -> None:
        """Send what there is, as far as the connection has room."""
        feed = self._feed
        if feed is None:
            return
        if feed.ended:
            self._leave()
            return
        if self._membership.reading.overrun:
            self._close_by_rule(feed)
        feed.pump()

    def take_now(self, entry: Entry) -> bool:
        """Write a message at once, if the connection has nothing else to write."""
        if self._feed is None:
            return False
        try:
            message = entry.shared(self._encode)
        except Exception:
            return False  # `peek` will meet it again, and end the member
        return message is not None and self._feed.write(message)

    def _close_by_rule(self, feed: Feed) -> None:
        feed.close("the peer reads too slowly")
        self._leave()

    def _fail(self, error: Exception) -> None:
        """End the connection by an error of the filter or of `encode`."""
        self._error = error
        if self._feed is not None:
            self._feed.fail("")
        self._leave()

    # The source of the session's feed

    def peek(self) -> SharedMessage | None:
        """Return the next message for the peer; `None`: there is none."""
        reading = self._membership.reading
        while self._membership.entered:
            entry = reading.peek()
            if reading.error is not None:
                self._fail(reading.error)
            elif reading.overrun and self._feed is not None:
                self._close_by_rule(self._feed)
            elif entry is None:
                return None
            elif entry.message is not None or self._encode is not None:
                try:
                    message = entry.shared(self._encode)
                except Exception as exc:
                    self._fail(exc)
                    return None
                if message is not None:
                    return message
                reading.advance()
            else:
                reading.advance()  # a gap, which a peer without `encode` is not told
        return None

    def advance(self) -> None:
        """Take the message that `peek` has returned."""
        self._membership.reading.advance()

    # For the user's code

    def join(self, *topics: str, since: SinceArgument = None) -> None:
        """Join more topics or patterns.

        Args:
            topics: Topics and patterns; those that were joined before are ignored.
            since: Where they begin; see `Hub.subscribe`.
        Raises:
            RuntimeError: The call is outside of the `with` block.
            ConnectionClosed: The connection has ended.
            TypeError, ValueError: A name or a position is invalid; nothing has
                changed.
        """
        feed = self._feed
        if feed is not None and feed.ended:
            raise self._session.error()
        self._membership.join(topics, since)
        if feed is not None:
            feed.pump()

    # For the hub

    @property
    def session(self) -> Session:
        """The connection."""
        return self._session

    def end(self) -> None:
        """Leave the topics: the hub has ended."""
        self._leave()
