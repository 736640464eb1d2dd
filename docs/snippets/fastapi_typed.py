"""Typed messages in a FastAPI handler, and a document of them."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from anyws.fastapi import Guarded, Typed, add_asyncapi


class Question(BaseModel):
    """The question of a client."""

    text: str


class Answer(BaseModel):
    """The answer to the client."""

    text: str


app = FastAPI()
add_asyncapi(app)  # /asyncapi.json, and /asyncapi to read it


@app.websocket("/questions")
async def questions(ws: Guarded, messages: Typed[Question, Answer]) -> None:
    """Answer questions."""
    await ws.accept()
    async for question in messages:
        await messages.send(Answer(text=question.text.upper()))
