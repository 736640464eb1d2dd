"""Answers that are sent token by token, until the client stops them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

import anyws


async def answer(question: str) -> AsyncIterator[str]:
    """Produce the tokens of an answer; a real application asks a model."""
    for number in range(10):
        await anyio.sleep(0.1)
        yield f"{question} {number}"


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Answer questions; "stop", or the next question, ends the answer under way."""
    await ws.accept()
    async for message in ws:
        question: str | bytes | None = message
        while question is not None:
            with ws.cancel_on(lambda message: True) as scope:
                async for token in answer(str(question)):
                    await ws.send_text(token)
                await ws.send_text("[done]")
            question = None if scope.message == "stop" else scope.message
