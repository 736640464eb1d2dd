"""WebSockets over HTTP/2 (RFC 8441): Hypercorn's protocol, with its streams kept apart.

    the socket
      | bytes                                      ^ bytes
      v                                            |
    task of the connection                     sending task (`send_task`)
      handle -> h2 -> _handle_event                takes turns between the buffers,
      |  a request     |  data     |  a reset      writes what h2 has framed
      v                v           v               ^
    EngineStream or EngineHTTPStream --------> EngineStreamBuffer
      (one a stream; `Account` beside it)        (bytes that a stream has queued)

    reaper task (`_reap`): resets the streams that the peer does not end in time

Hypercorn's own class lets one stream stall or break the others. Here:

* The sending task alone writes the bytes of streams. A stream only puts bytes into its
  buffer and wakes that task: when a task of an application is cancelled, no frame is
  lost, nor a header block, without which the peer could decode no later one (HPACK is
  one state for the connection).
* The task of the connection never waits for a stream. Data that a stream has no room
  for is not acknowledged, so the peer's window for that stream closes, and no other.
  The window of the connection is large enough for every stream to be stalled at once.
* A stream that waits for the peer's window waits alone, with bounded bytes.
* Each stream ends by itself: an error in one resets that one; data for a stream that
  has ended is acknowledged and dropped; a stream that the peer does not end is reset.
* These events show a stream that its peer is alive: its own data and its own
  WINDOW_UPDATE, any window whose opening lets bytes of it move, and a write of its
  bytes for which the socket had to wait. Bytes that only waited for the turn of their
  stream show nothing.
* Frames that cost the peer next to nothing are bounded. Resets, and frames that carry
  nothing, are counted against an `Allowance`; one too many ends the connection by
  GOAWAY with ENHANCE_YOUR_CALM. A read is handled in pieces, so that others have their
  turn between them. None of it is logged, because the peer would choose the size of the
  log.

State is owned so: h2 has the frames, HPACK and the windows; `EngineH2Protocol` has the
streams, their buffers and their accounts; a stream has its application. The life of a
stream, in the terms of its `Account`:

    request -> both open -> peer ended ------------------> both ended: account deleted
                  |                                           ^
                  +-> server ended: deadline (LINGER) --------+
                                      |
                                      +-> the deadline passes: RST_STREAM

A plain HTTP stream and a WebSocket differ in two ways: a response that is cut short is
reset, where a WebSocket has its closing frame; and an HTTP body is kept by
`EngineHTTPStream`, where a WebSocket has the queue of its session.

For a change of how streams are opened, ended or written, see protocol.py; of buffers,
request bodies and refusals, streams.py; of how much a peer may do, allowance.py and the
numbers at the top of protocol.py.
"""
