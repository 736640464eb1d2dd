"""How messages are shown at a terminal, and what the lines of a user mean; pure.

Messages come from strangers. Written unchanged, one could move the cursor, answer in
the user's name, hide text or turn it around. So only printable characters are written
unchanged, and all others are escaped. The escapes are those of JSON: escaped JSON is
still the same JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias
from unicodedata import category, east_asian_width

from .._values.closing import CloseCode, CloseInfo, checked_code

HELP: Final = """\
/ping [TEXT]            send a ping, and show how long its pong takes
/binary HEX             send a binary message: /binary 48 69 0a
/close [CODE [REASON]]  close the connection, with 1000 by default
//TEXT                  send a text message that begins with a slash
/help                   show this"""

_MAX_PING_BYTES: Final = 125  # RFC 6455 section 5.5

_NAMED: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


# Showing messages


class _Escapes(dict[int, str]):
    """A table for `str.translate` that computes each entry, and keeps none.

    A peer that sends all of Unicode must not fill the memory.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if is_harmless(char):
            return char
        units = char.encode("utf-16-be", "surrogatepass")
        pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
        return _NAMED.get(char) or "".join(rf"\u{pair}" for pair in pairs)


_ESCAPES: Final = _Escapes()


def is_harmless(char: str) -> bool:
    """Whether a character is written unchanged: it is printable, or a kind of space.

    Not harmless are controls, format characters (some turn text around), line
    separators, surrogates, private characters and those that Unicode has not assigned.
    """
    return char.isprintable() or category(char) == "Zs"


def escape(text: str) -> str:
    """Return text as one line that a terminal shows, and does not obey."""
    return text if text.isprintable() else text.translate(_ESCAPES)


def line_of(message: str | bytes, *, most_bytes: int | None = None) -> str:
    """Return the line that shows a message.

    Args:
        message: The message as it was received.
        most_bytes: How many bytes of a binary message are shown; all by default.
    """
    if isinstance(message, str):
        return escape(message)
    shown = message[:most_bytes]
    size = "1 byte" if len(message) == 1 else f"{len(message)} bytes"
    dots = "..." if len(shown) < len(message) else ""
    return f"(binary, {size}) {shown.hex()}{dots}".rstrip()


def ending_line(info: CloseInfo) -> str:
    """Return the line that shows how a connection ended."""
    who = {"peer": "closed by the peer", "local": "closed"}
    try:
        name = f" ({CloseCode(info.code).name.lower().replace('_', ' ')})"
    except ValueError:
        name = ""
    reason = f": {info.reason}" if info.reason else ""
    silent = info.initiator == "local" and info.clean is False
    unanswered = ", without an answer from the peer" if silent else ""
    how = who.get(info.initiator, "connection lost")
    return f"{how}: {info.code}{name}{reason}{unanswered}"


def rows_of(text: str, columns: int) -> int:
    """Return how many rows of a terminal an escaped line takes."""
    rows, column = 1, 0
    for char in text:
        width = _width_of(char)
        column += width
        if column > columns:
            rows, column = rows + 1, width
    return rows


def _width_of(char: str) -> int:
    if char.isascii():
        return 1
    if category(char) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


# Reading lines


@dataclass(frozen=True, slots=True)
class PingCommand:
    """Send a ping."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class CloseCommand:
    """Close the connection."""

    code: int = CloseCode.NORMAL_CLOSURE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HelpCommand:
    """Show the commands."""


Action: TypeAlias = str | bytes | PingCommand | CloseCommand | HelpCommand


def action_of(line: str) -> Action:
    """Return the message or the command that a line asks for.

    Raises:
        ValueError: The line is a command that is not valid; the message says why.
    """
    if not line.startswith("/"):
        return line
    if line.startswith("//"):
        return line[1:]
    command, _, rest = line.partition(" ")
    match command:
        case "/ping":
            data = rest.encode()
            if len(data) > _MAX_PING_BYTES:
                raise ValueError(f"a ping carries at most 125 bytes, not {len(data)}")
            return PingCommand(data)
        case "/binary":
            try:
                return bytes.fromhex(rest)
            except ValueError:
                raise ValueError(f"{rest!r} is not pairs of hex digits") from None
        case "/close":
            return _close_of(rest)
        case "/help":
            return HelpCommand()
    raise ValueError(
        f"{command!r} is not a command; see /help, or begin the text with two slashes"
    )


def _close_of(rest: str) -> CloseCommand:
    code, _, reason = rest.strip().partition(" ")
    if not code:
        return CloseCommand()
    if not (code.isascii() and code.isdigit()):
        raise ValueError(f"{code!r} is not a close code")
    return CloseCommand(checked_code(int(code)), reason)
