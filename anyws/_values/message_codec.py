"""The protocol of a codec, and the translation of its errors.

A codec turns values into messages and messages into values. Each library reports an
invalid message in its own way. `decoded` turns them all into one error, a
`MessageDecodeError`, which says where in the message the fault is, if the library says
so. The libraries are told apart by the names of their exceptions, so that none of them
has to be imported or installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

from .errors import MessageDecodeError, MessageValidationError

InT_co = TypeVar("InT_co", covariant=True)
OutT_contra = TypeVar("OutT_contra", contravariant=True)
InT = TypeVar("InT")

# "JSON is malformed: invalid character (byte 3)", of msgspec.
_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
# "Invalid JSON: expected value at line 1 column 4", of pydantic.
_LINE: Final = re.compile(r"at line (\d+) column (\d+)$")


class Codec(Protocol[InT_co, OutT_contra]):
    """Turns values into messages, and messages into values.

    Any object with these two methods is one. A codec may be shared by connections, and
    is called in the task that sends or receives, so it must not block.
    """

    def encode(self, value: OutT_contra, /) -> str | bytes:
        """Encode a value as a message: `str` is sent as text, `bytes` as binary.

        If it raises, the exception leaves the call that sends, and nothing is sent.
        """

    def decode(self, message: str | bytes, /) -> InT_co:
        """Decode a message, which is `str` for text, `bytes` for binary, to a value.

        Raises:
            ValueError: The message is invalid. anyws raises a `MessageDecodeError` with
                this exception as its cause. Any other exception is a fault of the
                codec, and is raised as itself.
        """


def check_codec(codec: object, name: str) -> None:
    """Raise TypeError unless this is a codec: an object, not a class."""
    methods = (getattr(codec, verb, None) for verb in ("encode", "decode"))
    if isinstance(codec, type) or not all(map(callable, methods)):
        raise TypeError(
            f"{name} must be an object with the methods encode and decode, "
            f"not {codec!r}"
        )


def decoded(codec: Codec[InT, Any], message: str | bytes) -> InT:
    """Decode a message.

    Raises:
        MessageDecodeError: The message is invalid.
    """
    try:
        return codec.decode(message)
    except Exception as exc:
        # RecursionError: nested too deep. The errors of msgspec were no ValueErrors
        # before 0.21.
        if isinstance(exc, ValueError | RecursionError) or _library(exc) == "msgspec":
            raise decode_error(exc, message) from exc
        raise


def decode_error(exc: Exception, message: str | bytes = "") -> MessageDecodeError:
    """Make the error of an invalid message from the exception of a library."""
    if isinstance(exc, MessageDecodeError):
        return exc
    if isinstance(exc, json.JSONDecodeError):
        return MessageDecodeError(exc.msg, exc.doc, exc.pos)
    invalid = type(exc).__name__ == "ValidationError"
    if _library(exc) == "msgspec":
        return _error_of_msgspec(exc, message, read=invalid)
    if _library(exc) == "pydantic_core" and invalid:
        return _error_of_pydantic(exc, message)
    return MessageDecodeError(str(exc), "", 0)


def _library(exc: Exception) -> str:
    """Return the package that an exception comes from."""
    return type(exc).__module__.partition(".")[0]


def _error_of_msgspec(
    exc: Exception, message: str | bytes, *, read: bool
) -> MessageDecodeError:
    if read:
        what, _, path = str(exc).partition(" - at `")
        return MessageValidationError([(path.removesuffix("`") or "$", what)])
    at = _BYTE.search(str(exc))
    data = message.encode() if isinstance(message, str) else message
    text = data.decode("utf-8", "replace")
    byte = len(data) if at is None else int(at[1])
    return MessageDecodeError(str(exc), text, _characters(data, byte))


def _error_of_pydantic(exc: Any, message: str | bytes) -> MessageDecodeError:
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] != "json_invalid":
        return MessageValidationError(
            [(_path_of(error["loc"]), error["msg"]) for error in errors]
        )
    data = message.encode() if isinstance(message, str) else message
    what = errors[0]["msg"]
    at = _LINE.search(what)
    lines = data.split(b"\n")[: int(at[1]) - 1 if at else 0]
    byte = sum(len(line) + 1 for line in lines) + (int(at[2]) - 1 if at else 0)
    text = data.decode("utf-8", "replace")
    return MessageDecodeError(what, text, _characters(data, byte))


def _characters(data: bytes, byte: int) -> int:
    """Return how many characters stand before a byte."""
    return len(data[: max(byte, 0)].decode("utf-8", "replace"))


def _path_of(location: Iterable[str | int]) -> str:
    """Write a place in a message as msgspec does: `$.items[0].price`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return f"${''.join(steps)}"
