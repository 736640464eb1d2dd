r"""The law: one guarded connection over any channel of ASGI events.

    over ASGI (`Tasks`)
    channel -> Reader -> Intake -> inbound  -> Receiver -> the user's code
    channel <- Writer <----------- outbound <- Sender   <- the user's code

    over our own frames (`Calls`)
    frames --> Intake -----------> inbound  -> Receiver -> the user's code
    frames <---------------------------------- Sender   <- the user's code
    frames <-- at the end of the turn, outbound <- Sender, where others come first

A *channel* is a pair of ASGI's `receive` and `send`: a server's, or a `DirectChannel`,
whose frames are ours. Only the reader task and the writer task call a server's own
`receive` and `send`, so a cancelled call of the user's code cannot cut them short (laws
1 and 2). A direct channel frames and writes in one step, without an await between, so a
cancelled send is all or nothing there, too. Where a middleware wraps the `send` of an
object, its messages pass that one after another before they come to the Sender:
`passage` says how (law 7).

The driver. The connection does not move events; a `Driver` does, and `Connection` calls
it by that protocol alone. There are two, and their common code is in `driving`:

    Tasks   a reader task and a writer task in shielded scopes, in the task group of the
            block that hosts the session; the scopes' deadlines are the connection's
    Calls   no task: the code that reads the socket calls `Intake`, the code of a `send`
            writes, and one alarm has the deadlines

`Calls` has help by `Upkeep`, which the connections of a server share: a *timekeeper*
task rings their alarms, and a *flusher* task writes at the end of a turn of the
scheduler what the turn has queued. A writer task runs only as long as bytes wait that
the kernel does not take. A connection that is alone, as a client's, has an `Upkeep` of
its own, whose tasks are started when they are first needed.

The owners of state. `Connection` is one record, which holds all state that several
parts write:

    stage       table: what is over: the block, the writing, the reading
    ending      table: how, why, and by whom the connection was ended (laws 3, 8, 10)
    deadlines   pure: which time is up; `judge(now)` gives the verdict (law 5)
    keepalive   pure: which pings are under way, and when to act (law 13)
    timers      pure: the end of the lifetime, and the heartbeats; `None` without them
    pace        pure: how fast messages may come; `None` if as fast as they like
    observation the facts for the observer and the log; `None` if there is neither
    the states of client and application: the table in `_values.states`

A queue is an AnyIO memory stream that is never awaited: `await receive()` loses an item
if asyncio cancels the task after the item was handed over and before the task runs.
Items go in and out by the `_nowait` calls; a task that waits does so on the `Wakeup`
beside the stream, and looks again when woken. (The first item may be kept outside the
stream, after it was looked at, or if it is an accept, which needs no stream.) The
inbound queue has two marks. At the first one (`full`) the overflow rule decides. If the
rule is to wait, a foreign channel is not asked for more; a channel of our own reads on
to the second mark (`crowded`), so that pings and the peer's close are seen (laws 5, 6
and 13).

A peer that makes progress is alive (law 13). A channel of our own calls
`Inbox.progressed` when bytes were read, when the peer took bytes that had to wait, and
when a pause of ours is over. The session learns of progress nowhere else; `keepalive`
and `deadlines` decide what follows.

One field of the record exists for speed alone. A message that is alone is framed and
written within `send`. After such a write `wrote_in` is the number of the turn, and the
next messages of that turn are queued, to go out in one write. The number grows with
each read of any connection of the same `Upkeep`, and each time the flusher runs: the
scheduler has gone on by then.

Messages may also wait outside the session, in a log that many connections read. Such a
*source* is asked when `outbound` is empty, by the driver or by the source itself
(`Feed`), so that a slow connection holds few messages and falls behind in the log.

Invariants:

- `ending.info` is `None` as long as the connection is open. The call that ends the
  connection sets `info`, sounds the alarm if the phase has one, and closes `outbound`,
  before any other task runs (law 3).
- Once the connection is closed from this end, the outbound queue takes nothing but what
  `send_nowait` has left in the passage before; then it is closed, too.
- Behind the last item of the inbound queue comes its end, so what was received first
  stays readable (law 3).
- While the connection is open only messages are dropped: the handshake, fragments and
  the closing frame never are (law 5).
- `stage` moves forwards only. The block is left when it is OVER. Writing and reading
  have a deadline by then. It cannot end a `send` that a server shields: then leaving
  waits. Over our own frames the code that leaves waits only if something is to come.
- Each call of the user's code is a checkpoint, and every 32nd call that did not wait
  yields to the scheduler (`Turns`; law 4).
- The session cancels no scope of the user's code but those in `ending.watchers` (law
  6). A function in `interrupts` may cancel a scope of its own, when it is called with a
  message.

Imports: `stage`, `ending`, `deadlines` and `keepalive` know nothing of AnyIO. Drivers,
reader, writer, intake, receiver, sender, passage and feed import `connection`, which
imports none of them. The wing imports `_values` alone and knows no frames. The wings
above it use `session`, `scope` (where a session stands in an ASGI scope), the protocols
in `channel`, `feed`, `upkeep`, and `wakeup`. `stopwatch` chooses the clock for round
trips.

When an exception leaves a block, the block may hand the connection over to an
application's exception handlers (FastAPI calls them later, law 8). Then `Tasks` end
when the queue is written out, while the stage and the ending stay as they are. In this
`Interlude` each call starts the tasks again and pauses them behind itself, until
`Session.conclude` runs them for the last time. `Calls` have nothing to pause.

Which file to change:

    an overflow rule                            _values.options (its name),
                                                queue (`put_by_rule`: what it does),
                                                intake and sender (`_overflow`: when)
    how much is held                            queue, _values.options
    the close code for an exception that        _values.outcomes
    leaves the block
    a rule that closes the connection, and      where it is noticed: intake (1008,
    its close code                              1009), sender (1013, 1011), driving
                                                (1001), connection (`beat`: 1011)
    a phase of the end, or a cause of it        ending
    another deadline                            deadlines, then driving
    how the deadlines of many connections are   timekeeper
    kept by one task
    what the options set for a whole            timers and pace (when), connection
    connection: rate, lifetime, heartbeat       (`limit`, `tick`), intake, receiver
    when a ping is sent, and when the peer      keepalive, then connection
    counts as dead                              (`start_beating`, `beat`)
    what shows that the peer is alive           the channel that calls
                                                `Inbox.progressed`; intake
    what is still to be done after the block    stage, leaving
    who decides the end, and when               leaving, session (`hosting`, `joined`)
    what a call does between block and end      interlude, tasks (`pause`)
    what a channel of our own can be asked      channel
    when bytes are written over our own frames  calls; upkeep (the end of a turn)
    what a server's connections have in common  upkeep
    what a server does wrong with a receive     reader
    what a server does wrong with a send        writer
    what a receive or a send of the user does   receiver, sender
    which close a response that is too late     unsent_response
    becomes
    what happens where `send` is wrapped        passage, entrance
    when messages are taken from a source       feed
    options given after the session began       settings
    what the user's code hears of a drain       draining, session (`tell_of_drain`)
    what an observer or the log is told         observation; when: intake, writer,
                                                sender, session
    what follows from an event or a deadline    driving
    another way to drive a connection           a driver beside tasks and calls
"""
