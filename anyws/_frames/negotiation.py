"""The agreement of both ends on permessage-deflate.

The core of `websockets` compares an offer, an answer and the settings of this end. Its
window of 8 bits is added here, which zlib cannot make for data without a header. A
window of 9 bits does: zlib keeps 262 bytes of it for its look-ahead (`MIN_LOOKAHEAD`),
so it refers at most 250 bytes back, and 8 bits are 256 bytes.

Source: RFC 7692 section 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.headers import build_extension
from websockets.typing import ExtensionParameter

from .._values.deflate import DEFAULT_WINDOW_BITS, Deflate
from .deflate import DeflateExtension

NAME: Final = ServerPerMessageDeflateFactory.name

_LEAST_BITS: Final = 9  # that zlib can make
_CLIENT_BITS: Final = "client_max_window_bits"
_SERVER_BITS: Final = "server_max_window_bits"


class Offer(ClientPerMessageDeflateFactory):
    """A client's offer of compression, and the judge of the server's answer.

    By default it is the offer of browsers, which every server understands. It does not
    name `server_max_window_bits`: the core refuses a server that answers without it, as
    a server may that does not know the parameter. The client's own window may be
    smaller than the one that the server grants.

    Args:
        settings: The client's settings.
    """

    def __init__(self, settings: Deflate) -> None:
        self._settings = settings
        own = settings.client_max_window_bits
        super().__init__(
            server_no_context_takeover=settings.server_no_context_takeover,
            client_no_context_takeover=settings.client_no_context_takeover,
            server_max_window_bits=settings.server_max_window_bits,
            client_max_window_bits=True if own is None else max(own, _LEAST_BITS),
        )

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Return the parameters of the offer."""
        params = super().get_request_params()
        if self._settings.client_max_window_bits == 8:
            return _with_bits(params, _CLIENT_BITS, _LEAST_BITS, 8)
        return params

    def process_response_params(
        self,
        params: Sequence[ExtensionParameter],
        accepted_extensions: Sequence[Extension],
    ) -> DeflateExtension:
        """Return the extension that the server's answer asks for.

        Raises:
            NegotiationError: The answer is not one to the offer.
        """
        taken = _with_bits(params, _CLIENT_BITS, 8, _LEAST_BITS)
        agreed = super().process_response_params(taken, accepted_extensions)
        own = self._settings.client_max_window_bits or DEFAULT_WINDOW_BITS
        agreed.local_max_window_bits = min(
            agreed.local_max_window_bits, max(own, _LEAST_BITS)
        )
        return DeflateExtension.of(agreed, self._settings)


def agreement(
    settings: Deflate, offer: Sequence[ExtensionParameter]
) -> tuple[bytes, DeflateExtension]:
    """Return a server's answer to an offer, as in its header, and the extension.

    Raises:
        NegotiationError: The offer cannot be met.
    """
    value, agreed = _agreement(settings, tuple(offer))
    return value, DeflateExtension.of(agreed, settings)


# Clients of one kind all make the same offer, for which the core would make both
# contexts each time. A parameter may be there once only, so the offers that can be met
# are few and short.
@lru_cache(64)
def _agreement(
    settings: Deflate, offer: tuple[ExtensionParameter, ...]
) -> tuple[bytes, DeflateExtension]:
    own = settings.server_max_window_bits or DEFAULT_WINDOW_BITS
    eight = own == 8 or (_SERVER_BITS, "8") in offer
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=settings.server_no_context_takeover,
        client_no_context_takeover=settings.client_no_context_takeover,
        server_max_window_bits=max(own, _LEAST_BITS),
        client_max_window_bits=settings.client_max_window_bits or DEFAULT_WINDOW_BITS,
    )
    met = _with_bits(offer, _SERVER_BITS, 8, _LEAST_BITS)
    answer, agreed = factory.process_request_params(met, [])
    if eight:
        answer = _with_bits(answer, _SERVER_BITS, _LEAST_BITS, 8)
    value = build_extension([(NAME, answer)])
    return value.encode(), DeflateExtension.of(agreed, settings)


def _with_bits(
    params: Sequence[ExtensionParameter], name: str, bits: int, others: int
) -> list[ExtensionParameter]:
    """Return parameters with another number of bits in place of one."""
    wanted = (name, str(bits))
    return [(name, str(others)) if param == wanted else param for param in params]
