"""The counters of a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from .topic import Topic


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """The current counters of a hub, or of one of its topics.

    Attributes:
        topics: Topics that have members, or messages.
        members: Subscriptions and attachments; for a topic, those that want it.
        published: Messages published. With a backend, a hub counts the messages that it
            has published itself, and a topic those that the backend has delivered.
        sent, dropped, coalesced: Messages that members have taken, that overflow rules
            have dropped, and that newer ones have replaced. A hub adds up its present
            topics.
    """

    topics: int
    members: int
    published: int
    sent: int
    dropped: int
    coalesced: int

    @classmethod
    def of(cls, topics: Sequence[Topic], members: int, published: int) -> Self:
        """Return the counters of topics, taken together."""
        return cls(
            topics=len(topics),
            members=members,
            published=published,
            sent=sum(one.sent for one in topics),
            dropped=sum(one.dropped for one in topics),
            coalesced=sum(one.coalesced for one in topics),
        )
