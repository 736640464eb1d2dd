"""RFC 6455 in between: frames that a peer may write, and what becomes of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate as OtherDeflate

from anyws import CloseCode, CloseInfo
from anyws._frames.assembler import MAX_FRAGMENTS
from anyws._frames.codec import CORE_STEP_BYTES, Codec, Side
from anyws._frames.deflate import DeflateExtension
from anyws._values.events import MORE

from ..support.wired import (
    BINARY,
    CLOSE,
    CONT,
    LARGE,
    MASK,
    PING,
    PONG,
    TEXT,
    close_payload,
    closing,
    frame,
    frames_of,
    parse,
)

LIMIT = 1000
REASON = "tschüß"


def server(
    limit: int = LIMIT, *, deflate: bool = False, takeover: bool = True
) -> Codec:
    """Return the wire of a server."""
    extensions = [deflated(takeover=takeover)] if deflate else []
    return Codec(Side.SERVER, max_message_bytes=limit, extensions=extensions)


def client(
    limit: int = LIMIT, *, deflate: bool = False, takeover: bool = True
) -> Codec:
    """Return the wire of a client."""
    extensions = [deflated(takeover=takeover)] if deflate else []
    return Codec(Side.CLIENT, max_message_bytes=limit, extensions=extensions)


def mirrored(data: bytes) -> bytes:
    """Write one side's frames as the other's: masked if they were not."""
    mirror = b""
    while data:
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        head = data[:1] + bytes([data[1] ^ 0x80]) + data[2:start]
        if data[1] & 0x80:
            mask, data = data[start : start + 4], data[start + 4 :]
        else:
            mask, head, data = MASK, head + MASK, data[start:]
        mirror += head + bytes(b ^ mask[n % 4] for n, b in enumerate(data[:size]))
        data = data[size:]
    return mirror


# Whose end is tested; and what turns a client's frames into those that it is sent, and
# those that it writes into a server's.
ROLES: dict[str, tuple[Callable[..., Codec], Callable[[bytes], bytes]]] = {
    "server": (server, bytes),
    "client": (client, mirrored),
}
by_role = pytest.mark.parametrize("role", ROLES)


def deflated(*, takeover: bool = True) -> DeflateExtension:
    """Return the extension, which is the same on both sides."""
    return DeflateExtension(not takeover, not takeover, 12, 12, {"memLevel": 5})


def compressed(data: bytes, *, last: bool = True) -> bytes:
    """Compress data as a message of its own."""
    deflate = zlib.compressobj(9, wbits=-12)
    out = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4] if last else out


def received(wire: Codec, *reads: bytes) -> list[str | bytes]:
    """Let a wire read; return the messages that it finds."""
    messages = []
    for read in reads:
        for event in parse(wire, read):
            assert event["type"] == "websocket.receive"
            assert set(event) == {"type", "text", "bytes"}
            assert (event["text"] is None) != (event["bytes"] is None)
            messages.append(event["bytes"] if event["text"] is None else event["text"])
    return messages


def send(wire: Codec, *messages: str | bytes) -> bytes:
    """Let a wire send messages; return the bytes."""
    for message in messages:
        kind = "text" if isinstance(message, str) else "bytes"
        wire.send({"type": "websocket.send", kind: message})
    return wire.take()


def close(wire: Codec, code: int, reason: str = "") -> bytes:
    """Let a wire send a close; return the bytes."""
    wire.send({"type": "websocket.close", "code": code, "reason": reason})
    return wire.take()


# Messages


@by_role
@pytest.mark.parametrize(
    "message",
    ["", "hello", REASON, "\r\n\r", "\0", "x" * 126, b"", b"\xff\x00", b"x" * 70_000],
    ids=lambda message: f"{type(message).__name__} of {len(message)}",
)
def test_a_message_in_one_frame(role: str, message: str | bytes) -> None:
    """A frame that is whole is a message of its kind."""
    make, turn = ROLES[role]
    wire = make(2**17)
    opcode = TEXT if isinstance(message, str) else BINARY

    assert received(wire, turn(frame(opcode, message))) == [message]
    assert wire.info is None
    assert wire.open
    assert wire.take() == b""


@by_role
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_in_fragments(role: str, opcode: int, size: int) -> None:
    """Fragments are put together, though they cut a character, or a line's end."""
    make, turn = ROLES[role]
    text = "é€\r\n😀"
    data = text.encode()
    parts = [data[n : n + size] for n in range(0, len(data), size)]
    reads = [
        turn(frame(opcode if not n else CONT, part, fin=n == len(parts) - 1))
        for n, part in enumerate(parts)
    ]
    wire = make()

    assert received(wire, *reads) == [text if opcode == TEXT else data]
    assert received(wire, *reads) == [text if opcode == TEXT else data]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_may_be_empty(opcode: int) -> None:
    """A message of three fragments may have no payload at all."""
    wire = server()
    reads = frame(opcode, fin=False) + frame(CONT, fin=False) + frame(CONT)

    assert received(wire, reads) == ["" if opcode == TEXT else b""]


