"""ASGI's events: checks before one is sent, and readings of one that was received.

Servers answer an invalid event with anything from silence to the end of the process, so
each event is checked before it is sent. Servers also spell valid events differently, so
the rest of the package reads an event only by the functions below.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, MutableMapping
from itertools import pairwise
from typing import Any, Final, TypeAlias

from .closing import CloseCode, CloseInfo, checked_code, fitted_reason
from .errors import MessageTypeError
from .headers import checked_response_headers
from .states import ACCEPT, CLOSE, DISCONNECT, RESPONSE_BODY, RESPONSE_START, SEND

Event: TypeAlias = MutableMapping[str, Any]

# The types that a binary message can be sent as. A copy is made of a mutable one.
Binary: TypeAlias = bytes | bytearray | memoryview

# The key under which a channel of our own puts the whole `CloseInfo` into its
# "websocket.disconnect".
INFO: Final = "anyws.info"

# The key that marks a "websocket.receive" of a channel of our own as a part of a
# message. Its value says whether another part follows.
MORE: Final = "anyws.more"

# The type of the event that is one fragment, for a channel of our own: "data" holds
# bytes; "kind" is "text" or "binary" in the first fragment of a message and `None` in
# the others; "fin" is true in the last.
FRAGMENT: Final = "anyws.fragment"

# The key by which a "websocket.send" or a fragment, for a channel of our own, says by
# the value `False` that its message is not to be compressed.
COMPRESS: Final = "anyws.compress"

# The key by which a "websocket.send", for a channel of our own, carries the payload of
# its frame, which was compressed before.
DEFLATED: Final = "anyws.deflated"

# The scheme of an `Authorization` header that holds a token. A page, which can add no
# header to the opening handshake, offers it as a subprotocol in front of the token:
# `new WebSocket(url, ["bearer", token])`.
BEARER: Final = "bearer"

# Where a server ends a connection for reasons of its own, it reports these codes to
# the application as if the peer had sent them.
_MAYBE_THE_SERVER: Final = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_FRAME_PAYLOAD_DATA,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
    }
)

# The statuses of responses that have no body, whatever their content-length says.
_NO_BODY: Final = frozenset({204, 304})

_NO_CLOSING_FRAME: Final = frozenset(
    {CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE}
)


def check_event(event: object) -> None:
    """Refuse an argument that is not an ASGI event, such as a plain message.

    Raises:
        TypeError: It is not a mapping with a type; the message names the methods that
            take a message.
    """
    if not isinstance(event, Mapping):
        what = type(event).__name__
    elif "type" not in event:
        what = 'one without "type"'
    else:
        return
    raise TypeError(
        f'send() takes an ASGI event, which is a dict with a "type", not {what}; '
        "send_text(), send_bytes() and send_message() take a message"
    )


def outgoing(
    event: Event, subprotocols: Container[str] = (), *, accepted: bool = True
) -> Event:
    """Check an event on its way to the server; repair what can be repaired.

    Keys that ASGI lets an application leave out are there in what is returned, with
    their defaults: some servers fail without them.

    Args:
        event: An ASGI message of the application.
        subprotocols: The subprotocols that the client offered.
        accepted: Whether the opening handshake is complete; before that, a close is an
            HTTP response, and no frame carries its code.

    Returns:
        The event to send. It is another object where something was repaired.
    Raises:
        TypeError: A value has a type that servers do not take.
        ValueError: A value must not be sent; the message says which and why.
    """
    kind = event["type"]
    if kind == SEND:
        return measured(event)[0]
    if kind == ACCEPT:
        return _checked_accept(event, subprotocols)
    if kind == CLOSE:
        return checked_close(event, framed=accepted)
    if kind == RESPONSE_START:
        return _checked_response_start(event)
    if kind == RESPONSE_BODY:
        return _checked_response_body(event)
    return event


def _checked_response_start(event: Event) -> Event:
    status = event.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status must be an int, not {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"status {status} is not one of a final response, 200 to 599")
    headers = checked_response_headers(event.get("headers") or (), "denial")
    return {**event, "status": int(status), "headers": headers}


def _checked_response_body(event: Event) -> Event:
    body = event.get("body")
    if body is None:
        body = b""
    if not isinstance(body, Binary):
        raise TypeError(f"body must be bytes, not {type(body).__name__}")
    more_body = bool(event.get("more_body", False))
    return {**event, "body": bytes(body), "more_body": more_body}


def has_responses(scope: Mapping[str, Any]) -> bool:
    """Whether the server can answer an opening handshake by an HTTP response.

    Source: ASGI "websocket.http.response".
    """
    return "websocket.http.response" in (scope.get("extensions") or {})


def body_left(event: Event, left: int | None) -> int | None:
    """Count the bytes of a denial response's body against its `content-length`.

    A client that gets another number fails the response and, over HTTP/2, the whole
    connection.

    Args:
        event: A checked event of the opening handshake.
        left: What this returned for the event before; `None` at first.

    Returns:
        How many bytes are still to come; `None` where no length was declared.
    Raises:
        ValueError: The body becomes longer than was declared, or stays shorter.
    """
    if event["type"] == RESPONSE_START:
        declared = dict(event["headers"]).get(b"content-length")
        has_body = event["status"] not in _NO_BODY
        return int(declared) if declared and has_body else None
    if event["type"] != RESPONSE_BODY or left is None:
        return left
    left -= len(event["body"])
    if left < 0 or (left > 0 and not event["more_body"]):
        wrong = f"{-left} bytes longer" if left < 0 else f"{left} bytes shorter"
        raise ValueError(f"the body is {wrong} than the response's content-length")
    return left


def _checked_accept(event: Event, subprotocols: Container[str]) -> Event:
    subprotocol = event.get("subprotocol")
    if subprotocol is not None and subprotocol not in subprotocols:
        raise ValueError(
            f"subprotocol {subprotocol!r} was not offered by the client, "
            f"which offered {without_token(subprotocols)!r}"
        )
    headers = checked_response_headers(event.get("headers") or ())
    return {**event, "subprotocol": subprotocol, "headers": headers}


def token_in(subprotocols: Container[str]) -> str | None:
    """Return the token that is offered behind `BEARER`; `None`: there is none."""
    offers = subprotocols if isinstance(subprotocols, list | tuple) else ()
    following = (then for name, then in pairwise(offers) if name == BEARER)
    return next(following, None)


def token_of(authorization: str | None) -> str | None:
    """Return the token of an `Authorization: Bearer` header; `None`: there is none.

    The name of the scheme is in any case (RFC 9110 section 11.1).

    Source: RFC 6750 section 2.1.
    """
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == BEARER else None


def without_token(subprotocols: Container[str]) -> Container[str]:
    """Return the subprotocols as an error message may show them."""
    token = token_in(subprotocols)
    if token is None:
        return subprotocols
    return ["***" if name == token else name for name in subprotocols]  # type: ignore[attr-defined]  # it has a token, so it is a list


def measured(event: Event) -> tuple[Event, int]:
    """Check a `websocket.send` event; return it with its payload's size in bytes.

    Raises:
        TypeError: The payload is neither `str` nor bytes.
        ValueError: The event has both kinds of payload, or none; or a text contains a
            lone surrogate, which UTF-8 cannot encode (`UnicodeEncodeError`).
    """
    text, data = event.get("text"), event.get("bytes")
    if data is None and isinstance(text, str):
        size = len(text) if text.isascii() else len(text.encode())
        return (event if len(event) == 2 else _bare(event, "text", text)), size
    if text is None and data is None and len(event) == 2:
        raise TypeError(f'"{SEND}" takes str or bytes, not None')
    if (text is None) == (data is None):
        raise ValueError(f'"{SEND}" takes exactly one of "text" and "bytes"')
    if text is not None:
        raise TypeError(f"str expected, not {type(text).__name__}")
    if isinstance(data, bytes) and len(event) == 2:
        return event, len(data)
    if not isinstance(data, Binary):
        raise TypeError(f"bytes expected, not {type(data).__name__}")
    # A copy: the caller may change its buffer before the server has taken it.
    data = bytes(data)
    return _bare(event, "bytes", data), len(data)


def _bare(event: Event, kind: str, payload: str | bytes) -> Event:
    """Return a message without the keys that mean nothing."""
    bare: Event = {"type": SEND, kind: payload}
    if event.get(COMPRESS) is False:
        bare[COMPRESS] = False
    return bare


def checked_close(event: Event, *, framed: bool) -> Event:
    """Check a `websocket.close` event on its way to the server; repair its reason.

    Args:
        event: An ASGI message of the application.
        framed: Whether its code and reason will stand in a closing frame.
    Raises:
        TypeError: The code is not an int.
        ValueError: A closing frame must not carry the code.
    """
    code = event.get("code")
    if code is None:
        code = CloseCode.NORMAL_CLOSURE
    return {
        "type": CLOSE,
        "code": checked_code(code, framed=framed),
        "reason": fitted_reason(event.get("reason")),
    }


def payload_of(event: Event) -> str | bytes:
    """Return the message that a `websocket.receive` or `.send` event carries."""
    payload = event.get("text")
    if payload is None:
        payload = event.get("bytes")
    if payload is None:
        raise RuntimeError(f'ASGI message "{event["type"]}" carries no payload')
    return payload  # type: ignore[no-any-return]  # the server vouches for the type


def size_of(event: Event) -> int:
    """Return the size of an event's payload, in bytes."""
    payload = event.get("text")
    if payload is None:
        return len(event.get("bytes") or b"")
    if payload.isascii():
        return len(payload)
    return len(payload.encode("utf-8", "surrogatepass"))


