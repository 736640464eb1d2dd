r"""The methods for messages, which both ends have, over a session.

The server's `WebSocket` and the client's `ClientWebSocket` have the same methods for
messages. They are written once, here, and know of neither end.

         WebSocket (server)          ClientWebSocket (client)
                   \                  /
                    v                v
       verbs.Messaging: typed, cancel_on, wait_closed, messages, ...
          |
          +-- receiving_verbs: receive_text, iter_bytes, async for, ...
          |       `_next`: ASGI events of the end
          +-- sending_verbs: send_json, send_nowait, ...
          |       `send`: ASGI events of the end
          +-- frame_verbs: ping, latency, send_stream, receive_stream, extra, ...
          |       | parts: SendStream, ReceiveStream
          |       v
          |    Session <----- object_stream: MessageStream
          |                   disconnect_scope, interrupt_scope: cancel_on...()
          +-- connection_end: what each end supplies
               typed: TypedMessages, by a codec (json_types), over the verbs

Ownership: no class here holds state of the connection. `Messaging` turns payloads into
ASGI events and back. Each end supplies `_next`, `send` and `close`: those of the server
use the session if there is one, else ASGI's own `receive` and `send`; those of the
client always use a session. `TypedMessages` uses these methods. The other four classes
hold a session and ask it.
`SendStream` and `ReceiveStream` also know how much of their one message has been sent
or received.

Invariants (the numbers of the laws are those in CONTRIBUTING.md):

- What a method promises follows from the session: this wing has no task, no queue and
  no deadline. In plain mode, without a session, a method promises what the server's
  own `receive` and `send` do; a method that needs a session says so by RuntimeError.
- A verb of frames (a ping, a message in parts, one message uncompressed) needs frames
  of our own. Where they are the server's, it raises RuntimeError before anything
  changes, and names the servers that can do it. The server's end needs no block for
  them: the session that it finds in the scope does.
- A message in parts goes round no middleware: where one wraps the function that it
  would have to pass, it is refused.
- A message that cannot be decoded, or is of the wrong kind, is consumed, and the
  connection stays usable. The check comes after the receive, so a cancelled receive
  still loses nothing (law 1).
- What turns values into messages is a codec, of the user's or of `json_types`. Only
  `_values.message_codec` knows how libraries tell of an invalid message: every such
  message is a `MessageDecodeError`, and any other exception of a codec is a fault.
- An invalid message that is to be answered owes that answer: if a cancellation comes
  between, the next receive sends it first.
- A message in parts keeps its turn: while one is being sent, no other message goes out
  between its fragments; while one is being received, no other task receives (law 7).
  A message that was begun and cannot be finished closes the connection with 1011, as
  fragments cannot be taken back (RFC 6455 section 5.4).
- `cancel_on()` cancels a scope of its own block, too. Its predicate is called where the
  message is read, in `_session.intake`, and an exception of it goes to the block.
- `cancel_on_disconnect()` cancels a scope of its own block, and no other scope. A block
  that it has cancelled raises the `ConnectionClosed` that says how the connection
  ended, unless the user's code has raised another exception in the block.

Which file to change:

    a new way to receive or send one message             receiving_verbs,
                                                         sending_verbs
    another method of both ends                          verbs
    what a connection looks like as AnyIO's stream       object_stream
    what happens to a message that a codec refuses       typed
    which library reads and writes which type            json_types
    how the error of a library says where                _values.message_codec
    messages that are too large to be held               parts
    what else frames of our own make possible            frame_verbs
    what happens to a block when the connection ends     disconnect_scope
    what happens to a block when a message comes         interrupt_scope
"""