def test_messages_of_both_kinds_by_turns() -> None:
    """Nothing of one message is left in the next."""
    wire = server()
    reads = [
        frame(TEXT, "a", fin=False) + frame(CONT, "b"),
        frame(BINARY, "c", fin=False) + frame(CONT, "d"),
        frame(TEXT, "e") + frame(BINARY, "f"),
    ]

    assert received(wire, *reads, *reads) == ["ab", b"cd", "e", b"f"] * 2


@pytest.mark.parametrize("mask", [bytes(4), b"\xff\x00\xff\x00"])
def test_any_mask_is_taken_off(mask: bytes) -> None:
    """The payload is what was masked, whatever with."""
    assert received(server(), frame(TEXT, "hello", mask=mask)) == ["hello"]


def test_a_servers_frames_are_not_masked_and_a_clients_are() -> None:
    """What is written is whole frames, as RFC 6455 section 5.1 asks of each side."""
    assert send(server(), "hi", b"\x00") == b"\x81\x02hi" + b"\x82\x01\x00"
    data = send(client(), "hi")
    assert data[:2] == b"\x81\x82"
    assert received(server(), data) == ["hi"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024, 1025, 65_535, 65_536])
def test_every_size_has_its_header(size: int) -> None:
    """A server's frame, however long, and however often one of its length was sent."""
    text, data = "x" * size, b"\xff" * size
    for _ in range(2):
        for opcode, message in (TEXT, text), (BINARY, data):
            assert send(server(), message) == frame(opcode, message, mask=None)


# Control frames


def test_the_answer_to_a_close_goes_behind_what_was_sent_before() -> None:
    """A message that is framed and not yet written is no message behind the close."""
    wire = server()
    wire.send({"type": "websocket.send", "text": "a"})
    received(wire, closing(1000))
    assert [opcode for opcode, _ in frames_of(wire.take())] == [TEXT, CLOSE]


@by_role
def test_control_frames_come_between_fragments(role: str) -> None:
    """A ping is answered, a pong kept, and the message put together around them."""
    make, turn = ROLES[role]
    wire = make()
    reads = [
        frame(TEXT, "a", fin=False) + frame(PING, b"1"),
        frame(PONG, b"2") + frame(CONT, "b", fin=False) + frame(PING) + frame(PONG),
        frame(CONT, "c"),
    ]

    assert received(wire, *map(turn, reads)) == ["abc"]
    assert frames_of(turn(wire.take())) == [(PONG, b"1"), (PONG, b"")]
    assert wire.pongs == [b"2", b""]


def test_answers_are_counted_until_they_are_taken() -> None:
    """`answers_size` is in bytes, and what is taken is taken once."""
    wire = server()
    parse(wire, frame(PING, b"12345"))
    assert wire.answers_size == 7
    parse(wire, frame(PING))
    assert wire.answers_size == 9
    assert len(wire.take()) == 9
    assert wire.answers_size == 0
    assert wire.take() == b""


def test_what_is_written_keeps_its_order() -> None:
    """Answers and messages leave in the order in which they came about."""
    wire = server()
    wire.send({"type": "websocket.send", "text": "a"})
    parse(wire, frame(PING, b"b"))
    wire.send({"type": "websocket.send", "bytes": b"c"})
    wire.ping(b"d")
    parse(wire, frame(PING, b"e"))

    assert frames_of(wire.take()) == [
        (TEXT, b"a"),
        (PONG, b"b"),
        (BINARY, b"c"),
        (PING, b"d"),
        (PONG, b"e"),
    ]


def test_a_ping_is_answered_while_our_close_waits_for_its_answer() -> None:
    """Until the peer has closed, it is heard and answered."""
    wire = server()
    close(wire, 1000)

    assert received(wire, frame(TEXT, "late") + frame(PING, b"x")) == ["late"]
    assert frames_of(wire.take()) == [(PONG, b"x")]


# The end


@by_role
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, REASON), (3000, "x" * 123), (4999, "")]
)
def test_the_peers_close_is_told_and_echoed(role: str, code: int, reason: str) -> None:
    """The peer's code and reason are in `info`; the answer carries them too."""
    make, turn = ROLES[role]
    wire = make()
    parse(wire, turn(closing(code, reason)))

    assert wire.info == CloseInfo(code, reason, "peer", True)
    assert type(wire.info.code) is int
    assert not wire.open
    assert frames_of(turn(wire.take())) == [(CLOSE, close_payload(code, reason))]


def test_a_close_without_a_code_is_1005() -> None:
    """An empty closing frame is reported as 1005 and answered by an empty one."""
    wire = server()
    parse(wire, closing(None))

    assert wire.info == CloseInfo(1005, "", "peer", True)
    assert wire.take() == b"\x88\x00"


