"""The events that a member of a topic gets: messages, and gaps."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass

from .position import Position
from .topic_names import HEARTBEAT


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a topic, or a gap: messages of the topic that were missed.

    Attributes:
        topic: The topic; never a pattern.
        message: The message: `str` for text, `bytes` for binary. `None` stands for a
            gap: messages between the previous event and the next one were missed,
            because an overflow rule dropped them, or because they are no longer kept.
        position: The place of the event in the topic; `since=` takes it.
    """

    topic: str
    message: str | bytes | None
    position: Position

    @property
    def gap(self) -> bool:
        """Whether this event is a gap: messages were missed."""
        return self.message is None

    def as_json(self) -> str:
        """Return the event as a JSON object, as `anyws.js` reads it.

        It has `topic` and `position`, and one of `text`, `base64` (a binary message)
        and `gap`, which is true. Give this method to `Hub.attach` as `encode`.
        """
        if self.topic == HEARTBEAT:
            return f'{{"heartbeat":{self.message!s}}}'
        fields: dict[str, object] = {"topic": self.topic, "position": self.position}
        if self.message is None:
            fields["gap"] = True
        elif isinstance(self.message, str):
            fields["text"] = self.message
        else:
            fields["base64"] = b64encode(self.message).decode()
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
