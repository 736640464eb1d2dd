"""Hypercorn as a WebSocket server that keeps what it promises.

An engine beside Hypercorn 0.18: its sockets, its HTTP, its workers and its command line
as they are, and under every WebSocket our own frames and session. Applications need no
change.

    python -m anyws.hypercorn -k trio module:app     # Hypercorn's own options
    anyws.hypercorn.run(app, backend="trio", bind="127.0.0.1:8000")
    await anyws.hypercorn.serve(app, config)         # in your own event loop

Who keeps calling `hypercorn` itself names the application through `load`, or uses
`engine()` round Hypercorn's own functions. WebSockets over HTTP/1.1 and HTTP/2 (RFC
8441) are served; over HTTP/3 they are refused with 501, since Hypercorn 0.18 never
tells an application that such a connection has ended.
"""

from __future__ import annotations

from importlib.util import find_spec as _find_spec

if _find_spec("hypercorn") is None:
    raise ModuleNotFoundError(
        "anyws.hypercorn needs Hypercorn: install the extra 'hypercorn'",
        name="hypercorn",
    )

from ._engine import engine, load
from ._serve import run, serve

__all__ = ["engine", "load", "run", "serve"]