def test_the_answer_to_our_close_is_not_answered() -> None:
    """The closing handshake ends with the second closing frame."""
    wire = server()
    assert frames_of(close(wire, 4000, REASON)) == [
        (CLOSE, close_payload(4000, REASON))
    ]
    assert wire.info is None
    assert not wire.open
    parse(wire, closing(4000))

    assert wire.info == CloseInfo(4000, "", "peer", True)
    assert wire.take() == b""


@by_role
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_close_may_stand_between_fragments(
    role: str, deflate: bool, in_parts: bool, together: bool, opcode: int
) -> None:
    """Code and reason are told and echoed; the message is not whole, and none."""
    make, turn = ROLES[role]
    wire = make(deflate=deflate)
    begun = frame(opcode, "part", fin=False)
    if deflate:
        begun = frame(opcode, compressed(b"part", last=False), fin=False, rsv=4)
    ending = closing(4001, "changed my mind") + frame(CONT, "the rest")
    reads = [turn(begun), turn(ending)]
    if together and not in_parts:
        reads = [b"".join(reads)]
    messages = received(wire, reads[0])
    if in_parts:
        part = wire.part()
        assert part is not None
        assert part[MORE]
        assert wire.part() is None
    messages += received(wire, *reads[1:])

    assert messages == []
    assert wire.info == CloseInfo(4001, "changed my mind", "peer", True)
    assert frames_of(turn(wire.take())) == [
        (CLOSE, close_payload(4001, "changed my mind"))
    ]
    assert not wire.under_way
    assert wire.part() is None


@by_role
@pytest.mark.parametrize("answer", [closing(4000), closing(None)], ids=repr)
def test_our_close_may_be_answered_between_fragments(role: str, answer: bytes) -> None:
    """A peer that was about to send a message answers in order."""
    make, turn = ROLES[role]
    wire = make()
    close(wire, 4000)
    parse(wire, turn(frame(TEXT, "begun", fin=False) + answer))

    assert wire.info is not None
    assert (wire.info.initiator, wire.info.clean) == ("peer", True)
    assert wire.take() == b""


@pytest.mark.parametrize("ending", ["eof", "violation"])
def test_a_message_that_is_not_whole_is_none(ending: str) -> None:
    """Once the connection has ended, no part of it is told any more."""
    wire = server()
    parse(wire, frame(TEXT, "begun", fin=False))
    assert wire.under_way
    if ending == "eof":
        wire.receive_eof()
    else:
        parse(wire, frame(3))

    assert not wire.under_way
    assert wire.part() is None


@pytest.mark.parametrize("closed", [False, True])
def test_the_end_of_the_stream_is_1006(closed: bool) -> None:
    """Without the peer's closing frame the connection has been lost."""
    wire = server()
    if closed:
        close(wire, 1000)
    wire.receive_eof()
    wire.receive_eof()

    assert wire.info == CloseInfo(1006, "", "network", False)
    assert not wire.open
    assert wire.take() == b""


def test_the_end_of_the_stream_inside_a_frame_is_1006() -> None:
    """A frame that is cut off is no violation."""
    wire = server()
    parse(wire, frame(TEXT, "hello")[:-1])
    wire.receive_eof()

    assert wire.info == CloseInfo(1006, "", "network", False)


@pytest.mark.parametrize(
    "ending", [closing(4000, "bye"), frame(TEXT, b"\xff"), frame(3)], ids=repr
)
def test_the_end_of_the_stream_behind_an_end_changes_nothing(ending: bytes) -> None:
    """How the connection ended is what came first."""
    wire = server()
    parse(wire, ending)
    before = wire.info
    wire.receive_eof()

    assert wire.info is before
    assert before is not None


@pytest.mark.parametrize(
    "ending",
    [closing(1000), frame(TEXT, b"\xff"), frame(3), frame(TEXT, b"x" * 2000)],
    ids=["a close", "invalid UTF-8", "a violation", "too big"],
)
@pytest.mark.parametrize("together", [True, False])
def test_nothing_is_taken_in_behind_the_end(ending: bytes, together: bool) -> None:
    """What comes before the end is read, what comes behind it is ignored."""
    wire = server()
    rest = frame(TEXT, "late") + frame(PING) + frame(PONG) + frame(3)
    reads = [frame(TEXT, "in time") + ending, rest]

    assert received(wire, *([b"".join(reads)] if together else reads)) == ["in time"]
    assert wire.info is not None
    assert [
        int.from_bytes(payload[:2], "big")
        for opcode, payload in frames_of(wire.take())
        if opcode == CLOSE
    ] == [wire.info.code]
    assert wire.pongs == []


def test_nothing_is_taken_in_behind_the_end_of_the_stream() -> None:
    """A read that comes behind the end raises nothing."""
    wire = server()
    wire.receive_eof()

    assert parse(wire, frame(TEXT, "late")) == []


