"""Typed messages: values of declared types in place of text and bytes."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import anyio
import msgspec
import pytest
from pydantic import BaseModel, Field, PositiveInt

import anyws
from anyws._messages import json_types

from ..support.channels import SCOPE, Channel
from ..support.ends import Ends, listening
from ..support.wired import CHANNELS


class Ask(msgspec.Struct, tag="ask"):
    """A question."""

    number: int


class Stop(msgspec.Struct, tag="stop"):
    """The wish to hear no more."""


@dataclass
class Point:
    """A message as a dataclass."""

    x: int
    y: int


class Move(TypedDict):
    """A message as a TypedDict."""

    by: int


class Pair(NamedTuple):
    """A message as a NamedTuple."""

    left: int
    right: str


class Cat(BaseModel):
    """A message as a model."""

    kind: Literal["cat"] = "cat"
    lives: PositiveInt = Field(alias="livesLeft")


class Dog(BaseModel):
    """Another model."""

    kind: Literal["dog"] = "dog"


@dataclass
class Owner:
    """A dataclass that holds a model."""

    pet: Cat


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Shout:
    """A codec that is no JSON, with an error of its own."""

    def encode(self, value: str) -> bytes:
        """Make bytes of it."""
        if not value:
            raise LookupError("nothing to shout")
        return value.upper().encode()

    def decode(self, message: str | bytes) -> str:
        """Take text only."""
        if isinstance(message, bytes):
            raise ValueError("text only")
        return f"{message[0]}!"


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


@pytest.fixture(params=["client", "server"])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ends]:
    """Give both ends, the near one in each role; the far one sends all back."""
    async with listening("memory", tmp_path) as listener:
        yield Ends(request.param, listener, tells=True)


VALUES: list[tuple[Any, Any, str]] = [
    (Ask | Stop, Ask(3), '{"type":"ask","number":3}'),
    (Ask | Stop, Stop(), '{"type":"stop"}'),
    (Point, Point(1, 2), '{"x":1,"y":2}'),
    (Move, {"by": 7}, '{"by":7}'),
    (Pair, Pair(1, "é"), '[1,"é"]'),
    (list[int] | None, None, "null"),
    (dict[str, list[int]], {"a": [1, 2]}, '{"a":[1,2]}'),
    (Cat, Cat(livesLeft=9), '{"kind":"cat","livesLeft":9}'),
    (Pet, Dog(), '{"kind":"dog"}'),
    (list[Pet], [Dog()], '[{"kind":"dog"}]'),
    (Owner, Owner(Cat(livesLeft=1)), '{"pet":{"kind":"cat","livesLeft":1}}'),
]


@pytest.mark.parametrize(("kind", "value", "text"), VALUES, ids=str)
async def test_a_value_goes_out_as_json_and_comes_back(
    ends: Ends, kind: Any, value: Any, text: str
) -> None:
    """Whatever its type is declared with, at both ends; as text, binary or either."""
    async with ends.near() as ws:
        messages = ws.typed(kind)
        await messages.send(value)
        assert await ws.receive_text() == text
        messages.send_nowait(value)
        received = await messages.receive()
        assert (received, type(received)) == (value, type(value))
        await ws.send_bytes(text.encode())
        assert await messages.receive() == value


async def test_what_is_received_may_differ_from_what_is_sent(channel: Channel) -> None:
    """Each direction has its own type, and its own library."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive('{"x":1,"y":2}', '{"x":3,"y":4}')
        messages = ws.typed(Point, Pet)
        seen = []
        async for point in messages:
            seen.append(point)
            await messages.send(Cat(livesLeft=point.x))
            if len(seen) == 2:
                channel.leave(1000)
        assert seen == [Point(1, 2), Point(3, 4)]


WRONG: list[tuple[Any, str, tuple[str, ...]]] = [
    (Ask | Stop, '{"type":"ask","number":"3"}', ("$.number",)),
    (Ask | Stop, '{"type":"walk"}', ("$.type",)),
    (list[Point], '[{"x":1,"y":2},{"x":1}]', ("$[1]",)),
    (Move, "7", ("$",)),
    (Cat, '{"kind":"cow","livesLeft":0}', ("$.kind", "$.livesLeft")),
    (list[Pet], '[{"kind":"dog"},{"kind":"cow"}]', ("$[1]",)),
    (Owner, '{"pet":{}}', ("$.pet.livesLeft",)),
]


