"""The client: `connect()`, from a URL to a connection, once or again and again.

                 async with / async for
                          |
      connect ------- Connector -----> Connections ----> Backoff
      (connect.py)        |            (reconnect.py)    (retry.py, no I/O)
                          | open(): one URL; after a redirect, the next one
          +---------------+----------------+
          v               v                v
      Dialling  --->  ClientHandshake --> ClientWebSocket -----> Session  (_session)
      (dial.py)       (handshake.py,      (websocket.py)            ^
          |            no I/O)                 |                    | events, messages
          v               |                    v                    |
      proxy_for           |               ClientChannel ------------+
      (proxy.py)          |               (client_channel.py: a FrameChannel, _frames)
          |               |                    |
          v               v                    v
      url.py, response.py                 a table: which task reads
      (no I/O)                            (who_reads.py, no I/O)

A connection comes into being in three steps, each with one owner:

1. `Dialling` owns the byte stream until it is connected: TCP or a unix socket, a tunnel
   through a proxy, TLS. Its attribute `step` names the step under way, for the message
   of an error, or of the timeout of `open_timeout`. `Destination` (destination.py)
   says what is dialled where that is not the URL's address. For an application in this
   process `InProcessServer` (in_process.py) is dialled instead: it serves the other end
   of a stream in memory, in a task of the block.
2. `ClientHandshake` owns the bytes of the opening handshake. It is given what was read,
   and says when the answer is complete. `Connector` reads and writes for it. The bytes
   behind the answer are frames, and go on to step 3 as `rest`.
3. `ClientWebSocket` owns the connection. Entering it makes a `Session`, which keeps the
   law, and tells the `ClientChannel` to begin to read. Leaving it closes the stream.

`Connector` holds arguments, checked when `connect` is called, and no connection.
`Connections` holds the last connection of a loop, and the `Backoff`, which counts the
failed tries.

What holds:

* Every stream that was opened has an owner who closes it, also when the task is
  cancelled between two steps. A stream that the user gave is closed as well.
* `open_timeout` is one deadline for all steps and redirects of a try. The wing has
  these other timers; all timeouts of an open connection are the session's:

      the delays between two tries                               retry.py
      2 seconds for the body of a rejection                      connect.py
      1 second for the server to close TCP first                 client_channel.py
      10 milliseconds between two looks of the reader task       client_channel.py

* If the server is not reached, or the opening handshake fails, a `HandshakeError` is
  raised, with the cause in `__cause__`: no exception of AnyIO, ssl, `websockets` or
  python-socks leaves the wing. Not wrapped are an exception of a `headers` function,
  the ModuleNotFoundError of a missing extra, and the RuntimeError of a wrong use of
  `connect`. Whether another try may succeed is decided by the `HandshakeError` alone
  (`may_get_better` in `retry.py`).
* No error message shows the user or the password of a URL.
* All that is read before the connection is open has a bound: the head of the answer,
  the informational responses before it, the body of a rejection, the redirects.
* One task at most reads the stream, or the event loop does: see `who_reads`.

Other wings have the frames and transports (`_frames`), the queues, deadlines, pings and
the closing handshake (`_session`), and the methods that send and receive (`_messages`).

Which file to change for which kind of change:

    an argument of `connect`, redirects, the order of steps   connect.py
    another place than the URL's, which arguments exclude
    each other                                                destination.py
    an application in place of an address, its exceptions     in_process.py
    a way to reach the server; the words of a failed step     dial.py
    a kind of proxy, a variable of the environment            proxy.py, dial.py
    a header of the request, a check of the answer            handshake.py
    how the head of an answer is parsed, and its limits       response.py
    which URLs are taken, and how they are shown              url.py
    when to try again, and after how long                     retry.py
    what a loop does between two connections                  reconnect.py
    a method of the connection                                websocket.py
    how Ctrl-C is told from another cancellation              interruption.py
    which task reads, and when                                who_reads.py, then
                                                              client_channel.py
"""
