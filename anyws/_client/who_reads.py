"""Who reads a client's stream: a table. There is no I/O.

Where the event loop reads a socket in callbacks of its own, it reads this one from the
beginning to the end. Everywhere else a task has to read, and there are two for that:
the session's *reader task*, which is always there, and a *receiving task* of the user's
code, which waits for a message.

The reader task alone would do. But to hand a message over from one task to another is a
large part of what that message costs, and it is saved where the receiving task reads
the stream itself. So when the reader task has read what a receiving task was waiting
for, it leaves the stream to the receiving task, as long as that keeps coming back.

The receiving task need not come back: the user's code may only send from then on, and
pings, pongs and the end have to be read all the same. The reader task therefore takes a
look now and then, as the clock algorithm looks at the pages of a memory: a look leaves
a mark, a read of the receiving task takes the mark away, and a stream that nobody reads
and that still has its mark at the next look is taken back. Between the two tasks there
are four states:

    state                  reads the stream   marked   the reader task sleeps
    NOBODY                 nobody               no     until the next look is due
    NOBODY_SEEN            nobody               yes    until the next look is due
    RECEIVING_TASK         the receiving task   no     until the next look is due
    RECEIVING_TASK_SEEN    the receiving task   yes    until the receiving task stops

While nobody reads, the user's code is at work on the message that was read last. In the
last state there is no need to look, since all that arrives is being read; whatever ends
that state wakes the reader task.

An *interruption* asks for the reader task at once: a ping was sent, whose pong has to
be read; there is room again after a pause; a read has failed; or nothing more is to be
received. If nobody reads, the reader task does so from then on. If a receiving task
reads, its wait for the stream ends: it looks at its queue, and the reader task reads.

Not tabular: nobody reads while the channel is paused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Reads(Enum):
    """Who reads the stream; every message asks the table, so the hash is a fast one."""

    EVENT_LOOP = "event loop"
    READER_TASK = "reader task"
    NOBODY = "nobody"
    NOBODY_SEEN = "nobody, seen"
    RECEIVING_TASK = "receiving task"
    RECEIVING_TASK_SEEN = "receiving task, seen"

    __hash__ = object.__hash__  # and not Enum's, a Python function


class Step(Enum):
    """What changes who reads.

    Attributes:
        HANDED_OVER: The event loop has taken the stream.
        OFFERED: The reader task has read what a receiving task was waiting for.
        BEGUN: A receiving task begins to read.
        READ: It has read something, or the end.
        STOPPED: It has stopped with nothing read.
        LOOKED_AT: The reader task takes a look.
        INTERRUPTED: The reader task is to read.
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

# state -> step -> next state; a step that is not in a row cannot happen in that state
TRANSITIONS: Final[Mapping[Reads, Mapping[Step, Reads]]] = {
    EVENT_LOOP: {Step.INTERRUPTED: EVENT_LOOP},
    READER_TASK: {
        Step.HANDED_OVER: EVENT_LOOP,
        Step.OFFERED: NOBODY_SEEN,
        Step.LOOKED_AT: READER_TASK,  # an interruption came first
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
        Step.LOOKED_AT: RECEIVING_TASK_SEEN,  # as above
        Step.INTERRUPTED: RECEIVING_TASK_SEEN,
    },
}

# Where a receiving task may begin to read.
FREE: Final = frozenset(
    state for state, row in TRANSITIONS.items() if Step.BEGUN in row
)
# Where one reads, and an interruption ends its wait.
RECEIVING: Final = frozenset(
    state for state, row in TRANSITIONS.items() if Step.READ in row
)
# Where the reader task leaves the stream to the receiving task.
SHARED: Final = FREE | RECEIVING
