"""Middlewares that wrap `send`, of every kind, and what they make of messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Wrap: TypeAlias = Callable[[Send], Send]
Payload: TypeAlias = str | bytes


def wrapping(app: ASGIApp, wrap: Wrap) -> ASGIApp:
    """Return an application with a middleware that wraps `send`."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, wrap(send))

    return middleware


def louder(event: Message) -> Message:
    """Append "!" to a text message."""
    if event.get("text") is None:
        return event
    return {**event, "text": event["text"] + "!"}


def closure(send: Send) -> Send:
    """Be what most middlewares are."""

    async def wrapped(event: Message) -> None:
        await send(louder(event))

    return wrapped


async def shout(send: Send, event: Message) -> None:
    """Be a function that is given `send`."""
    await send(louder(event))


class Louder:
    """Be an object that is called."""

    def __init__(self, send: Send) -> None:
        self.send = send

    async def __call__(self, event: Message) -> None:
        """Send."""
        await self.send(louder(event))


def hesitant(send: Send) -> Send:
    """Wait before each message, less each time: without an order they turn round."""
    turns = 20

    async def wrapped(event: Message) -> None:
        nonlocal turns
        turns -= 1
        for _ in range(turns):
            await checkpoint()
        await send(louder(event))

    return wrapped


def dropping(send: Send) -> Send:
    """Drop the message "b", without a checkpoint."""

    async def wrapped(event: Message) -> None:
        if event.get("text") != "b":
            await send(event)

    return wrapped


def doubling(send: Send) -> Send:
    """Send each message twice."""

    async def wrapped(event: Message) -> None:
        await send(event)
        if event["type"] == "websocket.send":
            await send(event)

    return wrapped


def binary(send: Send) -> Send:
    """Send text as bytes."""

    async def wrapped(event: Message) -> None:
        if event.get("text") is not None:
            event = {"type": event["type"], "bytes": event["text"].encode()}
        await send(event)

    return wrapped


class Boom(Exception):
    """What a middleware of a test raises."""


def raising(error: BaseException, at: str = "b") -> Wrap:
    """Raise at one message."""

    def wrap(send: Send) -> Send:
        async def wrapped(event: Message) -> None:
            if event.get("text") == at:
                raise error
            await send(event)

        return wrapped

    return wrap


class Kind(NamedTuple):
    """A kind of wrapping, and what it makes of each of three messages."""

    wrap: Wrap
    made: Callable[[str], list[Payload]]


KINDS: Final[dict[str, Kind]] = {
    "closure": Kind(closure, lambda text: [text + "!"]),
    "partial": Kind(lambda send: partial(shout, send), lambda text: [text + "!"]),
    "object": Kind(Louder, lambda text: [text + "!"]),
    "waits": Kind(hesitant, lambda text: [text + "!"]),
    "drops": Kind(dropping, lambda text: [] if text == "b" else [text]),
    "doubles": Kind(doubling, lambda text: [text, text]),
    "binary": Kind(binary, lambda text: [text.encode()]),
    "two": Kind(lambda send: binary(hesitant(send)), lambda text: [text.encode()]),
}


class Gate:
    """A middleware whose `send` holds each message until the test lets it go on.

    Attributes:
        begun: The payloads whose turn has begun.
    """

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.opened = anyio.Event()

    def wrap(self, send: Send) -> Send:
        """Wrap `send`."""

        async def wrapped(event: Message) -> None:
            if event["type"] == "websocket.send":
                self.begun.append(event.get("text"))
                await self.opened.wait()
            await send(event)

        return wrapped

    def open(self) -> None:
        """Let the messages go on."""
        self.opened.set()