@pytest.mark.parametrize("how", ["ours", "theirs", "a violation", "lost"])
def test_sending_after_the_end_is_silent(how: str) -> None:
    """Behind a closing frame, or without a peer, nothing is framed any more."""
    wire = server()
    if how == "ours":
        close(wire, 1000)
    elif how == "lost":
        wire.receive_eof()
    else:
        parse(wire, closing(1000) if how == "theirs" else frame(3))
    wire.take()

    assert send(wire, "late", b"late") == b""
    assert close(wire, 1001) == b""
    wire.ping(b"late")
    assert wire.take() == b""


# Violations

VIOLATIONS = {
    "not masked, or masked": frame(TEXT, "hello", mask=None),
    "reserved bit 1": frame(TEXT, "hello", rsv=4),
    "reserved bit 2": frame(TEXT, "hello", rsv=2),
    "reserved bit 3": frame(TEXT, "hello", rsv=1),
    "reserved bit of a control frame": frame(PING, rsv=4),
    "reserved data opcode": frame(3, "hello"),
    "reserved control opcode": frame(0xB),
    "nothing to continue": frame(CONT, "hello"),
    "a text inside a text": frame(TEXT, "a", fin=False) + frame(TEXT, "b"),
    "a continuation too many": frame(TEXT, "a", fin=False) + frame(CONT) * 2,
    "ping too long": frame(PING, b"x" * 126),
    "fragmented ping": frame(PING, fin=False),
    "fragmented close": frame(CLOSE, fin=False),
    "close of one byte": frame(CLOSE, b"x"),
    "close too long": closing(1000, "x" * 124),
    **{f"close with {code}": closing(code) for code in (0, 999, 1004, 1005, 1006)},
    **{f"close with {code}": closing(code) for code in (1015, 2999, 5000, 65535)},
}


@by_role
@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_1002(role: str, name: str) -> None:
    """Whoever breaks the rules of framing is told so; a reason says which."""
    make, turn = ROLES[role]
    wire = make()
    parse(wire, turn(VIOLATIONS[name]))
    [(opcode, payload)] = frames_of(turn(wire.take()))

    assert wire.info is not None
    assert (wire.info.code, wire.info.initiator) == (1002, "local")
    assert wire.info.clean is False
    assert wire.info.reason
    assert opcode == CLOSE
    assert payload == close_payload(1002, wire.info.reason)


@by_role
def test_a_message_inside_a_message_is_1002(role: str) -> None:
    """It may be short, whole, and come in a read of its own."""
    make, turn = ROLES[role]
    wire = make()

    assert (
        received(wire, turn(frame(TEXT, "a", fin=False)), turn(frame(TEXT, "b"))) == []
    )
    assert wire.info is not None
    assert wire.info.code == 1002


def test_a_violation_behind_our_close() -> None:
    """It makes the end no cleaner, and no second closing frame is sent."""
    wire = server()
    close(wire, 4000)
    parse(wire, frame(3))

    assert wire.info is not None
    assert (wire.info.initiator, wire.info.clean) == ("local", False)
    assert wire.take() == b""


# A reason is cut into fragments where each of them would be found out.
BAD_TEXTS = {
    "whole": [frame(TEXT, b"caf\xe9")],
    "overlong": [frame(TEXT, b"\xc0\xaf")],
    "a surrogate": [frame(TEXT, b"\xed\xa0\x80")],
    "beyond Unicode": [frame(TEXT, b"\xf4\x90\x80\x80")],
    "truncated": [frame(TEXT, b"caf\xc3")],
    "in the first fragment": [frame(TEXT, b"\xff", fin=False)],
    "in a later fragment": [frame(TEXT, fin=False), frame(CONT, b"\xff", fin=False)],
    "across fragments": [
        frame(TEXT, b"\xf4", fin=False),
        frame(CONT, b"\x90", fin=False),
    ],
    "truncated in the last fragment": [
        frame(TEXT, b"\xe2", fin=False),
        frame(CONT, b"\x82"),
    ],
    "truncated before an empty one": [frame(TEXT, b"\xc3", fin=False), frame(CONT)],
    "in a reason": [closing(1000, b"\xff")],
}


@by_role
@pytest.mark.parametrize("name", BAD_TEXTS)
def test_invalid_utf8_is_1007(role: str, name: str) -> None:
    """Text that is none ends the connection as soon as it is seen to be."""
    make, turn = ROLES[role]
    wire = make()

    assert received(wire, *map(turn, [frame(TEXT, "good"), *BAD_TEXTS[name]])) == [
        "good"
    ]
    assert wire.info is not None
    assert (wire.info.code, wire.info.initiator) == (1007, "local")
    assert wire.info.clean is False
    [(opcode, payload)] = frames_of(turn(wire.take()))
    assert opcode == CLOSE
    assert payload == close_payload(1007, wire.info.reason)


