"""What a client agrees to in the opening handshake, without a connection."""

from __future__ import annotations

import zlib
from itertools import product
from random import Random
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

import anyws
from anyws._client.handshake import ClientHandshake, checked_subprotocols
from anyws._client.url import parse_url

BITS = [None, *range(8, 16)]

# Text that is worth compressing, and refers to itself at every distance up to 6000.
RANDOM = Random(1)
WORDS = [RANDOM.randbytes(RANDOM.randrange(3, 40)) for _ in range(60)]
DATA = b"".join(RANDOM.choice(WORDS) for _ in range(300))


def agreed(parameters: str) -> Any:
    """Return what comes of a server's answer to the offer of compression."""
    handshake = ClientHandshake(parse_url("ws://localhost"))
    lines = handshake.request.decode().split("\r\n")
    key = dict(line.split(": ", 1) for line in lines[1:-2])["Sec-WebSocket-Key"]
    answer = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        f"Sec-WebSocket-Extensions: permessage-deflate{parameters}",
    ]
    assert handshake.receive_data("\r\n".join([*answer, "", ""]).encode())
    (extension,) = handshake.extensions
    return extension


def inflated(inflater: Any, data: bytes) -> bytes:
    """Decompress a message; refuse what goes back over the window.

    zlib looks back as far as its output goes, and is therefore given no room for any.
    """
    result, data = b"", data + b"\0\0\xff\xff"
    while piece := inflater.decompress(data, 1):
        result, data = result + piece, inflater.unconsumed_tail
    return result


@pytest.mark.parametrize("client", BITS)
@pytest.mark.parametrize("server", BITS)
def test_every_answer_to_the_offer_of_compression(
    client: int | None, server: int | None
) -> None:
    """Each end keeps within the window that the other one has for it."""
    windows = f"; client_max_window_bits={client}" if client else ""
    windows += f"; server_max_window_bits={server}" if server else ""
    for ours, theirs in product([False, True], repeat=2):
        parameters = windows
        parameters += "; client_no_context_takeover" if ours else ""
        parameters += "; server_no_context_takeover" if theirs else ""
        extension = agreed(parameters)

        inflater = zlib.decompressobj(wbits=-(client or 15))
        deflater = zlib.compressobj(wbits=-max(server or 15, 9))
        for _ in range(2):
            if ours:
                inflater = zlib.decompressobj(wbits=-(client or 15))
            if theirs:
                deflater = zlib.compressobj(wbits=-max(server or 15, 9))
            sent = extension.encode(Frame(Opcode.BINARY, DATA))
            assert len(sent.data) < len(DATA)
            assert inflated(inflater, bytes(sent.data)) == DATA
            data = deflater.compress(DATA) + deflater.flush(zlib.Z_SYNC_FLUSH)
            received = extension.decode(
                Frame(Opcode.BINARY, data[:-4], rsv1=True), max_size=len(DATA)
            )
            assert received.data == DATA


@pytest.mark.parametrize("value", ["8", '"8"'])
def test_a_window_of_8_bits(value: str) -> None:
    """It is one of 9 bits for zlib, which has no use for the second half."""
    assert agreed(f"; client_max_window_bits={value}").local_max_window_bits == 9
    assert agreed(f"; server_max_window_bits={value}").remote_max_window_bits == 8


@pytest.mark.parametrize("name", ["client_max_window_bits", "server_max_window_bits"])
@pytest.mark.parametrize("value", ["", "=7", "=16", "=08", "=-8", "=8; {name}=8"])
def test_a_window_that_is_none(name: str, value: str) -> None:
    """An answer has a number from 8 to 15, once (RFC 7692 section 7.1.2)."""
    with pytest.raises(anyws.ProtocolError, match="permessage-deflate"):
        agreed(f"; {name}{value.format(name=name)}")


def test_no_error_shows_a_token_that_is_offered() -> None:
    """Padded base64 is no subprotocol, and a secret."""
    for offers in ["bearer", "s3cret=="], ["bearer", "s3cret", "a", "a"]:
        with pytest.raises(ValueError, match=r"\*{3}") as caught:
            checked_subprotocols(offers)
        assert "s3cret" not in str(caught.value)
