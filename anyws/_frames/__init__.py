"""RFC 6455 over bytes: frames become events, and events become frames.

    the session  <- messages, pongs, the end    messages, parts, pings, closes
                          ^                                |
                          |                                v
    FrameChannel     receive_data                  write, send_nowait, flush
                          ^                                |
                          |     bytes <-> events: Codec    |
                          |                                v
    Transport         Recipient                         Outlet
                          ^                                |
                          |                                v
    a socket     callbacks (Inlet, Watcher), or a task      system calls

This wing begins where an opening handshake ends. The server's and the client's end
share all of it; they differ in whose frames are masked, and in the transport that they
bring.

What owns which state:

* `Codec` owns the protocol: the frame that is half read, whether a closing frame was
  sent, and how the connection ended (`info`, set once). It does no I/O and has no
  timer.
* `Assembler`, inside it, owns the message whose fragments have come.
* `FrameChannel` owns the bytes that were read and not yet parsed, and those that were
  framed and not yet written. It decides when reading pauses. It is the `DirectChannel`
  of its session: each calls the other. No task belongs to it; where nothing
  else reads, its session has a task run that does (`TransportChannel.read`).
* A transport owns the socket, and knows whether a write was cut short. Where asyncio's
  own transport reads the socket, `Inlet` replaces its protocol object. A socket that
  `anyws.serve` has accepted has no such transport and no stream: a `Watcher` tells its
  `WatchedSocket` when to read.

Invariants:

* Order. Bytes are parsed in the order in which they came, and each frame is added to
  its message before the next frame is parsed: no close overtakes a violation before it,
  however the bytes are cut into reads. Frames leave in the order in which they were
  made.
* Once `info` is set nothing more is parsed, and nothing is framed behind a closing
  frame.
* Framing and writing at once (`send_nowait`, `write`) is one step without an await.
  Bytes that the transport does not take are kept, and written before later frames. So
  no message is cut.
* After a write that was cut short, by a cancellation or an error, nothing more is
  written (`transport.py`), unless the transport writes the rest by itself: after half a
  frame, no byte has a meaning.
* Every buffer has a bound: a message (`max_message_bytes`, and `MAX_FRAGMENTS` for
  fragments without payload), bytes that come before the handshake is complete
  (`EARLY_BYTES`), answers that the peer does not read (`ANSWERS_BYTES`), and messages
  that the application does not read (the second mark of the session's queue). At a
  bound for early bytes, for answers or for unread messages, reading pauses, and TCP
  holds up the peer. A message above its bound closes the connection.
* Progress shows that the peer is alive, and is reported by `Inbox.progressed`: each
  read, and each piece of at most `PIECE_BYTES` that the kernel refused at first, and
  then took. Bytes that the kernel takes at once show nothing, because it holds
  megabytes for a peer that is gone.
* One connection works for some milliseconds at a time. `Codec.receive` deals with a
  bounded number of frames, one step, and leaves the rest to the next one; a `Turn` has
  steps taken for two milliseconds, and lets other connections go on then. The channel
  keeps the bytes meanwhile, and says that it is `unfinished`. A step is cut by bytes
  and not by time, so no kind of frame makes it long: those that cost most have the
  smallest steps.
* Messages do not wait for a task: they are in the session's queue when `receive_data`
  returns, and so is the disconnect with the session. While reading is paused, and
  before the handshake is complete, `receive_data` keeps the bytes unparsed instead.

Why two parsers: the Sans-I/O core of `websockets` checks all that a peer may do wrong,
and bounds what it inflates. `Codec` itself parses messages that are whole in one frame
and not compressed, and control frames, in a quarter of the core's time, and it frames
such messages of up to 1024 bytes by itself, with a header that the core has made once
for each size. Whatever else begins a frame is for the core: a compressed message, a
fragment, a close that is invalid or that comes when there is a core, a size over the
limit, a bit that must not be set. So most connections never make a core. The
differential test of the codec holds both to the same results.

Which file to change:

* how frames become messages, limits of messages, text: `assembler.py`
* what a frame means, close codes of violations: `codec.py`; what the core does not do
  as it should: `core.py`
* when a connection gets its contexts of compression: `deflate.py`; what is agreed on,
  at both ends: `negotiation.py`; which messages are compressed: `Codec._compresses`
* frames that many connections share, and when those are compressed: `shared_frames.py`
* when reading pauses, what is written when, parts of messages: `frame_channel.py`
* another kind of stream, an error that a socket may raise, how a stream tells that a
  write had to wait: `transport.py`
* how a channel reads a transport by itself: `transport_channel.py`
* how asyncio or uvloop hand over what they read: `event_loop.py`
* a socket that a server has accepted, and what tells on trio that it is readable:
  `watched_socket.py`
* which transport a stream gets: `transports.py`
* a connection inside one process: `memory_stream.py`
* how much is read at a time: `_READ_BYTES` in `transport.py`, where a task reads;
  `_READ_BUFFER_BYTES` in `event_loop.py`, where the event loop does; Hypercorn's
  `MAX_RECV`, where a task of the engine reads (on trio, and on asyncio until the
  upgrade of HTTP/1.1)
* the close code for a lost connection, a violation of the protocol, or an orderly end:
  `Codec.info`, and `_values/closing.py`

Imports point down: assembler, deflate, negotiation, shared_frames, core, codec,
attributes, transport, frame_channel, transport_channel, watched_socket, event_loop,
transports, memory_stream. Of these `event_loop` alone imports `asyncio`.
"""
