"""Names, records, and rules for what may be sent: pure values, without I/O.

The wing holds tables, frozen records, errors and pure functions. No module imports
AnyIO, has a clock, keeps a connection, or waits. So each can be tested by calling it,
and every other wing may use it.

    what the peer or the server says        what the application says
                 |                                     |
                 v                                     v
        events   info_of, size_of,             events   outgoing, measured,
                 text_of, bytes_of                      checked_close
                 |                                     |  headers, closing
                 v                                     v
        states   next_state(CLIENT, ...)       states   next_state(APPLICATION, ...)
                 |                                     |
                 +-----------> a session <-------------+
                                   |
              closing.CloseInfo, errors, statistics: what is told of it

The files; each may import only those above it:

    signatures   the parameters of a callable, in which annotations may name anything
    closing      close codes, close reasons, and `CloseInfo`: how a connection ended
    errors       the tree of errors; its docstring lists them
    deflate      `Deflate`: the settings of compression
    limits       `Heartbeat`, `ConnectionLimit`: rules beyond buffers. A limit counts
                 the connections of each client: the one object here that changes
    allowed_origins  which pages may connect: the rule for the header `Origin`
    message_codec  the protocol `Codec`, and what the errors of codecs become
    statistics   `Statistics`: the counters of one connection
    observer     the protocol `Observer`, and what it is told
    options      `Options`: the settings of one connection, and what values they take
    states       the table (role, state, event) -> state of a WebSocket over ASGI
    headers      which headers may be added to an opening handshake, or to a denial
                 response (the HTTP response by which an application rejects one)
    events       ASGI's events: checks before one is sent, readings of one received
    shared       a message that goes to many connections, and the forms it is sent in
    outcomes     what an exception of the user's code means for the closing frame

Invariants (the numbers of the laws are those in CONTRIBUTING.md):

- Nothing invalid reaches a server (law 11). Every event of the application is checked
  by `events.outgoing`, or by a function that it calls, before any state changes. What
  can be repaired is returned repaired; anything else is a TypeError or ValueError that
  says why.
- `events` hides the differences between servers (law 12). After it, absent keys and
  `None` are the same, a missing close code is 1005, and facts that a server hides are
  `"unknown"`.
- `states.next_state` alone decides whether an event is allowed in a state. An event
  that the table does not list for that state is refused with the words that Starlette
  uses. Code sets a state without a lookup only at the end of a connection, or for an
  event that was looked up before.
- Each name is defined once: the types of ASGI's events in `states`, and the keys that
  only channels of our own use (`INFO`, `MORE`, `FRAGMENT`) in `events`.

Which file to change:

    a close code, or what a close reason may be      closing
    a new public error                               errors, and its tree on top
    a new option, its default or its check           options
    the name of an overflow rule                     options (its effect: `_session`)
    another counter                                  statistics
    how an origin may be written, or is compared     allowed_origins
    an event of ASGI, or when it is allowed          states
    a header that an application may not set,        headers
    in an opening handshake or a denial response
    a server that spells an event in its own way     events
    the close code that follows from an exception    outcomes
"""