def text_of(event: Event) -> str:
    """Return a received event's text.

    Raises:
        MessageTypeError: The event is a binary message.
    """
    text = event.get("text")
    if text is None:
        payload_of(event)
        raise MessageTypeError("text", "bytes")
    return text  # type: ignore[no-any-return]  # the server vouches for the type


def bytes_of(event: Event) -> bytes:
    """Return a received event's bytes.

    Raises:
        MessageTypeError: The event is a text message.
    """
    payload = payload_of(event)
    if isinstance(payload, str):
        raise MessageTypeError("bytes", "text")
    return payload


class Disconnect(dict[str, Any]):
    """A `websocket.disconnect` that knows more than ASGI can say.

    It is equal to the plain event. A session on top of the one that delivers it can
    tell by it that its own end is the end of that session, and not another one with the
    same code.

    Attributes:
        info: How the connection ended.
    """

    def __init__(self, info: CloseInfo) -> None:
        super().__init__(type=DISCONNECT, code=info.code, reason=info.reason)
        self.info = info


def info_of(event: Event) -> CloseInfo:
    """Read how the connection ended from a server's `websocket.disconnect`."""
    if isinstance(event, Disconnect):
        return event.info
    known: CloseInfo | None = event.get(INFO)
    if known is not None:
        return known
    code, reason = event.get("code"), event.get("reason") or ""
    if not isinstance(code, int):
        code = CloseCode.NO_STATUS_RCVD
    if code in _NO_CLOSING_FRAME or code in _MAYBE_THE_SERVER:
        return CloseInfo(int(code), reason, "unknown", None)
    return CloseInfo(code, reason, "peer", True)


def disconnect_of(info: CloseInfo) -> Event:
    """Make the `websocket.disconnect` that tells an application of an end."""
    return Disconnect(info)
