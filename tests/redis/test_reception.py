"""What the reception does with a connection that fails before it is read."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

pytest.importorskip("coredis")

from coredis.exceptions import ConnectionError as LostError

from anyws.redis._follower import Follower
from anyws.redis._reception import Reception
from anyws.redis._subscriptions import Subscriptions
from anyws.redis._wire import Names


class FailedConnection:
    """A connection that has failed; no task has read that yet."""

    def send_command(self, *words: Any) -> None:
        """Fail, as coredis does."""
        raise LostError("Connection not usable")


class FakeLink:
    """Takes note of why it was dropped."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drop(self, why: str) -> None:
        """End the connection."""
        self.dropped.append(why)


def test_a_command_that_cannot_be_sent_drops_the_connection() -> None:
    """Nothing is raised in the tasks that subscribe: the reading of it tells them."""
    link, names = FakeLink(), Names("anyws")
    reception = Reception(
        link,  # type: ignore[arg-type]  # a fake
        names,
        Follower(lambda topic, exc: None),
        durable=False,
        keep_seconds=1,
    )
    send = partial(reception._send, FailedConnection())  # type: ignore[arg-type]  # a fake
    subscriptions = Subscriptions(send, names)
    subscriptions.want(frozenset({"a"}), frozenset())
    subscriptions.repeat(1, frozenset())
    assert link.dropped == ["a command could not be sent"] * 2