@pytest.mark.parametrize(("kind", "text", "paths"), WRONG, ids=str)
async def test_an_error_says_where(
    ends: Ends, kind: Any, text: str, paths: tuple[str, ...]
) -> None:
    """What is not of the type is named by its path; the connection goes on."""
    async with ends.near() as ws:
        messages = ws.typed(kind)
        await ws.send_text(text)
        with pytest.raises(anyws.MessageValidationError) as caught:
            await messages.receive()
        error = caught.value
        assert tuple(path for path, _ in error.problems) == paths
        assert error.path == paths[0]
        assert str(error).startswith(f"{paths[0]}: {error.msg}")
        copied = pickle.loads(pickle.dumps(error))
        assert (str(copied), copied.problems) == (str(error), error.problems)
        await ws.send_text("still here")
        assert await ws.receive_text() == "still here"


@pytest.mark.parametrize("kind", [list[Point], list[Pet]], ids=str)
@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ('[\n"é" x]', (2, 5)),
        ("[", (1, 2)),
        ("", (1, 1)),
        (b'["\xff"]', None),
        ("[" * 100_000, None),
    ],
    ids=["character", "truncated", "empty", "no UTF-8", "too deep"],
)
async def test_what_is_no_json_is_told_as_by_receive_json(
    channel: Channel, kind: Any, payload: str | bytes, place: tuple[int, int] | None
) -> None:
    """Line and column are those of the message, where the library knows them."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive(payload)
        with pytest.raises(anyws.MessageDecodeError) as caught:
            await ws.typed(kind).receive()
        assert caught.value.__cause__ is not None
        if place is not None and not isinstance(
            caught.value, anyws.MessageValidationError
        ):
            line, column = caught.value.lineno, caught.value.colno
            assert line == place[0]
            assert abs(column - place[1]) <= 2  # the libraries stop at their own pace


async def test_json_of_any_type_may_be_nested_too_deep(channel: Channel) -> None:
    """That is a fault of the message."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("[" * 100_000)
        messages: anyws.TypedMessages[Any, Any] = ws.typed(Any)
        with pytest.raises(anyws.MessageDecodeError):
            await messages.receive()


@pytest.mark.parametrize("code", [1007, anyws.CloseCode.POLICY_VIOLATION, 4000])
async def test_an_invalid_message_may_close_the_connection(
    channel: Channel, code: int
) -> None:
    """The peer hears what is wrong, the handler why the connection ended."""
    async with channel.websocket() as ws:
        await ws.accept()
        messages = ws.typed(Point, on_invalid=code)
        channel.arrive('{"x":1,"y":2}', '{"x":1}', '{"x":5,"y":6}')
        await anyio.wait_all_tasks_blocked()
        assert await anext(messages) == Point(1, 2)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await anext(messages)
        assert isinstance(caught.value.__cause__, anyws.MessageValidationError)
        assert caught.value.info is ws.close_info
        with pytest.raises(anyws.ConnectionClosed):
            await messages.send(Point(0, 0))
        assert await messages.receive() == Point(5, 6)
    assert channel.closes == [(code, "$: Object missing required field `y`")]


async def test_an_invalid_message_may_be_answered(channel: Channel) -> None:
    """The answer goes out as any other message, and the iteration goes on."""

    def answer(error: anyws.MessageDecodeError) -> dict[str, str]:
        path = getattr(error, "path", "no JSON")
        return {"error": path}

    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("}", '{"x":"1","y":2}', '{"x":5,"y":6}')
        messages = ws.typed(Point, dict[str, str], on_invalid=answer)
        assert await messages.receive() == Point(5, 6)
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ['{"error":"no JSON"}', '{"error":"$.x"}']


async def test_an_answer_that_was_cancelled_is_sent_by_the_next_call(
    channel: Channel,
) -> None:
    """A receive that is cancelled while its answer waits for room loses neither."""
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        with pytest.raises(anyio.WouldBlock):
            while True:
                ws.send_nowait("full")
                await anyio.wait_all_tasks_blocked()
        channel.arrive("}", "1")
        messages = ws.typed(int, str, on_invalid=lambda _: "answer")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(messages.receive)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        channel.resume()
        assert await messages.receive() == 1
        await anyio.wait_all_tasks_blocked()
        assert channel.messages[-1] == '"answer"'
        assert channel.messages.count('"answer"') == 1


async def test_an_answer_that_the_codec_does_not_take_is_dropped(
    channel: Channel,
) -> None:
    """The mistake is raised once, and the next message is received."""
    async with channel.websocket() as ws:
        await ws.accept()
        wrong: Any = object()
        messages = ws.typed(int, on_invalid=lambda _: wrong)
        channel.arrive("}", "1")
        with pytest.raises(TypeError, match="unsupported"):
            await messages.receive()
        assert await messages.receive() == 1


async def test_what_came_before_the_end_is_read_though_an_answer_is_in_vain(
    channel: Channel,
) -> None:
    """A peer that has gone needs no answer; its valid messages are still read."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("}", "1")
        channel.leave(1000)
        await ws.wait_closed()
        messages = ws.typed(int, on_invalid=lambda _: 0)
        assert [number async for number in messages] == [1]


async def test_a_codec_takes_the_place_of_both_types(channel: Channel) -> None:
    """Its ValueError is an invalid message; any other error is raised as itself."""
    async with channel.websocket() as ws:
        await ws.accept()
        messages = ws.typed(codec=Shout())
        channel.arrive("hello", b"hello", "", "bye")
        assert await messages.receive() == "h!"
        with pytest.raises(anyws.MessageDecodeError, match="text only"):
            await messages.receive()
        with pytest.raises(IndexError):
            await messages.receive()
        await messages.send("a")
        with pytest.raises(LookupError):
            await messages.send("")
        assert await messages.receive() == "b!"
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == [b"A"]


async def test_msgspec_speaks_for_itself_in_a_codec(channel: Channel) -> None:
    """Its errors say where, in whatever format."""

    class MessagePack:
        encode = staticmethod(msgspec.msgpack.encode)
        decode = staticmethod(msgspec.msgpack.Decoder(Point).decode)

    async with channel.websocket() as ws:
        await ws.accept()
        codec: Any = MessagePack()  # its `decode` takes no text
        messages = ws.typed(codec=codec)
        channel.arrive(msgspec.msgpack.encode({"x": 1, "y": 2}))
        assert await messages.receive() == Point(1, 2)
        channel.arrive(msgspec.msgpack.encode({"x": 1, "y": "2"}))
        with pytest.raises(anyws.MessageValidationError) as caught:
            await messages.receive()
        assert caught.value.path == "$.y"


async def test_a_value_that_is_no_model_is_not_sent(channel: Channel) -> None:
    """Pydantic, which only warns of it, is asked to refuse; nothing goes out."""
    async with channel.websocket() as ws:
        await ws.accept()
        messages: Any = ws.typed(Cat)
        with pytest.raises(ValueError, match="Expected `Cat`"):
            await messages.send({"kind": "cat"})
        await anyio.wait_all_tasks_blocked()
        assert not channel.messages


async def test_a_cancelled_receive_loses_nothing(channel: Channel) -> None:
    """The view keeps law 1."""
    async with channel.websocket() as ws:
        await ws.accept()
        messages = ws.typed(int)
        for number in range(50):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await messages.receive()
            channel.arrive(str(number))
            assert await messages.receive() == number


async def test_a_connection_that_broke_ends_no_iteration_in_silence(
    channel: Channel,
) -> None:
    """As that of the connection itself."""
    async with channel.websocket(max_message_bytes=4) as ws:
        await ws.accept()
        channel.arrive("[1,2,3]")
        with pytest.raises(anyws.MessageTooBig):
            async for _ in ws.typed(list[int]):
                pytest.fail("a message")


async def test_a_plain_websocket_has_typed_messages_too() -> None:
    """Without a session the policy closes by the class's own close."""
    channel = Channel()
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    await ws.accept()
    messages = ws.typed(Point, on_invalid=1007)
    await messages.send(Point(1, 2))
    with pytest.raises(RuntimeError, match="async with"):
        messages.send_nowait(Point(1, 2))
    channel.arrive('{"x":1,"y":2}', "{}")
    assert await messages.receive() == Point(1, 2)
    with pytest.raises(anyws.ConnectionClosed) as caught:
        await anext(messages)
    assert isinstance(caught.value.__cause__, anyws.MessageDecodeError)
    assert channel.messages == ['{"x":1,"y":2}']
    assert [code for code, _ in channel.closes] == [1007]
    channel = Channel()
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    await ws.accept()
    channel.leave(1000)
    assert [point async for point in ws.typed(Point)] == []


async def _answer(_: anyws.MessageDecodeError) -> None:
    pass


REFUSED: dict[str, tuple[type[Exception], str, Callable[[Any], Any]]] = {
    "no type": (TypeError, "types of messages", lambda ws: ws.typed()),
    "both": (TypeError, "types of", lambda ws: ws.typed(int, codec=Shout())),
    "a class": (TypeError, "methods encode", lambda ws: ws.typed(codec=Shout)),
    "no codec": (TypeError, "methods encode", lambda ws: ws.typed(codec=json_types)),
    "no message": (TypeError, "cannot be the type", lambda ws: ws.typed(Channel)),
    "nor received": (
        TypeError,
        "cannot be the type",
        lambda ws: ws.typed(Channel, int),
    ),
    "nor sent": (TypeError, "cannot be the type", lambda ws: ws.typed(int, Channel)),
    "two libraries": (TypeError, "one library", lambda ws: ws.typed(Cat | Ask)),
    "no type at all": (TypeError, "3", lambda ws: ws.typed(3)),
    "a policy": (TypeError, "on_invalid", lambda ws: ws.typed(int, on_invalid="x")),
    "true": (TypeError, "on_invalid", lambda ws: ws.typed(int, on_invalid=True)),
    "async": (TypeError, "async", lambda ws: ws.typed(int, on_invalid=_answer)),
    "a code": (ValueError, "1006", lambda ws: ws.typed(int, on_invalid=1006)),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_wrong_is_refused_at_once(case: str) -> None:
    """Before a message is consumed."""
    error, words, call = REFUSED[case]
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(error, match=words):
            call(ws)


def without(*missing: str) -> Callable[[str], object]:
    """Return a `find_spec` for an environment that lacks packages."""
    return lambda name: None if name in missing else find_spec(name)


def test_without_msgspec_pydantic_takes_its_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without either an error says what to install."""
    json_types._decoder.cache_clear()
    json_types._encoder.cache_clear()
    monkeypatch.setattr(json_types, "find_spec", without("msgspec"))
    codec = json_types.JsonTypes(Point, Point)
    assert codec.decode('{"x":1,"y":2}') == Point(1, 2)
    assert codec.encode(Point(1, 2)) == '{"x":1,"y":2}'
    monkeypatch.setattr(json_types, "find_spec", without("msgspec", "pydantic"))
    with pytest.raises(ModuleNotFoundError, match=r"anyws-websockets\[msgspec\]"):
        json_types.JsonTypes(Move, Move)
    json_types._decoder.cache_clear()
    json_types._encoder.cache_clear()


def test_what_a_library_makes_of_a_type_is_kept() -> None:
    """Unless the type cannot be hashed; unions in another order are other types."""
    one, other = (json_types.JsonTypes(Pet, Pet) for _ in range(2))
    assert one.decode.__self__ is other.decode.__self__  # type: ignore[attr-defined]  # a bound method
    assert one.encode is other.encode
    unhashable = Annotated[int, Field(examples=[[1]])]
    json_types.JsonTypes(unhashable, unhashable)
    meta: Any = Annotated[int, ["a list"]]
    assert json_types.JsonTypes(meta, meta).decode("1") == 1
    assert Cat | Dog == Dog | Cat
    orders = [json_types.JsonTypes(kind, int) for kind in (Cat | Dog, Dog | Cat)]
    assert orders[0].decode != orders[1].decode
