"""Frames that many connections share, with what else each of them sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions import Extension
from websockets.frames import Frame

from anyws._frames.codec import Codec, Side
from anyws._frames.deflate import DeflateExtension
from anyws._frames.shared_frames import COMPRESSED_BYTES, PLAIN
from anyws._values.events import FRAGMENT
from anyws._values.shared import SharedMessage

LARGE = 2**20
SETTINGS = {"level": 6, "memLevel": 5}
LONG = "anyws " * COMPRESSED_BYTES


def deflate(*, takeover: bool = True, bits: int = 12) -> DeflateExtension:
    """Return the extension of one end."""
    return DeflateExtension(not takeover, not takeover, bits, bits, SETTINGS)


def server(*extensions: Extension) -> Codec:
    """Return the codec of a server."""
    return Codec(Side.SERVER, max_message_bytes=LARGE, extensions=extensions)


def client(*extensions: Extension) -> Codec:
    """Return the codec of a client."""
    return Codec(Side.CLIENT, max_message_bytes=LARGE, extensions=extensions)


def own(message: str) -> dict[str, Any]:
    """Return the event of a message that one connection sends."""
    return {"type": "websocket.send", "text": message}


def received(codec: Codec, data: bytes) -> list[str | bytes]:
    """Return the messages that a peer reads."""
    events = codec.receive(data)
    assert codec.info is None, codec.info
    return [e["bytes"] if e["text"] is None else e["text"] for e in events]


@pytest.mark.parametrize("message", ["", "hello", "größen", b"\0\1", LONG], ids=len)
def test_a_shared_message_is_one_object_for_all(message: str | bytes) -> None:
    """Connections without compression write the same bytes, made once."""
    shared = SharedMessage(message)
    takes = []
    for _ in range(3):
        codec = server()
        assert codec.send(shared.event)
        takes.append(codec.take())
    assert len(shared.forms) == 1
    assert takes[0] is shared.forms[PLAIN]
    assert takes[0] == takes[1] == takes[2]
    assert received(client(), takes[0]) == [message]


def test_a_frame_that_is_taken_at_once_is_behind_what_waits() -> None:
    """Alone it is the shared object itself; after a closing frame there is none."""
    shared = SharedMessage("hello")
    codec, peer = server(), client()
    assert codec.send_and_take(shared.event) is shared.forms[PLAIN]
    ping = codec.ping(b"1")
    data = codec.send_and_take(shared.event)
    assert ping is not None
    assert data == ping + shared.forms[PLAIN]
    assert received(peer, data) == ["hello"]
    codec.send({"type": "websocket.close", "code": 1000, "reason": ""})
    assert codec.take()
    assert codec.send_and_take(shared.event) is None
    assert codec.send_and_take(own("hello")) is None


def test_a_client_shares_no_frame() -> None:
    """Each frame of a client has a mask of its own."""
    shared = SharedMessage("hello")
    codec = client()
    for _ in range(2):
        codec.send(shared.event)
    assert not shared.forms
    assert received(server(), codec.take()) == ["hello", "hello"]


def test_a_small_message_is_not_compressed() -> None:
    """It has the same frame with compression and without, and leaves the context."""
    shared = SharedMessage("x" * (COMPRESSED_BYTES - 1))
    plain, compressing = server(), server(deflate())
    for codec in (plain, compressing):
        codec.send(shared.event)
    assert plain.take() == compressing.take()
    assert not compressing._outdated


@pytest.mark.parametrize("takeover", [True, False])
def test_a_large_message_is_compressed_once_for_each_window(takeover: bool) -> None:
    """Connections with equal windows share one block; others have their own."""
    shared = SharedMessage(LONG)
    for bits in (12, 12, 15, 9):
        codec = server(deflate(takeover=takeover, bits=bits))
        codec.send(shared.event)
        data = codec.take()
        assert len(data) < len(LONG) / 10
        assert received(client(deflate(takeover=takeover, bits=bits)), data) == [LONG]
    assert set(shared.forms) == {(bits, 6, 5) for bits in (9, 12, 15)}


def test_a_message_behind_a_shared_one_refers_to_nothing_before_it() -> None:
    """The peer's context holds the shared block; the compressor begins anew."""
    codec, peer = server(deflate()), client(deflate())
    for event in (own(LONG), SharedMessage(LONG[::-1]).event, own(LONG), own(LONG)):
        codec.send(event)
    expected = [LONG, LONG[::-1], LONG, LONG]
    assert received(peer, codec.take()) == expected


def test_a_fragment_behind_a_shared_message_is_right_too() -> None:
    """A message in parts is compressed by the new compressor as well."""
    codec, peer = server(deflate()), client(deflate())
    codec.send(own(LONG))
    codec.send(SharedMessage(LONG[::-1]).event)
    half = LONG.encode()[:2000]
    first = {"type": FRAGMENT, "kind": "text", "data": half, "fin": False}
    codec.send(first)
    codec.send({"type": FRAGMENT, "kind": None, "data": half, "fin": True})
    expected = [LONG, LONG[::-1], (half + half).decode()]
    assert received(peer, codec.take()) == expected


class Reversing(Extension):
    """An extension that is not known here."""

    name = "x-reversing"  # type: ignore[assignment]  # the type is of an internal name

    def encode(self, frame: Frame) -> Frame:
        """Turn the payload round."""
        return Frame(frame.opcode, bytes(frame.data)[::-1], frame.fin, frame.rsv1)


@pytest.mark.parametrize("others", [[Reversing()], [deflate(), Reversing()]])
def test_an_unknown_extension_is_not_passed_by(others: Sequence[Extension]) -> None:
    """Where another extension was agreed on, each connection makes its own frames."""
    shared = SharedMessage("hello")
    codec = server(*others)
    codec.send(shared.event)
    assert not shared.forms
    assert codec.take() != Frame(1, b"hello").serialize(mask=False)  # type: ignore[arg-type]  # the opcode of a text message


def test_nothing_is_sent_behind_a_closing_frame() -> None:
    """A shared message is refused as any other."""
    codec = server()
    codec.send({"type": "websocket.close", "code": 1000, "reason": ""})
    codec.take()
    assert not codec.send(SharedMessage("late").event)
    assert codec.take() == b""


texts = st.sampled_from(["a", LONG, LONG[::-1], LONG[:1100] + "b", "x" * 5000])


@given(
    st.lists(st.tuples(st.sampled_from("so"), texts), max_size=12),
    st.booleans(),
    st.integers(9, 15),
)
def test_what_arrives_is_what_was_sent(
    messages: list[tuple[str, str]], takeover: bool, bits: int
) -> None:
    """However shared messages and own ones follow each other."""
    codec = server(deflate(takeover=takeover, bits=bits))
    peer = client(deflate(takeover=takeover, bits=bits))
    for kind, text in messages:
        codec.send(SharedMessage(text).event if kind == "s" else own(text))
    assert received(peer, codec.take()) == [text for _, text in messages]
