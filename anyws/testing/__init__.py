"""WebSocket clients for tests of ASGI applications, without a socket.

    the test's block                                  the application under test
           |                                                  ^
           v                                                  | receive, send
      Peer (_peer/peer.py), an anyws.ClientWebSocket     Server (_server/server.py)
           |                                                  ^
           v         messages, pings, closes, resets          |    in one Dialect
      PeerChannel (_peer/pipe.py) --------------------> Uplink, Inbox

`connect` calls an application as a server does, imitates the server that the test
names, and gives the test a peer: a client with all methods, which can misbehave. Both
run in the task tree of the test, on either backend, and everything between them is in
memory. `HypercornServer` is the other half of the package: a real server, in a thread.
The pytest plugin has a fixture for each.

How a test runs (`_connect.py`, `_run.py`):

1. `connect` checks its arguments, makes the scope and chooses the dialect.
2. On entry, the lifespan starts if it was asked for; then the application starts, in a
   task beside the block. The entry waits for its answer to the opening handshake.
3. The block runs. Each method of the peer that waits has a deadline, whose error shows
   the last events and the line at which the application waits (`_server/history.py`).
   The parts of `send_stream` and `receive_stream` have none.
4. On leaving, the peer closes as a client does, and the application is waited for.
5. `Run.judge` raises one error, the cause: an error of the application is raised
   instead of the errors that it has caused in the block.

The theory of the server (`_server/`): a server is one state machine and one table.

* `Dialect` is the table: each field is one difference between servers that an
  application can see. A new server is a new row. A new difference is a new field, and
  the field's default is what the other servers do. It also needs a probe in
  `tests/support/probes.py`: the probes compare each dialect with its real server.
* `Server` is the state machine of one connection. No task belongs to it. It takes its
  next step when the peer sends, when the application calls, or when the event loop
  turns (`Pause`).
* The way in has two queues. `Uplink` holds what has arrived at the server's socket, and
  is full at 64 KiB: then the peer waits. `Inbox` holds the events that the server has
  read for the application; the dialect says how many.
* Every `receive` and `send` of the application is a checkpoint, whether it returns or
  raises. So no application can keep a test from ending.

The theory of the peer (`_peer/`): a peer is the library's own client over a channel
that has no frames.

* `PeerChannel` is the direct channel of the peer's session. It owns the items that the
  server has written and the peer has not read. While the peer stalls, they add up
  to 64 KiB of messages; then the server waits.
* `Peer` adds deadlines to the methods of a client, and the faults of a peer:
  `abort`, `send_eof`, `stall`, `slow`, `flood`, `ignore_pings`. What was sent before a
  fault arrives before it.
* There are no bytes: compression, fragments and invalid frames need a real server.

Which file to change: how a server behaves, `_server/dialects.py`; the effect of that,
`_server/server.py`; a new fault of peers, `_peer/peer.py`; which error a test gets,
`_run.py`; the scope, `_server/scope.py`.
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
