"""Close codes, close reasons, and the record of how a connection ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, TypeAlias

Initiator: TypeAlias = Literal["peer", "local", "network", "unknown"]

MAX_REASON_BYTES: Final = 123  # RFC 6455 section 5.5: 125 bytes less the code's two


class CloseCode(IntEnum):
    """The close codes of the IANA registry (RFC 6455 sections 7.4.1 and 11.7)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_FRAME_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXT = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """How a connection ended.

    Attributes:
        code: The close code; 1005 where none was sent, 1006 where no closing frame
            came or the server hides what came.
        reason: The close reason, at most 123 bytes of UTF-8; empty if there is none.
        initiator: The end that began to close: `"peer"`, `"local"`, or `"network"`
            where neither did. `"unknown"` where the server does not say, as with every
            1006 of stock Hypercorn.
        clean: Whether the closing handshake was completed; `None` where the server
            hides that.
    """

    code: int
    reason: str = ""
    initiator: Initiator = "unknown"
    clean: bool | None = None


# The codes that a closing frame may carry (RFC 6455 section 7.4).
_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


def may_be_sent(code: object) -> bool:
    """Whether a closing frame may carry this code."""
    return isinstance(code, int) and code in _CODES


def checked_code(code: object, *, framed: bool = True) -> int:
    """Return a close code as an int.

    Args:
        code: The code.
        framed: Whether it will stand in a closing frame.
    Raises:
        TypeError: The code is not an int.
        ValueError: The code will stand in a closing frame, which must not carry it.
    """
    if not isinstance(code, int):
        raise TypeError(f"a close code must be an int, not {type(code).__name__}")
    if framed and code not in _CODES:
        raise ValueError(
            f"close code {int(code)} must not be sent: "
            "use 1000-1003, 1007-1014 or 3000-4999"
        )
    return int(code)


def fitted_reason(reason: object) -> str:
    """Make any object a close reason: text, cut at a character to 123 bytes."""
    if reason is None:
        return ""
    if isinstance(reason, bytes | bytearray | memoryview):
        text = bytes(reason).decode("utf-8", "replace")
    elif isinstance(reason, str):
        text = reason
    else:  # FastAPI's handler for invalid parameters passes a list of errors
        text = _of_errors(reason) or json.dumps(reason, default=str, ensure_ascii=False)
    encoded = text.encode("utf-8", "replace")
    return encoded[:MAX_REASON_BYTES].decode("utf-8", "ignore")


def _of_errors(reason: object) -> str:
    """Say in words what pydantic's list of errors says; empty for anything else."""
    if not isinstance(reason, list):
        return ""
    words = []
    for error in reason:
        place = error.get("loc") if isinstance(error, dict) else None
        if not isinstance(place, list | tuple) or "msg" not in error:
            return ""
        words.append(f"{'.'.join(map(str, place))}: {error['msg']}")
    return "; ".join(words)