# What comes behind an end in the same read, and would be an end itself.
OVERTAKING = (
    frame(PING, b"x")
    + frame(PONG, b"x")
    + closing(1000)
    + frame(TEXT, "behind")
    + frame(3)
)
ENDINGS = {
    **VIOLATIONS,
    **{f"text {name}": b"".join(reads) for name, reads in BAD_TEXTS.items()},
    "a long text": frame(TEXT, b"x" * 126 + b"\xff"),
    "a long text in fragments": frame(TEXT, b"x" * 126, fin=False)
    + frame(CONT, b"x" * 126 + b"\xe9"),
    "a large message": frame(BINARY, bytes(LIMIT + 1)),
    "a large message in fragments": frame(BINARY, bytes(LIMIT), fin=False)
    + frame(CONT, bytes(1)),
    "a close in order": frame(TEXT, "begun", fin=False) + closing(4000, "bye"),
}
DEFLATED_ENDINGS = {
    "a long text": frame(TEXT, compressed(b"x" * 126 + b"\xff"), rsv=4),
    "a short text": frame(TEXT, compressed(b"\xff"), rsv=4),
    "a large message": frame(BINARY, compressed(bytes(LIMIT + 1)), rsv=4),
    "no deflate stream": frame(TEXT, b"\x07\xff\xff", rsv=4),
    "a bit in a continuation": frame(TEXT, b"", fin=False, rsv=4)
    + frame(CONT, b"", rsv=4),
}


def outcome(wire: Codec, reads: Iterable[bytes]) -> tuple[object, ...]:
    """Let a wire read; return all that can be seen of it, less the fresh masks."""
    messages = received(wire, *reads)
    written = wire.take()
    answers = frames_of(written if written[1:2] < b"\x80" else mirrored(written))
    return messages, wire.info, answers, wire.pongs, wire.open


@by_role
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    "name", [*ENDINGS, *(f"deflated {n}" for n in DEFLATED_ENDINGS)]
)
def test_nothing_overtakes_an_end(role: str, deflate: bool, name: str) -> None:
    """What comes behind an end never counts, however the bytes are cut into reads."""
    make, turn = ROLES[role]
    ending = ENDINGS.get(name) or DEFLATED_ENDINGS[name.removeprefix("deflated ")]
    good = frame(TEXT, "good") + frame(PING, b"good")
    data = turn(good) + turn(ending) + turn(OVERTAKING)
    expected = outcome(make(deflate=deflate), [turn(good), turn(ending)])

    assert expected[1] is not None
    assert outcome(make(deflate=deflate), [data]) == expected
    for place in range(1, len(data)):
        reads = data[:place], data[place:]
        assert outcome(make(deflate=deflate), reads) == expected, place
    assert outcome(make(deflate=deflate), cut(data, range(len(data)))) == expected


def test_binary_messages_are_no_text() -> None:
    """Only text has to be UTF-8."""
    wire = server()
    reads = [frame(BINARY, b"\xff"), frame(BINARY, b"\xc3", fin=False), frame(CONT)]

    assert received(wire, *reads) == [b"\xff", b"\xc3"]


# Limits


def refused(wire: Codec, limit: int | None = None) -> bool:
    """Return whether a wire has answered by 1009, says the same, and which limit."""
    assert wire.info is not None
    if limit is not None:
        assert wire.info.reason == f"over {limit} bytes"
    assert (wire.info.initiator, wire.info.clean) == ("local", False)
    [(opcode, payload)] = frames_of(wire.take())
    assert (opcode, payload) == (CLOSE, close_payload(1009, wire.info.reason))
    return wire.info.code == 1009


@by_role
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_the_limit_passes(role: str, opcode: int) -> None:
    """The limit is the largest message taken, in one frame or in several."""
    make, turn = ROLES[role]
    wire = make(10)
    reads = [
        frame(opcode, b"x" * 10),
        frame(opcode, b"x" * 4, fin=False),
        frame(CONT, b"x" * 6, fin=False),
        frame(CONT),
    ]

    assert [len(message) for message in received(wire, *map(turn, reads))] == [10, 10]
    assert wire.info is None


@pytest.mark.parametrize("size", [11, 200, 2**16, 2**62])
def test_a_header_is_enough_to_refuse(size: int) -> None:
    """A frame that says it is too big is refused before any of its payload came."""
    head = {11: bytes([0x80 | 11]), 200: b"\xfe" + (200).to_bytes(2, "big")}
    wire = server(10)
    parse(wire, b"\x82" + head.get(size, b"\xff" + size.to_bytes(8, "big")))

    assert refused(wire)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_are_refused_together(opcode: int) -> None:
    """Fragments within the limit may be too big as a message."""
    wire = server(10)
    parse(wire, frame(opcode, b"x" * 6, fin=False))
    assert wire.info is None
    parse(wire, frame(CONT, b"x" * 5, fin=False)[:2])

    assert refused(wire, 10)


def test_a_limit_is_in_bytes() -> None:
    """Text counts as it is encoded."""
    wire = server(4)
    assert received(wire, frame(TEXT, "éé")) == ["éé"]
    parse(wire, frame(TEXT, "ééé"))

    assert refused(wire, 4)


