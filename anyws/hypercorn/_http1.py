"""HTTP/1.1 under the engine: Hypercorn's protocol object, with field lines combined.

Hypercorn 0.18 looks at the last line alone of the fields that ask for an upgrade, so a
client that writes `Connection` twice, as some proxies do, would get a plain response.
"""

from __future__ import annotations

from typing import Final

import h11
from hypercorn.protocol.h11 import H11Protocol

_COMBINED: Final = (b"connection", b"upgrade")


class EngineH11Protocol(H11Protocol):
    """One HTTP/1.1 connection."""

    async def _check_protocol(self, event: h11.Request) -> None:
        await super()._check_protocol(combined(event))

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(combined(request))


def combined(request: h11.Request) -> h11.Request:
    """Write several lines of `Connection` or `Upgrade` as one.

    A client that offers other protocols besides has its WebSocket, as Hypercorn has
    nothing else to offer but h2c, which is obsolete.

    Source: RFC 9110 sections 5.3 and 7.8; RFC 6455 section 4.2.1.
    """
    lines = list(request.headers.raw_items())
    asked = [(n.lower(), value) for n, value in lines if n.lower() in _COMBINED]
    fields = dict(asked)
    if len(fields) == len(asked) and b"," not in fields.get(b"upgrade", b""):
        return request  # as nearly always
    for name in _COMBINED:
        values = [value for raw_name, value in lines if raw_name.lower() == name]
        value = b", ".join(values)
        tokens = [token.strip().lower() for token in value.split(b",")]
        if name == b"upgrade" and len(tokens) > 1 and b"websocket" in tokens:
            value = b"websocket"
        if values and values != [value]:
            first = next(raw_name for raw_name, _ in lines if raw_name.lower() == name)
            lines = [line for line in lines if line[0].lower() != name]
            lines.append((first, value))
    if lines == request.headers.raw_items():
        return request
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=lines,
        http_version=request.http_version,
    )
