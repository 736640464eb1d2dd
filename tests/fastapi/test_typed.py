"""`Typed`: the messages of a connection by their types, in a handler's signature."""

from __future__ import annotations

from typing import Annotated, Any, Never

import msgspec
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

import anyws
from anyws.fastapi import APIRouter, Guarded, Typed, guarded, typed
from anyws.testing import connect


class Ask(msgspec.Struct, tag="ask"):
    """Ask for a word so many times."""

    word: str
    times: int = 1


class Stop(msgspec.Struct, tag="stop"):
    """Ask for no more."""


class Answer(BaseModel):
    """A word."""

    word: str = Field(max_length=8)


async def answer(ws: Guarded, messages: Typed[Ask | Stop, Answer]) -> None:
    """Answer until a stop."""
    await ws.accept()
    async for message in messages:
        if isinstance(message, Stop):
            break
        await messages.send(Answer(word=message.word * message.times))


async def also_answer(ws: anyws.WebSocket, messages: Typed[Ask | Stop, Answer]) -> None:
    """Answer, where the class is annotated."""
    await answer(ws, messages)


@pytest.mark.parametrize("router", [FastAPI, APIRouter])
async def test_a_handler_gets_typed_messages(router: Any) -> None:
    """On FastAPI's routers and on ours."""
    app = FastAPI()
    if router is FastAPI:
        app.websocket("/ws")(answer)
    else:
        ours = APIRouter()
        ours.websocket("/ws")(also_answer)
        app.include_router(ours)
    async with connect(app) as peer:
        await peer.send_json({"type": "ask", "word": "ha", "times": 2})
        assert await peer.receive_json() == {"word": "haha"}
        await peer.send_json({"type": "stop"})
        assert (await peer.wait_closed()).code == 1000


Strict = Annotated[
    anyws.TypedMessages[Ask, Answer], Depends(typed(Ask, Answer, on_invalid=1007))
]


async def test_a_route_says_what_an_invalid_message_does() -> None:
    """A code closes, and the reason says where the fault is."""
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(ws: Guarded, messages: Strict) -> None:
        await ws.accept()
        await messages.receive()

    async with connect(app) as peer:
        await peer.send_json({"type": "ask", "word": 1})
        info = await peer.wait_closed()
        assert info.code == 1007
        assert "$.word" in info.reason


SHORT = anyws.Options(max_message_bytes=8)
Short = Annotated[anyws.WebSocket, Depends(guarded(options=SHORT))]


async def test_it_shares_the_connection_of_a_route_with_options() -> None:
    """Its settings hold for both."""
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(
        ws: Short,
        messages: Typed[list[int], int],
    ) -> None:
        await ws.accept()
        async for numbers in messages:
            await messages.send(sum(numbers))

    async with connect(app) as peer:
        await peer.send_text("[1,2]")
        assert await peer.receive_text() == "3"
        await peer.send_text("[1,2,3,4,5]")
        assert (await peer.wait_closed()).code == 1009


async def test_nothing_may_come_where_never_is_the_type() -> None:
    """Any message is refused; and where `Never` is sent, any value."""
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(ws: Guarded, messages: Typed[Never, int]) -> None:
        await ws.accept()
        await messages.send(7)
        with pytest.raises(anyws.MessageDecodeError, match="no message is expected"):
            await messages.receive()
        with pytest.raises(ValueError, match="no message is expected"):
            await ws.typed(int, Never).send(7)  # type: ignore[arg-type]  # so it is

    async with connect(app) as peer:
        assert await peer.receive_text() == "7"
        await peer.send_text("8")
        assert (await peer.wait_closed()).code == 1000


def test_a_mistake_is_an_error_where_it_is_written() -> None:
    """Not when the first client comes."""
    annotation: Any = Typed
    with pytest.raises(TypeError, match="two types"):
        annotation[Ask]
    with pytest.raises(TypeError, match="cannot be the type of a message"):
        annotation[object, Ask]
    with pytest.raises(TypeError, match="on_invalid"):
        typed(Ask, Stop, on_invalid="close")  # type: ignore[arg-type]  # as users do
    with pytest.raises(ValueError, match="1005"):
        typed(Ask, Stop, on_invalid=1005)


def test_dependencies_are_equal_for_equal_types() -> None:
    """Also where the types have no hash; the order of a union counts."""
    tagged: Any = Annotated[int, {"no": "hash"}]
    assert typed(Ask, tagged) == typed(Ask, tagged)
    assert hash(typed(Ask, tagged)) == hash(typed(Ask, tagged))
    assert typed(Ask | Stop, int) != typed(Stop | Ask, int)
    assert typed(Ask, int) != typed(Ask, int, on_invalid=1007)
    assert typed(Ask, int) != "typed"