def test_a_message_has_a_limit_of_fragments() -> None:
    """Empty fragments are counted, those of each message for themselves."""
    wire = server()
    start, rest = frame(TEXT, "a", fin=False), frame(CONT, fin=False)
    most = start + rest * (MAX_FRAGMENTS - 2)

    assert received(wire, most + frame(CONT, "b")) == ["ab"]
    assert received(wire, most + rest) == []
    assert wire.info is None
    parse(wire, rest)
    assert refused(wire)


@pytest.mark.parametrize("size", [100, 5000, 100_000])
@pytest.mark.parametrize("kind", ["zeros", "noise", "text"])
def test_a_compressed_message_of_the_limit_passes(kind: str, size: int) -> None:
    """The limit is of what is decompressed, though it may have grown on its way."""
    data: str | bytes = "x" * size
    if kind != "text":
        data = bytes(size) if kind == "zeros" else Random(1).randbytes(size)
    assert received(server(size, deflate=True), send(client(deflate=True), data)) == [
        data
    ]
    wire = server(size - 1, deflate=True)
    assert received(wire, send(client(deflate=True), data)) == []
    assert refused(wire, size - 1)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("size", [LIMIT + 1, 2**24])
def test_a_bomb_is_refused(takeover: bool, size: int) -> None:
    """What would grow beyond the limit is refused as it grows."""
    wire = server(LIMIT, deflate=True, takeover=takeover)
    good = frame(TEXT, compressed(b"x" * LIMIT), rsv=4)
    bomb = compressed(bytes(size))
    if len(bomb) > LIMIT:  # else its header would give it away
        bomb = bomb[:LIMIT]

    assert received(wire, good, good) == ["x" * LIMIT] * 2
    parse(wire, frame(BINARY, bomb, rsv=4))
    assert refused(wire, LIMIT)


