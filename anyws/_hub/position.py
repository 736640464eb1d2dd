"""Positions: a member's place in a topic, as text that can be kept and sent."""

from __future__ import annotations

import json
from typing import ClassVar, Final, TypeAlias

# The id of a message: numbers that grow within a topic, compared one after the other.
# Those of a hub without a backend are single numbers; Redis' stream ids are pairs.
Id: TypeAlias = tuple[int, ...]

_SEPARATOR: Final = "."
_OLDEST: Final = "oldest"


class Position(str):
    """The place of one message in its topic, as opaque text.

    Keep it, send it, and pass it as `since=`: the subscription then continues after
    that message. It is a `str` that contains the topic, the epoch (the name of one life
    of the hub that counts the messages) and the id of the message. Compare positions
    for equality only.

    Attributes:
        OLDEST: The position before all messages that are still kept: as `since=` it
            replays the whole history, without a gap.
    """

    __slots__ = ()

    OLDEST: ClassVar[Position]

    @classmethod
    def of(cls, topic: str, epoch: str, message_id: Id) -> Position:
        """Make the position of a message."""
        number = "-".join(map(str, message_id))
        return cls(f"{epoch}{_SEPARATOR}{number}{_SEPARATOR}{topic}")

    @classmethod
    def from_json(cls, text: str | None, *topics: str) -> dict[str, Position]:
        """Return the value for `since=` from the query parameter that `anyws.js` sends.

        Args:
            text: The query parameter `since` of a connection; `None` if there is none.
            topics: The topics. A topic that the browser has not seen begins with its
                history (`OLDEST`).
        Raises:
            ValueError: The text is not a JSON object of positions.
        """
        try:
            given = json.loads(text or "{}")
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"since is not JSON: {exc}") from exc
        if not isinstance(given, dict):
            raise ValueError("since is not a JSON object of topics and positions")
        wanted = {topic: given.get(topic, _OLDEST) for topic in topics}
        if not all(isinstance(position, str) for position in wanted.values()):
            raise ValueError("since is not a JSON object of topics and positions")
        return {
            topic: checked_position(position, topic)
            for topic, position in wanted.items()
        }

    @classmethod
    def id_of(cls, text: str) -> Id:
        """Return the id that a backend has given as text.

        Raises:
            ValueError: It is not an id.
        """
        return cls(f"-{_SEPARATOR}{text}{_SEPARATOR}-").parts[1]

    @property
    def place(self) -> tuple[str, str]:
        """The epoch and the id, as a backend has given them.

        Raises:
            ValueError: The text is not a position.
        """
        epoch, message_id, _ = self.parts
        return epoch, "-".join(map(str, message_id))

    @property
    def topic(self) -> str | None:
        """The topic; `None` for `OLDEST`, which is a place in every topic.

        Raises:
            ValueError: The text is not a position.
        """
        return None if self == _OLDEST else self.parts[2]

    @property
    def parts(self) -> tuple[str, Id, str]:
        """The epoch, the id and the topic.

        Raises:
            ValueError: The text is not a position.
        """
        parts = self.split(_SEPARATOR, 2)
        if len(parts) == 3 and parts[0] and parts[2]:
            numbers = parts[1].split("-")
            if all(n.isascii() and n.isdigit() and len(n) < 40 for n in numbers):
                return parts[0], tuple(map(int, numbers)), parts[2]
        raise ValueError(f"{str(self)[:80]!r} is not a position")


Position.OLDEST = Position(_OLDEST)


def checked_position(value: object, topic: str) -> Position:
    """Return a position that was given for a topic.

    Raises:
        TypeError: It is no text.
        ValueError: It is not a position, or belongs to another topic.
    """
    if not isinstance(value, str):
        raise TypeError(f"a position is a str, not {type(value).__name__}")
    position = Position(value)
    if position.topic not in (None, topic):
        raise ValueError(f"{str(position)[:80]!r} is not a position in {topic!r}")
    return position
