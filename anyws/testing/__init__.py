"""WebSocket clients for tests of ASGI applications: no socket, and every server.

`connect` calls an application as a server does and gives its peer, which has the verbs
of `anyws.ClientWebSocket` and can misbehave. It runs in the test's own task tree, on
either backend, and can take on the manners of several servers. The pytest plugin that
comes with the package has the fixtures `websocket_connect` and `hypercorn_server`.
"""

from __future__ import annotations

from .._values.errors import name_as_public as _name_as_public
from ._connect import connect
from ._errors import (
    ApplicationStillRunning,
    ClientDisconnected,
    DeadlineExceeded,
    LifespanFailed,
    Rejected,
)
from ._lifespan import lifespan
from ._peer.peer import Peer
from ._real_hypercorn import HypercornServer

__all__ = (
    "ApplicationStillRunning",
    "ClientDisconnected",
    "DeadlineExceeded",
    "HypercornServer",
    "LifespanFailed",
    "Peer",
    "Rejected",
    "connect",
    "lifespan",
)

_name_as_public(globals())