@pytest.mark.parametrize("first", [LIMIT // 2, LIMIT])
@pytest.mark.parametrize("size", [LIMIT + 1, 2**16])
def test_a_bomb_in_fragments_is_refused(first: int, size: int) -> None:
    """Fragments share the limit, and there is no way round when nothing is left."""
    wire = server(LIMIT, deflate=True)
    data = compressed(bytes(first), last=False) + compressed(bytes(size - first))
    cut = len(compressed(bytes(first), last=False))
    parse(wire, frame(BINARY, data[:cut], fin=False, rsv=4))
    assert wire.info is None
    parse(wire, frame(CONT, data[cut:]))

    assert refused(wire, LIMIT)


@pytest.mark.parametrize(
    "reads",
    [
        frame(TEXT, b"\x07\xff\xff", rsv=4),
        frame(TEXT, b"", fin=False, rsv=4) + frame(CONT, b"", rsv=4),
        frame(PING, b"", rsv=4),
        frame(TEXT, b"hello", rsv=2),
    ],
    ids=["no deflate stream", "bit in a continuation", "bit in a ping", "another bit"],
)
def test_bad_compression_is_1002(reads: bytes) -> None:
    """What is not compressed as agreed breaks the rules."""
    wire = server(deflate=True)
    parse(wire, reads)

    assert wire.info is not None
    assert (wire.info.code, wire.info.initiator) == (1002, "local")


def test_compressed_text_has_to_be_text() -> None:
    """Text is looked at after decompression."""
    wire = server(deflate=True)
    parse(wire, frame(TEXT, compressed(b"\xff"), rsv=4))

    assert wire.info is not None
    assert wire.info.code == 1007


def test_compression_is_the_senders_choice() -> None:
    """Compressed and plain messages come by turns."""
    wire = server(deflate=True)
    plain, small = frame(TEXT, "plain"), frame(TEXT, compressed(b"small"), rsv=4)

    assert received(wire, plain, small, plain) == ["plain", "small", "plain"]


# Both ends

messages = st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=8)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("deflate", [True, False])
@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name)
@given(sent=messages)
def test_both_sides_understand_each_other(
    side: Side, deflate: bool, takeover: bool, sent: list[str | bytes]
) -> None:
    """What one side sends the other receives, up to the end of both."""
    ends = [
        make(deflate=deflate, takeover=takeover)
        for make in (server, client)[:: 1 if side is Side.SERVER else -1]
    ]
    here, there = ends

    assert received(there, send(here, *sent)) == sent
    assert received(here, send(there, *sent)) == sent
    here.ping(b"x")
    parse(there, here.take())
    parse(here, there.take())
    assert here.pongs == [b"x"]
    parse(there, close(here, 4000, REASON))
    parse(here, there.take())
    assert there.info == CloseInfo(4000, REASON, "peer", True)
    assert here.info == CloseInfo(4000, REASON, "peer", True)
    assert here.take() == there.take() == b""


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut data at some places, beyond its end as well."""
    edges = [0, *sorted({min(place, len(data)) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


fragmented = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.text(max_size=30),
        st.lists(st.integers(0, 60), max_size=3),
    ),
    max_size=5,
)


@by_role
@given(sent=fragmented, places=st.lists(st.integers(0, 600), max_size=20))
def test_it_does_not_matter_how_bytes_are_read(
    role: str, sent: list[tuple[int, str, list[int]]], places: list[int]
) -> None:
    """Fragments and reads may be cut anywhere: the messages are the same."""
    make, turn = ROLES[role]
    data, expected = b"", list[str | bytes]()
    for opcode, text, cuts in sent:
        parts = cut(text.encode(), cuts)
        for number, part in enumerate(parts):
            kind = CONT if number else opcode
            data += frame(kind, part, fin=number == len(parts) - 1) + frame(PING)
        expected.append(text if opcode == TEXT else text.encode())
    wire = make()

    assert received(wire, *cut(turn(data + closing(4000)), places)) == expected
    assert wire.info == CloseInfo(4000, "", "peer", True)


@by_role
@pytest.mark.parametrize("size", [0, 40, 125, 126, 300])
def test_no_payload_is_taken_for_frames(role: str, size: int) -> None:
    """Whatever a payload looks like, and wherever it is cut: it is no message."""
    mask = MASK if role == "server" else None
    wanted = (frame(TEXT, "not this", mask=mask) * size)[:size]
    payload = bytes(
        b ^ m for b, m in zip(wanted, (mask or bytes(4)) * size, strict=False)
    )
    data = frame(BINARY, payload, mask=mask) + frame(TEXT, "this", mask=mask)
    data += frame(TEXT, "and", mask=mask, fin=False) + frame(CONT, " this", mask=mask)
    expected = [payload, "this", "and this"]

    for place in range(1, len(data)):
        assert received(ROLES[role][0](), data[:place], data[place:]) == expected
    assert received(ROLES[role][0](), *cut(data, [*range(len(data))])) == expected


@by_role
def test_the_core_is_given_no_small_message(role: str) -> None:
    """Behind each frame it is known that the core has it whole; else all would be slow.

    Nothing but the time it takes could tell.
    """
    make, turn = ROLES[role]
    wire = make(LARGE)
    for size in (0, 1, 125, 126, 2**16 - 1, 2**16):
        for opcode in (TEXT, BINARY, PING, PONG):
            payload = bytes(min(size, 125) if opcode in (PING, PONG) else size)
            parse(wire, turn(frame(opcode, payload)))
            assert wire._protocol.between_frames


@by_role
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, REASON), (None, "")])
def test_the_core_is_not_made_for_a_close(
    role: str, code: int | None, reason: str
) -> None:
    """It is most of what a connection costs that is opened and closed."""
    make, turn = ROLES[role]
    wire = make()
    assert parse(wire, turn(frame(TEXT, "a") + closing(code, reason)) + b"\xff")
    assert wire.info == CloseInfo(code or 1005, reason, "peer", True)
    assert not wire.open
    assert not wire.send({"type": "websocket.send", "text": "late"})
    wire.ping(b"late")
    assert frames_of(turn(wire.take())) == [(CLOSE, close_payload(code, reason))]
    wire.receive_eof()
    assert wire.info.initiator == "peer"
    assert wire._core is None


def noise(mask: bytes | None) -> st.SearchStrategy[list[bytes]]:
    """Return bytes of any kind, and frames that may be wrong in any way but one."""
    return st.lists(
        st.binary(max_size=60)
        | st.builds(
            frame,
            st.integers(0, 15),
            st.binary(max_size=140),
            fin=st.booleans(),
            rsv=st.sampled_from([0, 0, 0, 4, 1]),
            mask=st.just(mask),
        ),
        max_size=12,
    )


@by_role
@given(data=st.data(), deflate=st.booleans())
def test_no_bytes_raise_anything(role: str, data: st.DataObject, deflate: bool) -> None:
    """Whatever comes ends in messages and at most one end, which is told in a frame."""
    make, turn = ROLES[role]
    reads = data.draw(noise(MASK if role == "server" else None))
    wire = make(100, deflate=deflate)
    for read in reads:
        parse(wire, read)
    written = [
        payload for opcode, payload in frames_of(turn(wire.take())) if opcode == CLOSE
    ]

    assert len(written) == (wire.info is not None)
    if wire.info is not None and wire.info.code != 1005:
        assert written[0][:2] == close_payload(wire.info.code)
    wire.receive_eof()
    assert wire.info is not None


# Another implementation at the other end


def other(kind: ConnectionType, deflate: str | None) -> Connection:
    """Return wsproto's connection, with the agreement on compression given."""
    if deflate is None:
        return Connection(kind)
    extension = OtherDeflate(server_max_window_bits=12, client_max_window_bits=12)
    if kind is ConnectionType.CLIENT:
        extension.finalize(deflate)
    else:
        assert extension.accept(deflate) is not None
    return Connection(kind, [extension])


