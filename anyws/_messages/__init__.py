r"""What either end does with messages, over a session.

The server's `WebSocket` and the client's `ClientWebSocket` have the same methods for
messages. They are written once, here, and know of neither end.

         WebSocket (server)          ClientWebSocket (client)
                   \                  /
                    v                v
       verbs.Messaging: receive_text, send_json, iter_bytes, send_nowait, ...
          |              |                  |                       |
          |              v                  v                       |
          |    object_stream          disconnect_scope              |
          |    MessageStream          cancel_on_disconnect()        |
          |              |                  |                       |
          v              v                  v                       v
       ASGI events       +-----> Session <--+      parts: SendStream, ReceiveStream
       (`_next`, `send`)                           (client: send_stream, receive_stream)

Ownership: no class here has a state of the connection. `Messaging` turns payloads into
ASGI events and back, and each end supplies `_next`, `send` and `close`, by which it
chooses between a session and a bare channel. The other three hold a session and ask
it. `SendStream` and `ReceiveStream` know how far their one message has come, and
nothing besides.

Invariants:

- What a method promises follows from the session: this wing has no task, no queue and
  no deadline. In plain mode, without a session, a method promises what the server's
  own `receive` and `send` do; a method that needs a session says so by RuntimeError.
- A message that cannot be decoded, or is of the wrong kind, is consumed, and the
  connection stays usable. The check comes after the receive, so a cancelled receive
  still loses nothing (law 1).
- A message in parts keeps its turn: while one is being sent, no other message goes out
  between its fragments; while one is being received, no other task receives (law 7).
  A message that was begun and cannot be finished closes the connection with 1011, as
  fragments cannot be taken back (RFC 6455 section 5.4).
- `cancel_on_disconnect()` cancels a scope of its own block, and no other scope. It
  raises what ended the connection, unless another exception leaves the block.

Which file to change:

    a new way to receive or send one message             verbs
    what a connection looks like as AnyIO's stream       object_stream
    messages that are too large to be held               parts
    what happens to a block when the connection ends     disconnect_scope
"""
