"""The list of a hub's members, and whether there can be any."""

from __future__ import annotations

from typing import Protocol

from .._session.session import Session
from .._values.errors import HubError
from .reading import Reading
from .topics import Topics


class Member(Protocol):
    """A subscription or an attachment, as its hub sees it."""

    @property
    def reading(self) -> Reading:
        """The reading of the member: the messages that it has not taken yet."""

    @property
    def session(self) -> Session | None:
        """The connection of the member, if it has one."""

    def end(self) -> None:
        """End the member: its hub has ended."""


class Roster:
    """The members of a hub.

    Attributes:
        topics: The topics of the hub's present life.
        running: Whether the hub's block is running.
        draining: Whether the server of the hub drains: subscriptions end.
    """

    def __init__(self) -> None:
        self.topics: Topics
        self.running: bool = False
        self.draining: bool = False
        self._members: dict[Member, None] = {}
        self._connections: dict[Session, tuple[Member, ...]] = {}

    def check_open(self) -> None:
        """Raise `HubError` unless the hub is running."""
        if not self.running:
            raise HubError(
                "the hub is not running: use it inside 'async with hub:', for instance "
                "in the lifespan of the application"
            )

    def enter(self, member: Member) -> None:
        """Take a member in."""
        self._members[member] = None
        session = member.session
        if session is not None:
            self._connections[session] = (*self._connections.get(session, ()), member)
        elif self.draining:
            member.end()

    def leave(self, member: Member) -> None:
        """Let a member go; again, it does nothing."""
        if member not in self._members:
            return
        del self._members[member]
        session = member.session
        if session is not None:
            others = [m for m in self._connections.pop(session) if m is not member]
            if others:
                self._connections[session] = tuple(others)

    def drain(self) -> None:
        """End the subscriptions; what drains ends the connections."""
        self.draining = True
        for member in list(self._members):
            if member.session is None:
                member.end()

    def end(self) -> None:
        """End all members."""
        self.running = False
        for member in list(self._members):
            member.end()

    def readings_of(self, session: Session) -> frozenset[Reading]:
        """Return the readings of the members that belong to a connection."""
        members = self._connections.get(session, ())
        return frozenset(member.reading for member in members)

    def __len__(self) -> int:
        return len(self._members)
