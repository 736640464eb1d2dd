"""uvicorn with the WebSockets of anyws.

A protocol class for uvicorn's own hook. uvicorn's sockets, HTTP, workers, reloader and
command line stay as they are; under every WebSocket the class puts frames and a session
of anyws. Applications need no change.

    uvicorn --ws anyws.uvicorn:WebSocketProtocol module:app
    uvicorn.run(app, ws="anyws.uvicorn:WebSocketProtocol")

The inside of the package
-------------------------

    uvicorn's HTTP protocol
        |  a request that asks for a WebSocket, and asyncio's transport
    WebSocketProtocol (_protocol.py) ..... the request, uvicorn's settings and log
        |                                  |
        |                                  ServerConnection ... `_server/connection`
        |                                  |
    UvicornTransport (_transport.py) ----- its bytes, by an Inlet of `_frames`

uvicorn hands over a connection by calling the class, `connection_made`, `data_received`
with the head of the request, and then `transport.set_protocol`. So the request is
complete within one call, and a task runs from then on: it hosts the application.

What holds:

* A task of the connection stands in uvicorn's `server_state.tasks` until the transport
  is closed, and the protocol in `server_state.connections`: uvicorn waits for both at
  its shutdown, and cancels the tasks after `timeout_graceful_shutdown`.
* At the shutdown open connections are closed with 1012, and those that are not accepted
  yet are rejected with 503.
* Once the task runs, the event loop's callbacks go to the `Inlet`, which tells the
  protocol of the end, and of all that concerns writing.

    for a change of                          see
    a setting of uvicorn                     `terms_of` in _protocol.py
    what is logged                           _protocol.py
    how bytes are written                    _transport.py
    the handshake, the end                   `_server/connection`
"""

from __future__ import annotations

from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from re import match as _match

if _find_spec("uvicorn") is None:
    raise ModuleNotFoundError(
        "anyws.uvicorn needs uvicorn: pip install 'anyws-websockets[uvicorn]'",
        name="uvicorn",
    )

if _match(r"0\.([0-9]|[12][0-9]|3[0-5])\b", _version("uvicorn")):
    raise RuntimeError(
        f"anyws.uvicorn needs uvicorn 0.36 or later, whose --ws takes a class, and not "
        f"{_version('uvicorn')}: pip install 'anyws-websockets[uvicorn]'"
    )

from ._protocol import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
