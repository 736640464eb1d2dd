"""What both ends agree on of compression, and messages of each by the other."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from anyws import Deflate
from anyws._frames.deflate import DeflateExtension
from anyws._frames.negotiation import NAME, Offer, agreement

bits = st.none() | st.integers(8, 15)
settings = st.builds(
    Deflate,
    threshold_bytes=st.integers(0, 2000),
    level=st.integers(1, 9),
    memory_level=st.integers(1, 9),
    server_max_window_bits=bits,
    client_max_window_bits=bits,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
)
DEFAULT = Deflate()


def offer_of(client: Deflate) -> str:
    """Return what a client with these settings offers."""
    return build_extension([(NAME, list(Offer(client).get_request_params()))])


def agreed(client: Deflate, server: Deflate) -> tuple[str, Any, Any]:
    """Return the answer, and the extensions of the client and the server."""
    [(_, offered)] = parse_extension(offer_of(client))
    value, theirs = agreement(server, offered)
    [(_, answer)] = parse_extension(value.decode())
    return value.decode(), Offer(client).process_response_params(answer, []), theirs


def repetitive(seed: int) -> bytes:
    """Return bytes that repeat themselves at every distance up to some thousands."""
    random = Random(seed)
    pieces = [random.randbytes(random.randrange(3, 40)) for _ in range(60)]
    return b"".join(random.choices(pieces, k=400))


@given(client=settings, server=settings, seed=st.integers(0, 99))
def test_both_ends_understand_each_other(
    client: Deflate, server: Deflate, seed: int
) -> None:
    """Whatever either names: the windows are as small as both want."""
    _, ours, theirs = agreed(client, server)
    assert ours.remote_no_context_takeover is theirs.local_no_context_takeover
    assert ours.local_no_context_takeover >= theirs.remote_no_context_takeover
    assert ours.local_max_window_bits <= max(9, theirs.remote_max_window_bits)
    assert theirs.local_max_window_bits <= max(9, ours.remote_max_window_bits)
    limits = client.client_max_window_bits or 12, server.client_max_window_bits or 12
    assert ours.local_max_window_bits == max(9, min(limits))
    limits = client.server_max_window_bits or 15, server.server_max_window_bits or 12
    assert theirs.local_max_window_bits == max(9, min(limits))
    for one, other in ((ours, theirs), (theirs, ours)):
        for number in range(3):
            frame = Frame(Opcode.BINARY, repetitive(seed + number))
            got = other.decode(one.encode(frame), max_size=100_000)
            assert got.data == frame.data


def test_the_default_is_the_offer_of_browsers() -> None:
    """Every server understands it."""
    assert offer_of(DEFAULT) == "permessage-deflate; client_max_window_bits"


@pytest.mark.parametrize(
    ("client", "offer"),
    [
        ({"client_max_window_bits": 10}, "client_max_window_bits=10"),
        ({"client_max_window_bits": 8}, "client_max_window_bits=8"),
        (
            {"server_max_window_bits": 8},
            "server_max_window_bits=8; client_max_window_bits",
        ),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            (
                "server_no_context_takeover; client_no_context_takeover; "
                "client_max_window_bits"
            ),
        ),
    ],
)
def test_what_a_client_offers(client: dict[str, Any], offer: str) -> None:
    """The parameters that it names."""
    assert offer_of(Deflate(**client)) == f"permessage-deflate; {offer}"


@pytest.mark.parametrize(
    ("server", "answer"),
    [
        ({}, "server_max_window_bits=12; client_max_window_bits=12"),
        (
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "server_max_window_bits=15; client_max_window_bits=15",
        ),
        (
            {"server_max_window_bits": 8, "client_max_window_bits": 8},
            "server_max_window_bits=8; client_max_window_bits=8",
        ),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            (
                "server_no_context_takeover; client_no_context_takeover; "
                "server_max_window_bits=12; client_max_window_bits=12"
            ),
        ),
    ],
)
def test_what_a_server_answers(server: dict[str, Any], answer: str) -> None:
    """The parameters that it names, to the offer of browsers."""
    value, _, _ = agreed(DEFAULT, Deflate(**server))
    assert value == f"permessage-deflate; {answer}"


def test_a_server_that_does_not_do_as_asked_is_refused() -> None:
    """Neither one that leaves out a parameter, nor one that takes a larger window."""
    offer = Offer(Deflate(server_max_window_bits=10, server_no_context_takeover=True))
    takeover = ("server_no_context_takeover", None)
    for answer in ([], [takeover], [takeover, ("server_max_window_bits", "11")]):
        with pytest.raises(NegotiationError):
            offer.process_response_params(answer, [])


def test_what_was_agreed_on_has_the_settings_of_its_own_end() -> None:
    """The level, the memory and the threshold are told to nobody."""
    mine = Deflate(level=1, memory_level=9, threshold_bytes=7)
    _, ours, theirs = agreed(mine, DEFAULT)
    assert ours.compress_settings == {"level": 1, "memLevel": 9}
    assert ours.threshold_bytes == 7
    assert theirs.compress_settings == {"level": 6, "memLevel": 5}
    assert theirs.threshold_bytes == 256


def test_the_window_of_8_bits_is_what_the_peer_can_read() -> None:
    """A peer that holds 256 bytes inflates what zlib makes with 9 bits."""
    offered = ClientPerMessageDeflateFactory(server_max_window_bits=8)
    value, theirs = agreement(DEFAULT, list(offered.get_request_params()))
    assert value.decode().startswith("permessage-deflate; server_max_window_bits=8")
    peer = PerMessageDeflate(False, False, 8, 12)
    for seed in range(50):
        frame = Frame(Opcode.BINARY, repetitive(seed))
        assert peer.decode(theirs.encode(frame)).data == frame.data
    assert isinstance(theirs, DeflateExtension)
