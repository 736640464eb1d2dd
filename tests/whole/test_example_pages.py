"""The examples that have a page: what they say, without a server or a browser."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

import anyws
from anyws.testing import Peer, connect

from .test_observers import load


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load the example, with a model that says when it stops."""
    example = load("answers")
    example.stopped = []

    async def tokens(question: str) -> AsyncGenerator[str]:
        try:
            yield f"{question}:"
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            example.stopped.append(question)
            raise

    monkeypatch.setattr(example, "tokens", tokens)
    return example


async def begun(peer: Peer, question: str) -> None:
    """Wait for the beginning of an answer."""
    assert await peer.receive_json() == {"question": question}
    assert await peer.receive_json() == {"token": f"{question}:"}


async def test_an_answer_is_interrupted(answers: Any) -> None:
    """By a stop, and by the next question; an empty message else is nothing."""
    async with connect(answers.app, "/ws") as peer:
        await peer.send_text("")
        await peer.send_text("one")
        await begun(peer, "one")
        await peer.send_text("two")
        assert await peer.receive_json() == {"end": "stopped"}
        await begun(peer, "two")
        await peer.send_text("")
        assert await peer.receive_json() == {"end": "stopped"}
        assert answers.stopped == ["one", "two"]


async def test_an_answer_stops_when_the_client_leaves(answers: Any) -> None:
    """Although the handler does not receive."""
    async with connect(answers.app, "/ws") as peer:
        await peer.send_text("one")
        await begun(peer, "one")
        await peer.close()
    assert answers.stopped == ["one"]


async def test_an_answer_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next question is waited for."""
    example = load("answers")

    async def tokens(question: str) -> AsyncGenerator[str]:
        yield question

    monkeypatch.setattr(example, "tokens", tokens)
    async with connect(example.app, "/ws") as peer:
        for question in ("a", "b"):
            await peer.send_text(question)
            told = [await peer.receive_json() for _ in range(3)]
            assert told[1:] == [{"token": question}, {"end": "complete"}]


async def test_a_dashboard_keeps_the_newest_reading() -> None:
    """For a client that does not read; and it stops when the client leaves."""
    example = load("dashboard")
    example.PERIOD = 0
    async with connect(example.app, "/ws") as peer:
        reading = await peer.receive_json()
        assert set(reading) == {
            *("time", "temperature", "humidity", "light", "carbon dioxide")
        }
        await peer.close()


async def test_calls_answer_in_their_own_order() -> None:
    """One is cancelled; a second cancel of it is nothing."""
    example = load("calls")
    async with connect(example.app, "/ws") as peer:
        await peer.send_json({"id": 1, "call": "wait", "seconds": 3600})
        await peer.send_json({"id": 1, "call": "wait", "seconds": 0})
        assert await peer.receive_json() == {"id": 1, "error": "too many calls"}
        await peer.send_json({"id": 2, "call": "primes", "below": 100})
        assert await peer.receive_json() == {"id": 2, "result": 25}
        await peer.send_json({"id": 1, "cancel": True})
        assert await peer.receive_json() == {"id": 1, "cancelled": True}
        await peer.send_json({"id": 1, "cancel": True})
        await peer.send_json({"id": 3, "call": "prime"})
        error = {"id": 3, "error": "there is no call 'prime'"}
        assert await peer.receive_json() == error
        await peer.send_json({"id": 4, "call": "wait", "seconds": "x"})
        assert (await peer.receive_json())["error"].startswith("ValueError")
        await peer.send_json({"id": 5, "call": "wait", "seconds": 3600})
        await peer.close()


async def test_a_call_without_an_id_closes() -> None:
    """With a reason, and with all calls that run."""
    async with connect(load("calls").app, "/ws") as peer:
        await peer.send_json({"id": 1, "call": "wait", "seconds": 3600})
        await peer.send_json(["wait"])
        info = await peer.wait_closed()
        assert (info.code, info.reason) == (1008, "a request has a number as its id")


async def test_an_upload_tells_how_far_it_is() -> None:
    """Part by part, and what the whole was."""
    parts = [b"a" * 1000, b"b" * 500]
    async with connect(load("upload").app, "/ws") as peer:
        await peer.send_json({"name": "a.txt", "size": 1500})
        for part, written in zip(parts, (1000, 1500), strict=True):
            await peer.send_bytes(part)
            assert await peer.receive_json() == {"written": written}
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        assert await peer.receive_json() == {"sha256": digest}
        assert (await peer.wait_closed()).code == 1000


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"size": -1}, 1008),
        ([], 1008),
        ({"size": 2**40}, anyws.CloseCode.MESSAGE_TOO_BIG),
        ({"size": 2}, 1008),
    ],
    ids=["negative", "list", "huge", "exceeded"],
)
async def test_an_upload_that_is_refused(said: object, code: int) -> None:
    """By what it says of itself, or by what it is."""
    async with connect(load("upload").app, "/ws") as peer:
        await peer.send_json(said)
        if code == 1008 and said == {"size": 2}:
            await peer.send_bytes(b"abc")
            assert await peer.receive_json() == {"written": 3}
        assert (await peer.wait_closed()).code == code
