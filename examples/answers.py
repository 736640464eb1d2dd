"""Stream an answer token by token, until it ends or is interrupted; with a page.

hypercorn -k trio answers:app

A text message is a question, and an empty one means "stop". Both interrupt the current
answer: nothing more is generated for it. The same happens when the client leaves, in
any way, although the handler only sends at that time.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws

PAGE = Path(__file__).with_name("answers.html").read_text()
WORDS = (
    (
        "That is a good question , and a long answer is the best one to interrupt . "
        "Ask another one , or stop this one : no more of it will be generated ."
    )
    .replace(" ,", ",")
    .replace(" .", ".")
    .replace(" :", ":")
)


async def tokens(question: str) -> AsyncGenerator[str]:
    """Generate an answer; a real application would call a language model."""
    for word in itertools.islice(itertools.cycle(WORDS.split()), 120):
        await anyio.sleep(0.08)
        yield f"{word} "


def is_text(message: str | bytes) -> bool:
    """Whether a message interrupts an answer."""
    return isinstance(message, str)


async def answer(ws: anyws.WebSocket, question: str) -> str | None:
    """Answer a question; return the message that interrupted the answer."""
    await ws.send_json({"question": question})
    with ws.cancel_on(is_text) as interruption, ws.cancel_on_disconnect():
        async with aclosing(tokens(question)) as generated:
            async for token in generated:
                await ws.send_json({"token": token})
    await ws.send_json({"end": "stopped" if interruption.interrupted else "complete"})
    message = interruption.message
    return None if message is None else str(message)


@anyws.endpoint(options=anyws.Options(max_message_bytes=16_384))
async def answers(ws: anyws.WebSocket) -> None:
    """Serve one client: a question at a time, the newest."""
    await ws.accept()
    question: str | None = None
    while True:
        while not question:  # there is none, or it was a stop
            question = await ws.receive_text()
        question = await answer(ws, question)


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", answers)])
