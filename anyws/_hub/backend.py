"""The protocol of a backend, which carries messages between the hubs of processes.

A hub without a backend serves one process. A backend connects hubs: it carries every
publication to all hubs that want its topic, the publishing one included, and each hub
gives its members what the backend delivers, in the order in which it delivers.

    hub.publish -> queue --publish()--> backend --deliveries()--> hub -> members
                                           ^
                              want() ------+

The hub bounds its queue, publishes what has come meanwhile in one call, repeats the
wanted topics after every failure, matches patterns, and turns errors into `HubError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Publication:
    """A message on its way from a hub to the others.

    Attributes:
        topic: The topic.
        message: `str` for a text message, `bytes` for a binary one.
        key: The key for coalescing; `None`: there is none.
        token: Identifies the publication among those of all hubs: the name of one life
            of a hub, `-`, and a number that grows with each publication of that life.
            The delivery has the same token.
    """

    topic: str
    message: str | bytes
    key: str | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way from a backend to a hub, or a gap.

    Attributes:
        topic: The topic. For a gap, `None` means all topics.
        message: The message. `None` means a gap: messages of the topic may have been
            lost.
        key, token: Those of the publication.
        epoch, id: The position of the message, if the backend numbers messages: `id` is
            one or more numbers with `-` between them, which grow within a topic as long
            as its epoch is the same. (Redis's stream ids do.) A member can then resume
            at a hub of another process. `None`: each hub numbers the messages itself,
            and another hub can only report a gap.
        before: The id of the message before it in the topic, if the backend knows it.
    """

    topic: str | None
    message: str | bytes | None
    key: str | None = None
    token: str = ""
    epoch: str | None = None
    id: str | None = None
    before: str | None = None


@runtime_checkable
class Backend(Protocol):
    """Carries messages between hubs. A hub enters it, and uses it from its own tasks.

    Different methods run concurrently, but at most one call of each method is under way
    at a time. Any exception from a method means that the backend cannot be reached now:
    the hub reports a gap where messages may be missing, and tries again with growing
    delays. Methods must not swallow cancellations.

    A backend that keeps messages may promise more; see `DurableBackend`.
    """

    def connection(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager, in whose block the other methods are called.

        Entering it should not wait until the backend can be reached. The hub stays in
        the block for as long as it runs itself.
        """

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish messages, in order. After an error, some, all or none are published.

        The hub does not repeat a call that has failed: its messages count as lost.

        Cancellation:
            When the hub ends, it cancels a call that is under way. In that case, too,
            some, all or none of the messages are published.
        """

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Deliver these topics, and no others, from the return of this call on.

        Args:
            topics: All topics that members have named.
            patterns: All patterns that members have named. In a pattern, `*` stands for
                one or more characters other than a dot. A backend whose patterns match
                more may deliver more: the hub drops messages that no member wants.
        Cancellation:
            The hub cancels a call that is under way when the hub ends.
        """

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over arriving messages, for as long as the backend can be reached.

        The hub never waits between two steps of the iteration.
        """


@runtime_checkable
class DurableBackend(Backend, Protocol):
    """A backend that keeps messages, if its attribute `durable` is true.

    The hub then repeats a failed call of `publish` with the same publications until it
    succeeds, and the backend drops those that it has published already, which it knows
    by their tokens. After a failure, `deliveries` continues where it stopped, or yields
    a gap if it cannot. All deliveries have an epoch and an id.
    """

    durable: bool

    async def replay(
        self, topic: str, since: tuple[str, str] | None, limit: int
    ) -> Sequence[Delivery]:
        """Return the messages of a wanted topic that a member has missed.

        Args:
            topic: The topic.
            since: The epoch and the id of the position of the member; `None`: before
                everything.
            limit: The largest number of messages to return; the newest ones count.
        Returns:
            The messages after the position, up to the latest one that `deliveries` has
            yielded, and a gap where some are missing.
        Cancellation:
            The hub cancels a call that is under way when the hub ends.
        """
