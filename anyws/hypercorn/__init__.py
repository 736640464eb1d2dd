"""Hypercorn with the WebSockets of anyws.

An engine beside Hypercorn 0.18. Hypercorn's sockets, HTTP, workers and command line
stay as they are; under every WebSocket the engine puts frames and a session of anyws.
Applications need no change.

    python -m anyws.hypercorn -k trio module:app     # Hypercorn's own options
    anyws.hypercorn.run(app, backend="trio", bind="127.0.0.1:8000")
    await anyws.hypercorn.serve(app, config)         # in your own event loop

A program that calls `hypercorn` itself can name its application through `load`, or call
Hypercorn's functions inside `engine()`. WebSockets over HTTP/1.1 and HTTP/2 (RFC 8441)
are served. Over HTTP/3 they are refused with 501, since Hypercorn 0.18 never tells an
application that such a connection has ended.

The inside of the package
-------------------------

    serve, run, load, the command line
        |  install
    _engine ------- replaces names in Hypercorn's modules: classes by subclasses, and
        |           `raise_shutdown` and `worker_serve` by functions of the engine
        |
    Backend, Worker ............ one per worker: settings, drain, the set of connections
        |
    EngineTCPServer ............ one per socket; the task of the connection reads here,
        |                        or, on asyncio after the upgrade, callbacks do
        |
        +-- HTTP/1.1: EngineH11Protocol (`_http1`), until the upgrade
        |                 |
        +-- HTTP/2: EngineH2Protocol (`_http2`), many streams
                          |
                      EngineStream ......... one per WebSocket: handshake, session, end
                          |
                      FrameChannel, Session ........ `_frames`, `_session`

Hypercorn owns sockets, TLS, HTTP, the lifespan, worker processes and the access log.
The engine owns a WebSocket from its opening handshake to its end. What holds:

* No class or function of Hypercorn is copied or changed. Only names in its modules are
  set to the engine's classes and functions, and set back when `engine()` is left.
  Another version of Hypercorn may look up other names, so the engine refuses a version
  that it was not written for.
* The application runs inside a session whether or not it knows of anyws; the session
  stands in the scope, and `anyws.WebSocket` joins it there.
* Reading never waits for an application: a full inbound queue stops the reading
  (HTTP/1.1), or keeps the stream's window closed (HTTP/2).
* An error in one connection is logged once and ends that connection; an error in one
  HTTP/2 stream resets that stream.
* Each step of an end has a deadline: handlers `drain_timeout`, a close `close_timeout`,
  plain requests `graceful_timeout`; then the worker aborts the connections that are
  left.

Who owns which state: `Worker` owns what all connections of a worker share; an
`EngineTCPServer` its socket; an `EngineStream` the opening handshake and the order of
the end; the `Session` everything that the application sees. Hypercorn hands a `Config`
to each connection, and the worker's copy of it carries the `Worker` (`worker_of`).
`raise_shutdown` gets no `Config`, and finds the `Worker` in a context variable
(`current_worker`).

    for a change of                          see
    a setting of operators                   _worker.py
    the drain, the end                       _worker.py; `_abort_later` of a backend
    signals                                  `_serve/signals`
    the bytes of one kind of event loop      _asyncio.py, _trio.py
    what both event loops share              _connection.py
    the keep-alive time of HTTP              _idle.py
    the handshake, access log, closing       _stream.py
    how HTTP/1.1 asks for an upgrade         _http1.py
    HTTP/2 streams and windows               _http2/
    what is logged, and how often            _logging.py
    what counts as an application            _engine.py
    the refusal over HTTP/3                  _http3.py
    the names that Hypercorn looks up        _engine.py
    keywords of `serve` and `run`            _serve.py
    command-line options                     __main__.py
"""

from __future__ import annotations

from importlib.util import find_spec as _find_spec

if _find_spec("hypercorn") is None:
    raise ModuleNotFoundError(
        "anyws.hypercorn needs Hypercorn: pip install 'anyws-websockets[hypercorn]'",
        name="hypercorn",
    )

from ._engine import engine, load
from ._serve import run, serve

__all__ = ["engine", "load", "run", "serve"]
