"""The reader of a client's stream, which changes: a table. There is no I/O.

Where the event loop reads a socket in callbacks of its own, it reads this one from the
beginning to the end. Everywhere else a task has to read, and there are two for that:
the session's *reader task*, which is always there, and a *receiving task* of the user's
code, which waits for a message.

The reader task alone would do. But handing a message from one task to another is a
large part of what the message costs, and the cost is saved where the receiving task
reads the stream itself. So when the reader task has read what a receiving task was
waiting for, it leaves the stream to the receiving task, as long as the receiving task
keeps coming back.

The receiving task need not come back: the user's code may only send from then on, and
pings, pongs and the end have to be read all the same. The reader task therefore takes a
look now and then, as the clock algorithm does with pages of memory: a look leaves a
mark, and a read of the receiving task removes it. If at the next look the mark is still
there and no task is reading, the reader task takes the stream back. Between the two
tasks there are four states:

    state                  reads the stream   marked   the reader task sleeps
    NOBODY                 nobody               no     until the next look is due
    NOBODY_SEEN            nobody               yes    until the next look is due
    RECEIVING_TASK         the receiving task   no     until the next look is due
    RECEIVING_TASK_SEEN    the receiving task   yes    until the receiving task stops

While nobody reads, the user's code is at work on the message that was read last. In the
state RECEIVING_TASK_SEEN there is no need to look, since everything that arrives is
being read; the step that ends this state wakes the reader task.

An *interruption* calls for the reader task at once. There are four reasons: a ping was
sent, and its pong has to be read; there is room again after a pause; a read has failed;
the user's code will receive nothing more. If nobody reads, the reader task does from
then on. If a receiving task reads, its wait for the stream ends: it looks at its queue,
and the reader task reads.

Not in the table: while the channel is paused, nobody reads in any state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Reads(Enum):
    """The reader of the stream. Each message looks it up, so the hash is a fast one."""

    EVENT_LOOP = "event loop"
    READER_TASK = "reader task"
    NOBODY = "nobody"
    NOBODY_SEEN = "nobody, seen"
    RECEIVING_TASK = "receiving task"
    RECEIVING_TASK_SEEN = "receiving task, seen"

    __hash__ = object.__hash__  # Enum's own is a Python function


class Step(Enum):
    """An event that may change the reader of the stream.

    Attributes:
        HANDED_OVER: The event loop has taken the stream.
        OFFERED: The reader task has read what a receiving task was waiting for.
        BEGUN: A receiving task begins to read.
        READ: The receiving task has read bytes, or the end of the stream.
        STOPPED: The receiving task was cancelled or interrupted, and has read nothing.
        LOOKED_AT: The reader task takes a look.
        INTERRUPTED: The reader task is called for.
    """

    HANDED_OVER = "handed over"
    OFFERED = "offered"
    BEGUN = "begun"
    READ = "read"
    STOPPED = "stopped"
    LOOKED_AT = "looked at"
    INTERRUPTED = "interrupted"

    __hash__ = object.__hash__  # as above


EVENT_LOOP, READER_TASK = Reads.EVENT_LOOP, Reads.READER_TASK
NOBODY, NOBODY_SEEN = Reads.NOBODY, Reads.NOBODY_SEEN
RECEIVING_TASK, RECEIVING_TASK_SEEN = Reads.RECEIVING_TASK, Reads.RECEIVING_TASK_SEEN

# state -> step -> next state. A step that is missing from a row cannot happen there.
TRANSITIONS: Final[Mapping[Reads, Mapping[Step, Reads]]] = {
    EVENT_LOOP: {Step.INTERRUPTED: EVENT_LOOP},
    READER_TASK: {
        Step.HANDED_OVER: EVENT_LOOP,
        Step.OFFERED: NOBODY_SEEN,
        Step.LOOKED_AT: READER_TASK,  # interrupted while it slept
        Step.INTERRUPTED: READER_TASK,
    },
    NOBODY: {
        Step.BEGUN: RECEIVING_TASK,
        Step.LOOKED_AT: NOBODY_SEEN,
        Step.INTERRUPTED: READER_TASK,
    },
    NOBODY_SEEN: {
        Step.BEGUN: RECEIVING_TASK,
        Step.LOOKED_AT: READER_TASK,
        Step.INTERRUPTED: READER_TASK,
    },
    RECEIVING_TASK: {
        Step.READ: NOBODY,
        Step.STOPPED: NOBODY_SEEN,
        Step.LOOKED_AT: RECEIVING_TASK_SEEN,
        Step.INTERRUPTED: RECEIVING_TASK_SEEN,
    },
    RECEIVING_TASK_SEEN: {
        Step.READ: NOBODY,
        Step.STOPPED: READER_TASK,
        Step.LOOKED_AT: RECEIVING_TASK_SEEN,  # interrupted while it slept
        Step.INTERRUPTED: RECEIVING_TASK_SEEN,
    },
}

# The states in which a receiving task may begin to read.
FREE: Final = frozenset(
    state for state, row in TRANSITIONS.items() if Step.BEGUN in row
)
# The states in which a receiving task reads, and an interruption ends its wait.
RECEIVING: Final = frozenset(
    state for state, row in TRANSITIONS.items() if Step.READ in row
)
# The states in which the reader task leaves the stream to the receiving task.
SHARED: Final = FREE | RECEIVING
