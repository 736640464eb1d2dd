"""Names of topics, and patterns that match them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_WILDCARD: Final = "*"
_LONGEST: Final = 512  # characters

# The prefix of the hub's own topics: a user's name must not contain it.
OWN: Final = "\0"

# The topic of heartbeats, for members that tell a browser everything.
HEARTBEAT: Final = f"{OWN}heartbeat"


def is_pattern(name: str) -> bool:
    """Whether a name stands for all topics that it matches."""
    return _WILDCARD in name


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern: `*` stands for one or more characters other than a dot."""
    parts = map(re.escape, pattern.split(_WILDCARD))
    return re.compile("[^.]+".join(parts))


def checked_names(names: Iterable[object]) -> list[str]:
    """Return the topics and patterns that a member wants.

    Raises:
        TypeError, ValueError: One of them is not a valid name.
    """
    return [checked_name(name) for name in names]


def checked_topic(name: object) -> str:
    """Return the name of one topic.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is a pattern, empty, too long, or no text.
    """
    topic = checked_name(name)
    if is_pattern(topic):
        raise ValueError(f"{topic!r} is a pattern; a topic has no {_WILDCARD!r}")
    return topic


def checked_name(name: object) -> str:
    """Return the name of a topic, or a pattern.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is empty, too long, or no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"a topic is a str, not {type(name).__name__}")
    if not 1 <= len(name) <= _LONGEST or OWN in name:
        raise ValueError(
            f"a topic has 1 to {_LONGEST} characters, and none is NUL: {name[:80]!r}"
        )
    name.encode()  # a lone surrogate is no text, and could not be sent
    return name
