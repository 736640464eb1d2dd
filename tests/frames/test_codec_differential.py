"""The frame codec beside the core of `websockets` alone, on random frames.

The core gets each frame by itself, and this module makes the messages of its frames in
the simplest way. The codec gets the same bytes, cut anywhere. Both must find the same
messages, write the same answers and tell the same end, but for the `DEVIATIONS`.

A case is made of a seed and its number. A failure prints both; to see it again, or to
run more cases:

    ANYWS_CODEC_SEED=7 ANYWS_CODEC_CASES=1000000 pytest -k differential tests/frames
"""

from __future__ import annotations

import logging
import os
import zlib
from codecs import getincrementaldecoder
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import Protocol
from websockets.utils import apply_mask

from anyws._frames.codec import Codec, Side
from anyws._frames.deflate import DeflateExtension

from ..support.wired import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    close_payload,
    parse,
)

SEED: Final = int(os.environ.get("ANYWS_CODEC_SEED", "6455"))
QUICK: Final = 2_000  # cases of each kind
MANY: Final = 200_000  # cases of all kinds
CASES: Final = int(os.environ.get("ANYWS_CODEC_CASES", MANY))
ROUNDS: Final = 10  # in which many cases are run, so that each takes seconds

# Where the codec is right and the core alone is not, or leaves the matter to others.
CLOSE_BETWEEN_FRAGMENTS: Final = "a close between fragments is no violation"
TEXT_IS_UTF8: Final = "text that is no UTF-8 is 1007, at the first frame that shows it"
LIMIT_OF_MESSAGES: Final = "a limit holds for a message, after decompression"
DEVIATIONS: Final = {
    CLOSE_BETWEEN_FRAGMENTS: "RFC 6455 section 5.4",
    TEXT_IS_UTF8: "RFC 6455 sections 5.6 and 8.1",
    LIMIT_OF_MESSAGES: "RFC 6455 section 10.4, RFC 7692 section 6",
}

KINDS: Final = [(side, deflate) for side in Side for deflate in (False, True)]
by_kind = pytest.mark.parametrize(
    ("side", "deflate"),
    KINDS,
    ids=[f"{side.name} {'deflate' if deflate else 'plain'}" for side, deflate in KINDS],
)

