"""The application that `hypercorn/test_engine_h2.py` runs: ASGI without a framework.

Each handler notes under the name of its case what it saw; `GET /notes?case=...` gives
that back.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

import anyws

Handler = Callable[..., Awaitable[None]]

NOTES: dict[str, list[Any]] = defaultdict(list)
RELEASED: dict[str, anyio.Event] = defaultdict(anyio.Event)
HANDLERS: dict[str, Handler] = {}
CHUNK = b"x" * 16384


def at(path: str) -> Callable[[Handler], Handler]:
    """Serve a handler at a path."""

    def decorate(handler: Handler) -> Handler:
        HANDLERS[path] = handler
        return handler

    return decorate


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Find the handler."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    case = scope["query_string"].decode().partition("=")[2]
    notes = NOTES[case]
    try:
        await HANDLERS[scope["path"]](scope, receive, send, case)
    except BaseException as exc:
        if scope["type"] == "websocket":
            notes.append(["raised", type(exc).__name__])
        raise
    finally:
        if scope["path"] != "/notes":
            notes.append(["done"])


async def lifespan(receive: Any, send: Any) -> None:
    """Start and stop."""
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{event['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def accept(receive: Any, send: Any) -> None:
    """Accept the opening handshake."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def note_end(receive: Any, case: str) -> None:
    """Read to the end, and note it."""
    count = 0
    while (event := await receive())["type"] != "websocket.disconnect":
        count += 1
    NOTES[case].append(["read", count])
    NOTES[case].append(["end", event["code"], event.get("reason") or ""])


# WebSockets


@at("/echo")
async def echo(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Send back what comes."""
    await accept(receive, send)
    NOTES[case].append(["http", scope["http_version"]])
    while (event := await receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})
    NOTES[case].append(["end", event["code"], event.get("reason") or ""])


@at("/transport")
async def transport(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Note what is known of the connection that carries the stream."""
    ws = anyws.WebSocket(scope, receive, send)
    await ws.accept()
    tls = scope["extensions"].get("tls", {})
    NOTES[case].append(
        [
            "transport",
            ws.peer_address,
            ws.extra(SocketAttribute.remote_address),
            ws.extra(TLSAttribute.tls_version, None),
            tls.get("tls_version"),
        ]
    )
    await ws.close()


@at("/close")
async def close(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Close after one message, and wait for the end."""
    await accept(receive, send)
    await receive()
    await send({"type": "websocket.close", "code": 4001, "reason": "bye"})
    await note_end(receive, case)


@at("/return")
async def return_(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Close after one message, and return at once."""
    await accept(receive, send)
    await receive()
    await send({"type": "websocket.close", "code": 4001, "reason": "bye"})


@at("/deaf")
async def deaf(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Read nothing until told to."""
    await accept(receive, send)
    await RELEASED[case].wait()
    await note_end(receive, case)


@at("/firehose")
async def firehose(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Only send, and note how much could be."""
    await accept(receive, send)
    note = ["sent", 0]
    NOTES[case].append(note)
    for count in itertools.count(1):
        await send({"type": "websocket.send", "bytes": CHUNK})
        note[1] = count * len(CHUNK)


@at("/reject")
async def reject(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Refuse the opening handshake."""
    await receive()
    await send({"type": "websocket.close"})


@at("/deny")
async def deny(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Refuse the opening handshake with a response of its own."""
    await receive()
    start = {"type": "websocket.http.response.start", "status": 418, "headers": []}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": b"no tea"})


BAD_HEADERS = [
    (b"x-a", b"a\r\nx-b: b"),
    (b"x-a", b"a\x0bb"),
    (b"te", b"gzip"),
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"x"),
]


async def try_bad_headers(send: Any, case: str, event: Any) -> None:
    """Send an event with each of them; note how many were refused."""
    refused = 0
    for header in BAD_HEADERS:
        try:
            await send({**event, "headers": [header]})
        except ValueError:
            refused += 1
    NOTES[case].append(["refused", refused])


@at("/picky")
async def picky(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Accept at last, with a header as `http.cookies` writes it."""
    await receive()
    event = {"type": "websocket.accept"}
    await try_bad_headers(send, case, event)
    await send({**event, "headers": [(b"set-cookie", b" a=1; Path=/")]})
    await receive()
    await send({"type": "websocket.send", "text": "open"})
    await receive()


@at("/picky-deny")
async def picky_deny(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Deny at last, by events that leave out what has a default."""
    await receive()
    event = {"type": "websocket.http.response.start", "status": 401}
    await try_bad_headers(send, case, event)
    await send(event)
    await send({"type": "websocket.http.response.body"})


@at("/boom")
async def boom(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Fail after one message."""
    await accept(receive, send)
    await receive()
    raise RuntimeError("Boom")


# HTTP


async def respond(
    send: Any, body: bytes, status: int = 200, kind: str = "json"
) -> None:
    """Send a whole response."""
    headers = [(b"content-type", f"text/{kind}".encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@at("/page")
async def page(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Give a browser something to be on."""
    await respond(send, b"<!doctype html><title>page</title>", kind="html")


@at("/notes")
async def notes(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Return the notes of a case."""
    await respond(send, json.dumps(NOTES[case]).encode())


@at("/release")
async def release(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Let a handler go on."""
    RELEASED[case].set()
    await respond(send, b"null")


@at("/upload")
async def upload(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Read a body, but not before told to."""
    await RELEASED[case].wait()
    size, more = 0, True
    while more:
        event = await receive()
        size, more = size + len(event["body"]), event["more_body"]
    await respond(send, json.dumps(size).encode())


@at("/refuse")
async def refuse(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Respond without reading the body."""
    await RELEASED[case].wait()
    await respond(send, b"null", 413)


@at("/download")
async def download(scope: Any, receive: Any, send: Any, case: str) -> None:
    """Send much."""
    headers: list[Any] = []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(64):
        event = {"type": "http.response.body", "body": CHUNK, "more_body": True}
        await send(event)
    await send({"type": "http.response.body", "body": b""})
