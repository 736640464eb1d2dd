r"""The law: one guarded connection over any channel of ASGI events.

    channel -> Reader -> Intake -> inbound  -> Receiver -> the user's code
    channel <- Writer <----------- outbound <- Sender   <- the user's code
               \____/   \__________________________________/
               Tasks    the record `Connection`, which all of them share

A *channel* is a pair of ASGI's `receive` and `send`: a server's, or a `DirectChannel`,
whose frames are ours. The user's code meets the two queues only: no call of the user's
code runs the channel's own `receive` or `send` (laws 1 and 2).

Who drives. The connection does not move events; a `Driver` does, and `Connection` calls
it by that protocol alone. `Tasks` is the driver: a reader task and a writer task in
shielded scopes, in the task group of the block that hosts the session. A channel of our
own finds messages where the transport is read, and feeds `Intake` itself; the reader
task is left with the connect, the disconnect and the deadlines. Another driver needs
`rearm`, `stop_reading`, `stop_writing`, and must call what `Reader` and `Writer` call.

Who owns which state. `Connection` is one record, and what several parts write is there:

    stage       table: what is over: the block, the writing, the reading
    ending      table: how, why, and by whom the connection was ended (laws 3, 8, 10)
    deadlines   pure: which time is up; `judge(now)` gives the verdict (law 5)
    keepalive   pure: which pings are under way, and when to act (law 13)
    the states of client and application: the table in `_values.states`

A queue is an AnyIO memory stream that is never awaited: `await receive()` loses an item
to a native asyncio cancellation in the turn of the hand-over. Items go in and out by
the `_nowait` calls; a task that waits does so on the `Wakeup` beside the stream, and
looks again when woken. Inbound, there are two marks. At the first (`full`) the overflow
rule decides; a foreign channel is then read no more. A channel of our own reads on to
the second (`crowded`), so that pings and the peer's close are seen (laws 5, 6 and 13).

Two fields of the record exist for speed alone. A message that is alone is framed and
written within `send`, which saves a hand-over to the writer task. `bursting` is set by
it, and has the next messages queued, to go out in one write, until the scheduler has
had a turn. `in_hand` counts what the writer task has taken from the queue and still
gathers: nothing may overtake that (law 7).

Invariants:

- `ending.info` is `None` as long as the connection is open. What ends it sets `info`,
  sounds the alarm and closes `outbound` in one call, before any task runs (law 3).
- Behind the last item of the inbound queue comes its end, so what was received first
  stays readable (law 3).
- Only messages are dropped: handshake, fragments and closing frame never are (law 5).
- `stage` moves forwards only. The block is left when both tasks have ended. What they
  wait for has a deadline by then, but no deadline ends a `send` that a server shields.
- Each call of the user's is a checkpoint (`Turns`), every 32nd a whole one (law 4).
- Scopes of the user's are cancelled only if registered in `ending.watchers` (law 6).

Imports: `stage`, `ending`, `deadlines` and `keepalive` know nothing of AnyIO. Reader,
writer, intake, receiver and sender import `connection`, which imports none of them. The
wing imports `_values` alone and knows no frames; those above it use `session`, `scope`,
the protocols in `channel`, and `wakeup`.

Which file to change:

    an overflow rule, a bound                        queue, and intake or sender
    the close code for what left the block           _values.outcomes
    a cause or phase of the end                      ending
    another deadline                                 deadlines, then reader
    when the peer counts as dead                     keepalive
    what is still to be done after the block         stage, session (`_leave`)
    what a channel of our own can be asked           channel
    what a server does wrong with a receive / send   reader / writer
    what a receive / send of the user's does         receiver / sender
    how options of a block that joins take effect    settings (law 14)
    where an ASGI scope holds its session            scope (law 15)
    another way to drive a connection                tasks, beside it
"""