QUIET: Final = logging.Logger("quiet", logging.CRITICAL)
UTF8: Final = getincrementaldecoder("utf-8")
SIZES: Final = (0, 0, 1, 1, 2, 3, 5, 8, 20, 60, 124, 125, 126, 127, 130, 200, 250)
LONG: Final = "aé€😀\r\n\0".encode() * 7_000
BAD_TEXTS: Final = (b"\xff", b"caf\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"ok\xe2\x82")
CODES: Final = (1000, 1001, 1011, 3000, 4001, 4999)
BAD_CODES: Final = (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
SETTINGS: Final[dict[str, Any]] = {"memLevel": 1}


def deflated(kind: type[PerMessageDeflate]) -> PerMessageDeflate:
    """Return an extension of this kind."""
    return kind(False, False, 12, 12, SETTINGS)


@dataclass(slots=True)
class Case:
    """One connection: what the peer sends, and how it is read.

    Attributes:
        limit: The largest message accepted.
        frames: What the peer sends.
        reads: The same bytes, cut anywhere.
        closed: Whether this end has closed before.
        ends: Whether the stream ends then.
    """

    side: Side
    deflate: bool
    limit: int
    frames: list[bytes]
    reads: list[bytes]
    closed: bool
    ends: bool


@dataclass(slots=True)
class Outcome:
    """What a connection has come to.

    Attributes:
        messages: Those that were received.
        pongs: The payloads of the pongs received.
        answers: The frames written; of a closing frame, only the code.
        end: Code, initiator and cleanness of the end, if there was one.
        deviations: Where the core alone would have come to something else.
    """

    messages: list[str | bytes]
    pongs: list[bytes]
    answers: list[tuple[int, bytes]]
    end: tuple[int, str, bool | None] | None
    deviations: tuple[str, ...] = ()

    def seen(self) -> tuple[object, ...]:
        """Return what has to be the same."""
        return self.messages, self.pongs, self.answers, self.end


class Frames:
    """Makes the frames of one case."""

    def __init__(self, random: Random, side: Side, *, deflate: bool) -> None:
        self._random = random
        self._masked = side is Side.SERVER
        self._deflate = zlib.compressobj(1, wbits=-12) if deflate else None
        self.frames: list[bytes] = []

    def add(
        self, opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0
    ) -> None:
        """Add a frame; rarely it breaks a rule of framing."""
        random, masked = self._random, self._masked
        if random.random() < 0.02:
            flaw = random.randrange(5)
            if flaw == 0:
                rsv ^= 1 << random.randrange(3)
            elif flaw == 1:
                opcode = random.choice((3, 7, 0xB, 0xF, CONT, TEXT, BINARY))
            elif flaw == 2:
                fin = not fin
            elif flaw == 3:
                masked = not masked
            else:
                payload += bytes(126)  # too long for a control frame
        size, bit = len(payload), 0x80 if masked else 0
        # A length may take more bytes than it needs; the core does not mind.
        wide = random.random()
        if size < 126 and wide > 0.02:
            head = bytes((fin << 7 | rsv << 4 | opcode, bit | size))
        elif size < 2**16 and wide > 0.01:
            head = bytes((fin << 7 | rsv << 4 | opcode, bit | 126))
            head += size.to_bytes(2, "big")
        else:
            head = bytes((fin << 7 | rsv << 4 | opcode, bit | 127))
            head += size.to_bytes(8, "big")
        if masked:
            head += MASK
            payload = apply_mask(payload, MASK)
        self.frames.append(head + payload)

    def add_message(self, limit: int) -> None:
        """Add a message, whole or in fragments, with control frames between them."""
        random = self._random
        size = random.choice(SIZES) if random.random() < 0.95 else limit - 1
        size += random.randrange(3) if size >= limit - 1 else 0
        opcode = random.choice((TEXT, BINARY))
        if random.random() < 0.04:
            payload = LONG[:size] + random.choice(BAD_TEXTS)
        else:
            payload = LONG[:size].decode(errors="ignore").encode()
        rsv = 0
        if self._deflate is not None and random.random() < 0.7:
            rsv, deflate = 4, self._deflate
            payload = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
            payload = payload[:-4]
            if random.random() < 0.02:
                payload = random.randbytes(random.randrange(1, 40))
        if random.random() < 0.6:
            self.add(opcode, payload, rsv=rsv)
            return
        places = range(len(payload) + 1)
        cuts = sorted(random.choices(places, k=random.randrange(4)))
        edges = [0, *cuts, len(payload)]
        last = len(edges) - 2
        for number, (start, end) in enumerate(pairwise(edges)):
            fin = number == last and random.random() < 0.97
            kind, bits = (CONT, 0) if number else (opcode, rsv)
            self.add(kind, payload[start:end], fin=fin, rsv=bits)
            if random.random() < 0.15:
                self.add_control()

    def add_control(self) -> None:
        """Add a ping or a pong; rarely a close, valid or not."""
        random = self._random
        kind = random.random()
        if kind < 0.45:
            self.add(PING, LONG[: random.choice((0, 0, 1, 4, 125))])
        elif kind < 0.85:
            self.add(PONG, LONG[: random.choice((0, 0, 1, 4, 125))])
        elif kind < 0.95:
            reason = random.choice((b"", b"bye", "grüß".encode(), b"x" * 123))
            self.add(CLOSE, close_payload(random.choice(CODES), reason))
        else:
            payloads = (b"", b"x", close_payload(1000, b"\xff"), bytes(124))
            codes = close_payload(random.choice(BAD_CODES))
            self.add(CLOSE, random.choice((*payloads, codes)))


def case_of(seed: int, number: int, side: Side, *, deflate: bool) -> Case:
    """Make a case."""
    random = Random(seed * 10_000_000 + number)
    limit = 300 if random.random() < 0.995 else 66_000
    frames = Frames(random, side, deflate=deflate)
    for _ in range(random.randrange(1, 6)):
        if random.random() < 0.75:
            frames.add_message(limit)
        else:
            frames.add_control()
    data = b"".join(frames.frames)
    if random.random() < 0.05:  # a frame that is not whole
        dropped = random.randrange(1, len(frames.frames[-1]) + 1)
        frames.frames[-1] = frames.frames[-1][:-dropped]
        data = data[:-dropped]
    way = random.random()
    places: Any = ()
    if way < 0.04 and len(data) < 500:
        places = range(len(data))
    elif way < 0.8:
        places = sorted(random.choices(range(len(data) + 1), k=random.randrange(6)))
    edges = [0, *places, len(data)]
    reads = [data[start:end] for start, end in pairwise(edges)]
    closed, ends = random.random() < 0.1, random.random() < 0.3
    return Case(side, deflate, limit, frames.frames, reads, closed, ends)


def answers_of(data: bytes, side: Side) -> list[tuple[int, bytes]]:
    """Read the frames that were written; of a closing frame, only its code."""
    answers, at = [], 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1] & 0x7F
        at += 2
        mask = b""
        if side is Side.CLIENT:
            mask, at = data[at : at + 4], at + 4
        payload = data[at : at + size]
        at += size
        payload = apply_mask(payload, mask) if mask else payload
        answers.append((opcode, payload[:2] if opcode == CLOSE else payload))
    return answers


def of_codec(case: Case) -> Outcome:
    """Let the codec read a case."""
    extensions = [deflated(DeflateExtension)] if case.deflate else []
    codec = Codec(case.side, max_message_bytes=case.limit, extensions=extensions)
    if case.closed:
        codec.send({"type": "websocket.close", "code": 4000, "reason": ""})
        codec.take()
    events = [event for read in case.reads for event in parse(codec, read)]
    messages = [e["text"] if e["bytes"] is None else e["bytes"] for e in events]
    if case.ends:
        codec.receive_eof()
    info = codec.info
    end = None if info is None else (info.code, info.initiator, info.clean)
    return Outcome(messages, codec.pongs, answers_of(codec.take(), case.side), end)


class Reference:
    """The core, and the least that makes messages of its frames."""

    def __init__(self, case: Case) -> None:
        # Compressed, the core alone would hold the limit against two sizes.
        limit = case.limit + (case.limit // 8 + 64 if case.deflate else 0)
        self._case = case
        self._core = Protocol(case.side, max_size=limit, logger=QUIET)
        self._core.extensions = [deflated(PerMessageDeflate)] if case.deflate else []
        self._payload = b""  # of the message under way
        self._opcode = Opcode.CONT
        self._decoder = UTF8()
        self._outcome = Outcome([], [], [], None)

    def read(self) -> Outcome:
        """Read the case frame by frame; return what becomes of it."""
        core, outcome = self._core, self._outcome
        if self._case.closed:
            core.send_close(4000)
            core.data_to_send()
        for data in self._case.frames:
            core.receive_data(data)
            for frame in core.events_received():
                if (error := self._take(frame)) is not None:
                    self._fail(*error)
                    return outcome
            if core.parser_exc is not None:
                self._violated()
                return outcome
            self._answered()
            if core.close_rcvd is not None:
                outcome.end = int(core.close_rcvd.code), "peer", True
                return outcome
        if self._case.ends:
            outcome.end = 1006, "network", False
        return outcome

    def _take(self, frame: Any) -> tuple[int, str] | None:
        """Take a frame; return the code that it deserves, and the deviation."""
        opcode = frame.opcode
        if opcode is Opcode.PONG:
            self._outcome.pongs.append(bytes(frame.data))
        if opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        if opcode is not Opcode.CONT:
            self._opcode, self._payload, self._decoder = opcode, b"", UTF8()
        self._payload += frame.data
        if len(self._payload) > self._case.limit:
            return 1009, LIMIT_OF_MESSAGES
        if self._opcode is Opcode.TEXT:
            try:
                self._decoder.decode(bytes(frame.data), frame.fin)
            except UnicodeDecodeError:
                return 1007, TEXT_IS_UTF8
        if frame.fin:
            is_text = self._opcode is Opcode.TEXT
            message = self._payload.decode() if is_text else self._payload
            self._outcome.messages.append(message)
        return None

    def _answered(self) -> None:
        written = b"".join(self._core.data_to_send())
        self._outcome.answers += answers_of(written, self._case.side)

    def _fail(self, code: int, deviation: str) -> None:
        """End as the codec has to, where the core alone has found no violation."""
        self._answered()
        if not self._case.closed:
            self._outcome.answers.append((CLOSE, close_payload(code)))
        self._end_with(code)
        self._outcome.deviations = (deviation,)

    def _end_with(self, code: int) -> None:
        self._outcome.end = 4000 if self._case.closed else code, "local", False

    def _violated(self) -> None:
        """End by the violation that the core has found; it is one, but for a close."""
        core, outcome = self._core, self._outcome
        self._answered()
        closed = core.close_rcvd
        if closed is None or str(core.parser_exc) != "incomplete fragmented message":
            assert core.close_sent is not None
            self._end_with(int(core.close_sent.code))
            return
        outcome.end = int(closed.code), "peer", True
        outcome.deviations = (CLOSE_BETWEEN_FRAGMENTS,)
        if not self._case.closed:
            code = b"" if closed.code == 1005 else close_payload(int(closed.code))
            outcome.answers[-1] = CLOSE, code


def compare(cases: range, side: Side, *, deflate: bool) -> Counter[str]:
    """Run cases; return how often the codec deviated from the core."""
    deviations = Counter[str]()
    for number in cases:
        case = case_of(SEED, number, side, deflate=deflate)
        found, wanted = of_codec(case), Reference(case).read()
        assert found.seen() == wanted.seen(), (
            f"seed {SEED}, case {number} of {side.name}, deflate={deflate}: {case}"
        )
        deviations.update(wanted.deviations)
    return deviations


@by_kind
def test_the_codec_finds_what_the_core_finds(side: Side, deflate: bool) -> None:
    """Some cases of each kind."""
    compare(range(QUICK), side, deflate=deflate)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(ROUNDS))
@by_kind
def test_the_codec_finds_what_the_core_finds_in_many_cases(
    side: Side, deflate: bool, turn: int
) -> None:
    """Many cases of each kind; every deviation that is named occurs."""
    count = CASES // (len(KINDS) * ROUNDS)
    found = compare(range(count * turn, count * (turn + 1)), side, deflate=deflate)

    wanted = set(DEVIATIONS) if deflate else set(DEVIATIONS) - {LIMIT_OF_MESSAGES}
    assert wanted <= set(found)