def heard(peer: Connection, data: bytes) -> tuple[list[str | bytes], list[object]]:
    """Let wsproto read; return the messages, and whatever else it finds."""
    found, rest, parts = list[str | bytes](), list[object](), list[str | bytes]()
    peer.receive_data(data)
    for event in peer.events():
        if not isinstance(event, Message):
            rest.append(event)
            continue
        parts.append(
            bytes(event.data) if isinstance(event, BytesMessage) else event.data
        )
        if event.message_finished:
            empty: str | bytes = b"" if isinstance(event, BytesMessage) else ""
            found.append(empty.join(parts))  # type: ignore[arg-type]  # all of one type
            parts.clear()
    return found, rest


AGREEMENTS = {
    "plain": None,
    "deflate": "permessage-deflate; server_max_window_bits=12;"
    " client_max_window_bits=12",
    "no takeover": "permessage-deflate; server_no_context_takeover;"
    " client_no_context_takeover; server_max_window_bits=12;"
    " client_max_window_bits=12",
}
SIDES: dict[str, tuple[Callable[..., Codec], ConnectionType]] = {
    "server": (server, ConnectionType.CLIENT),
    "client": (client, ConnectionType.SERVER),
}


@pytest.mark.parametrize("agreement", AGREEMENTS)
@pytest.mark.parametrize("side", SIDES)
@given(sent=messages, in_parts=st.booleans())
def test_another_implementation_understands(
    side: str, agreement: str, sent: list[str | bytes], in_parts: bool
) -> None:
    """wsproto receives what is sent, and what it sends is received, to the end."""
    make, kind = SIDES[side]
    deflate = AGREEMENTS[agreement]
    wire = make(deflate=deflate is not None, takeover=agreement != "no takeover")
    peer, data = other(kind, deflate), b""
    for message in sent:
        halves = [message[: len(message) // 2], message[len(message) // 2 :]]
        for part, last in zip(halves, (False, True), strict=True):
            if last and not in_parts:
                part = message
            elif not in_parts:
                continue
            data += peer.send(
                TextMessage(part, message_finished=last)
                if isinstance(part, str)
                else BytesMessage(part, message_finished=last)
            )

    assert received(wire, data) == sent
    assert heard(peer, send(wire, *sent)) == (sent, [])
    wire.ping(b"x")
    assert heard(peer, wire.take()) == ([], [Ping(b"x")])
    parse(wire, peer.send(Pong(b"y")) + peer.send(Ping(b"z")))
    assert wire.pongs == [b"y"]
    assert heard(peer, wire.take()) == ([], [Pong(b"z")])
    closed = CloseConnection(4000, REASON)
    parse(wire, peer.send(closed))
    assert wire.info == CloseInfo(4000, REASON, "peer", True)
    assert heard(peer, wire.take()) == ([], [closed])


@pytest.mark.parametrize("side", SIDES)
def test_another_implementation_answers_our_close(side: str) -> None:
    """wsproto reads code and reason of our closing frame, and its answer is seen."""
    make, kind = SIDES[side]
    wire, peer = make(), other(kind, None)
    [event] = heard(peer, close(wire, 4001, REASON))[1]
    assert event == CloseConnection(4001, REASON)
    parse(wire, peer.send(event.response()))

    assert wire.info == CloseInfo(4001, REASON, "peer", True)


# Steps


@pytest.mark.parametrize(
    ("small", "most"),
    [
        (frame(TEXT), 16 * 1024),
        (frame(PING), 16 * 1024),
        (frame(CONT, fin=False), CORE_STEP_BYTES),
    ],
    ids=["messages", "pings", "fragments"],
)
def test_one_call_deals_with_so_many_frames(small: bytes, most: int) -> None:
    """The others have their turn before the rest, which is not lost."""
    wire = Codec(Side.SERVER, max_message_bytes=100)
    parse(wire, frame(TEXT, "begun", fin=False) if small[0] == CONT else b"")
    data = small * 10_000

    calls = 0
    while data:
        wire.receive(data)
        assert 0 < len(data) - len(wire.rest) <= most + len(small)
        data, calls = wire.rest, calls + 1
    assert calls >= 60_000 // most
    assert wire.info is None


@pytest.mark.parametrize("size", [130, 66_000])
def test_a_large_message_is_one_step(size: int) -> None:
    """However it is cut, and whatever is behind it."""
    wire = Codec(Side.SERVER, max_message_bytes=size)
    large = frame(BINARY, bytes(range(10)) * (size // 10))
    data = large + frame(TEXT, "next") + large[:-1]

    assert parse(wire, data[:40]) == []
    first, second = parse(wire, data[40:])
    [third] = parse(wire, large[-1:])
    assert first["bytes"] == third["bytes"] == bytes(range(10)) * (size // 10)
    assert second["text"] == "next"
    assert wire.open


def test_a_lower_limit_holds_for_a_frame_that_is_incomplete() -> None:
    """It is judged anew once it is whole."""
    wire = Codec(Side.SERVER, max_message_bytes=1000)
    message = frame(BINARY, bytes(500))
    parse(wire, message[:300])
    wire.limit(400)
    parse(wire, message[300:])

    assert wire.info is not None
    assert wire.info.code == CloseCode.MESSAGE_TOO_BIG
