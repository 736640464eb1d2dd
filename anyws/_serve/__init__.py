"""`anyws.serve`: a WebSocket server without an ASGI server, in its user's task tree.

    the user's block  --- async with serve(...) ---  Server (server.py)
                                                        |  _run: a task, shielded
                                                        |  once it has started
          +------------------+--------------------------+
          v                  v                          v
    Lifespan           Listeners                  Drain (_server)
    (lifespan.py:      (listeners.py: accept,          |
     its own task)      one task a listener)           |
                             v                         |
                       Reception (reception.py)        |
          a plain socket     |     a stream, TLS       |
                  +----------+-----------+             |
                  v                      v             |
        Arrival (arrival.py):     a task from its first byte on:
        no task; called with      the functions in greeting.py
        what the Watcher reads           |             |
                  +----------+-----------+             |
                             |   the head of the request is complete
                             v                         |
                       ServerConnection (_server/connection) <-- counted by the Drain
                             |                    shown as ServedConnection (served.py)
                             v   a task
                       the application (application.py: what counts as one)

Most connections are plain sockets of AnyIO's own listeners. They cost the least: they
are accepted by a system call, read in callbacks (`_frames/watched_socket.py`), and have
a task once the head of their request is complete. Everything else (TLS, a listener of
the user's, a system without a watcher) is one of AnyIO's streams in a task of its own.
From the complete head on both are the same.

`accept_stream` (stream.py) is for one stream that somebody else has accepted: the head,
then a `ServerConnection`, whose session the user's own block hosts.

What owns which state:

* `Server` owns the order of things: listen, startup, accept; and at the end: close the
  listeners, drop the half-open connections, drain, shutdown. It owns the timekeeper and
  the watcher, whose tasks end after those of all connections.
* `Reception` knows the connections whose request is complete.
* `Entrance` (greeting.py) knows those whose request is not, bounded in number and time.
* `Listeners` owns the listeners, and the files of unix sockets.
* `Lifespan` owns the application's lifespan task and its state.

Invariants:

* All tasks are in the task group of the block. Leaving the block waits for them.
* A cancellation of the user's block does not reach the connections: `_run` is shielded
  once it has started, sees that the block is left, and drains. So the peers see
  `drain_code`, and handlers have `drain_timeout`.
* Nothing that a peer sends, and no exception of an application, ends another connection
  or the server. An exception is logged once, to `anyws.server`. Actions of a peer are
  not logged.
* The resources of a peer that is not served yet are bounded: 64 KiB of head,
  `open_timeout` seconds, and `MAX_HALF_OPEN` connections of all peers, of which the
  oldest gives way. Above `max_connections` the answer is a 503.
* After an error of accepting (no descriptor is left), the server waits, and logs it
  once a minute.

Which file to change:

* an argument of `serve`, the order of start and end: server.py
* what a client is told before it is a WebSocket: greeting.py
* how a connection gets from a listener to the application: reception.py; before the
  head of its request is complete, without a task: arrival.py
* another kind of address, URLs: listeners.py
* what `Server.connections` tells: served.py
* what may be served, and `module:app`: application.py
* which signals end a process: signals.py

Imports point down: signals, application, lifespan, listeners, greeting, arrival,
served, reception, server, stream.
"""
