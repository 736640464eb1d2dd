"""Messages that are too small to be compressed, where compression was agreed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws._frames.codec import Codec, Side
from anyws._frames.deflate import DeflateExtension
from anyws._frames.shared_frames import PLAIN
from anyws._values.events import FRAGMENT
from anyws._values.shared import SharedMessage

from ..support.wired import parse

RSV1 = 0x40
SENDER = {Side.SERVER: Side.CLIENT, Side.CLIENT: Side.SERVER}


def codec(
    side: Side, threshold_bytes: int, *, takeover: bool = True, level: int = 6
) -> Codec:
    """Return one end, with compression."""
    settings = {"level": level, "memLevel": 5}
    extension = DeflateExtension(
        not takeover, not takeover, 12, 12, settings, threshold_bytes
    )
    return Codec(side, max_message_bytes=2**20, extensions=[extension])


def text(message: str) -> dict[str, Any]:
    """Return the event of a message."""
    return {"type": "websocket.send", "text": message}


def fragments(message: str) -> Iterator[dict[str, Any]]:
    """Return the events of a message in two parts."""
    data, half = message.encode(), len(message) // 2
    yield {"type": FRAGMENT, "kind": "text", "data": data[:half], "fin": False}
    yield {"type": FRAGMENT, "kind": None, "data": data[half:], "fin": True}


def received(one: Codec, data: bytes) -> list[str]:
    """Return the messages that an end reads."""
    events = parse(one, data)
    assert one.info is None, one.info
    return [event["text"] for event in events]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("size", "compressed"), [(0, False), (99, False), (100, True), (5000, True)]
)
def test_messages_below_it_are_sent_as_they_are(
    side: Side, size: int, compressed: bool
) -> None:
    """One of just so many bytes is compressed; bytes count, and not characters."""
    one = codec(side, 100)
    for message in ("x" * size, "é" * (size // 2) + "x" * (size % 2)):
        one.send(text(message))
        data = one.take()
        assert bool(data[0] & RSV1) is compressed
        assert received(codec(SENDER[side], 0), data) == [message]


def test_a_large_message_below_it() -> None:
    """A threshold may be above what one read takes."""
    one = codec(Side.SERVER, 2**20)
    one.send(text("x" * 100_000))
    data = one.take()
    assert data[0] == 0x81
    assert len(data) == 100_010
    assert received(codec(Side.CLIENT, 0), data) == ["x" * 100_000]


def test_a_message_in_parts_is_compressed_whatever_its_parts_are() -> None:
    """All its frames are, or the peer could not read them."""
    one = codec(Side.SERVER, 1000)
    for event in fragments("ab"):
        one.send(event)
    data = one.take()
    assert data[0] & RSV1
    assert received(codec(Side.CLIENT, 0), data) == ["ab"]


def test_a_connection_with_small_messages_has_no_contexts() -> None:
    """Neither end makes a compressor or a decompressor for them."""
    ends = codec(Side.SERVER, 256), codec(Side.CLIENT, 256)
    for one, other in (ends, ends[::-1]):
        one.send(text("x" * 255))
        assert received(other, one.take()) == ["x" * 255]
    for one in ends:
        assert one._core is None
        assert vars(one._compression).keys().isdisjoint({"encoder", "decoder"})


@pytest.mark.parametrize("takeover", [True, False])
def test_a_shared_message_heeds_the_threshold_of_each_connection(
    takeover: bool,
) -> None:
    """Those that compress alike share one block; without takeover at any size."""
    shared = SharedMessage("anyws " * 400)
    small = SharedMessage("anyws " * 100)
    made: dict[Any, bytes] = {}
    for threshold, level in ((0, 6), (2400, 6), (2401, 6), (0, 1), (500, 1)):
        one = codec(Side.SERVER, threshold, takeover=takeover, level=level)
        form = PLAIN if threshold > 2400 else (12, level, 5)
        one.send(shared.event)
        data = one.take()
        assert data is shared.forms[form]
        assert made.setdefault(form, data) is data
        one.send(small.event)
        kept = takeover or threshold > 600
        assert one.take() is small.forms[PLAIN if kept else (12, level, 5)]
    assert set(shared.forms) == {PLAIN, (12, 6, 5), (12, 1, 5)}


messages = st.lists(
    st.tuples(
        st.sampled_from(["own", "shared", "parts"]),
        st.sampled_from(["a", "anyws " * 20, "anyws " * 400, "ws any " * 300, ""]),
    ),
    max_size=12,
)


@given(messages, st.sampled_from([0, 100, 2000]), st.booleans(), st.sampled_from(Side))
def test_what_arrives_is_what_was_sent(
    messages: list[tuple[str, str]], threshold: int, takeover: bool, side: Side
) -> None:
    """However messages of all kinds and sizes follow each other."""
    one = codec(side, threshold, takeover=takeover)
    other = codec(SENDER[side], 0, takeover=takeover)
    for kind, message in messages:
        if kind == "parts":
            for part in fragments(message):
                one.send(part)
        else:
            shared = SharedMessage(message)
            one.send(shared.event if kind == "shared" else shared.plain)
    assert received(other, one.take()) == [message for _, message in messages]
