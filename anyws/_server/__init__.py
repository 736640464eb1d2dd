"""The server's side: how the session of a connection meets an ASGI application.

    foreign ASGI server       anyws.uvicorn, anyws.serve        anyws.hypercorn
          |                              |                              |
      scope, receive, send      request.py: the head                    |
          |                     connection.py: ServerConnection    EngineStream
    guard.py: Guard.__call__             |                              |
          |         makes a Session,     +-- handshake.py: checks the --+
          |         puts it into         |   request, and answers       |
          |         the scope            +-- server_channel.py: frames -+
          +-------------+----------------+------------------------------+
                        |
                        |
                  guard.py: host()      runs the application inside the session
                        |                and inside drain.py: Drain.hosting()
          +-------------+----------------+
          |                              |
    middleware.py                   endpoint.py
    any ASGI application            one handler: `await handler(ws)`
          |                              |
          +-------------+----------------+
                        |
                  websocket.py: WebSocket    joins the session; or, without a guard
                                             outside, hosts one of its own; or,
                                             without `async with`, has none (plain)

Where the frames are ours, a server reads the head of a request and makes a
`ServerConnection`, which has the transport for itself from then on: it answers the
opening handshake, hosts the session, and closes the transport at the end. Hypercorn
writes the HTTP of its connections itself, and shares them between HTTP/2 streams, so
its `EngineStream` does the same with the same parts: handshake, channel, scope, host.

A connection has one session. The *host* is the outermost block that has the session:
the first guard that the scope passes, the server itself, or the `async with` of a
`WebSocket` that finds no session in its scope. The host starts the session's tasks and
waits for their end. Each block further in *joins* the session and starts no task.

The host of the session decides how the connection ends, and decides last (law 8). An
`async with` or an endpoint that only joins closes with 1000 when it returns. It leaves
an exception to the code outside: an application's exception handler may close with a
code of its own. If nothing has closed the connection by then, the host does, with the
code for the return or the exception that leaves its block. A middleware that joins only
calls its application, and ends nothing. FastAPI calls exception handlers after it has
left the block of a dependency, so a block that hosts its session there leaves the
connection to the handlers, too, and closes it behind them (`handlers.py`).

Invariants:

* A session stands in the scope, and other code finds it there, in one of two places:
  `scope["anyws.session"]`, which is looked up first, and
  `scope["extensions"]["anyws.session"]` (`_session/scope.py` says why). The guard
  changes the scope in place, since outer middleware reads in it what inner routers have
  written, and takes the session out when it ends. A `WebSocket` that hosts its own
  session leaves it there: a block that comes later finds that the connection has ended.
* If a `WebSocket` hosts a session, other objects may know its channel, too: the FastAPI
  object from which the `WebSocket` was made, or a second object of ours. They read and
  write through the session from then on (`origin.py`, `Session.starts_at`).
* The `receive` and `send` that a guard hands on are the session's. So the law also
  holds for an application that uses another WebSocket class, in all that the class does
  by these two functions.
* An exception that only says that this connection has ended, a `WebSocketException`, or
  after the accept an `HTTPException`, stops at the guard (`is_answered`). All others go
  on to the server's log, once.
* A response that the default handler of FastAPI or Starlette sends after the accept
  becomes a close (`_session/unsent_response.py`). A user's own is refused before that,
  by the class.
* A message never goes round a middleware that wraps `send`. If an object that joins has
  another `send` than the session's own, its messages take the session's passage
  (`_session/passage.py`). `wrapping.py` knows two wrappers of Starlette that need none.
* `WebSocket` checks an event before it changes a state: a refused event leaves both
  states as they were.

Who owns which state:

* `WebSocket` owns `client_state`, `application_state`, `subprotocol` and the close info
  in plain mode only. With a session these are properties that read the session's.
* `Drain` knows the connections of its guards: those that are being served, with the
  cancel scope of each, and those that it has closed, whose closing handshake may still
  be under way.
  A soft drain tells sessions first (`Session.tell_of_drain`), in the task that has
  called `Drain.aclose`; there is no other task for it.
* `Inspection` knows whether its guard or server has looked at the application, and what
  is wrong with that.
* `Guard` owns nothing of a connection; `options` and `drain` are the same for all.
* `ServerHandshake` is one request, already checked; it has no state that changes.
* `ServerConnection` knows how the opening handshake was answered, and whether the end
  has begun. `Terms` has the settings that all connections of a server have in common.
* `StreamChannel` owns the bytes that were read and not yet handed over.

Imports within the wing: `endpoint` and `middleware` import `guard`, which imports
`drain`; `endpoint` also imports `websocket`, which imports `wrapping`, `origin`,
`handlers` and `plain_mode`, which imports `handshake_verbs`. `connection` and
`middleware` import `inspection`, which reaches down to `websocket` to know the class;
`connection` also imports the parsers, `guard` and `server_channel`. `containment`,
`handshake`, `handshake_verbs` and `wrapping` import no file of the wing. Below are
`_session` (the law), `_messages` (the verbs that both ends have), `_values` (events,
states, headers) and, for the servers of our own, `_frames`. Above are the servers
(`_serve`, `anyws.uvicorn`, `anyws.hypercorn`) and `anyws.testing`, which calls `host`
and `Drain`.

Which file to change:

* how a page, or a client with too many connections, is refused: admission.py
* a rule for what a client's opening handshake may say: handshake.py
* how the head of a request is read, and its limits: request.py
* what an HTTP response of ours looks like: response.py
* what the scope tells of TLS: tls_extension.py
* how a connection of ours is read: server_channel.py
* how it is answered and closed: connection.py
* what an exception of an application ends: containment.py
* a rule for what an application may answer to it: `_values/events.py` and `headers.py`
* what happens to open connections when a server stops: drain.py
* when an application is looked through for wrong annotations: inspection.py
* which annotations are wrong, and where: misannotated.py, annotations.py
* which exceptions reach the server: guard.py
* what a plain HTTP request or the lifespan protocol gets from an endpoint: endpoint.py
* which wrappers of `send` are looked through: wrapping.py
* when an exception handler of FastAPI chooses the code: handlers.py
* how an application accepts or rejects a client, and finds a token: handshake_verbs.py
* how an event passes where there is no session: plain_mode.py
* which objects of one connection share its session: origin.py
* a method of Starlette's class, or one that only the server's end has: websocket.py
* a method of both ends: `_messages/verbs.py`
* how a connection is read, written or ended: not here, but in `_session`
"""
