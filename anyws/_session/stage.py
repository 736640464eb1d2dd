"""Which of three things of a connection are over: a table. There is no I/O.

Three things come to an end, each once, and in any order: the user's code leaves the
block; all that is to be written is written, the closing frame included; and all that
there is to read is read, up to the disconnect. A stage says which of them have.

    stage       the user's code   writing   reading   what is still to come
    OPEN        in the block      goes on   goes on   everything
    HEARD       in the block      goes on   over      the answer to the peer's close
    SAID        in the block      over      goes on   the peer's answer to our close
    ENDED       in the block      over      over      the user's code leaves
    DRAINING    has left          goes on   goes on   what is queued, then the close
    FLUSHING    has left          goes on   over      what is queued
    LINGERING   has left          over      goes on   the peer's answer to our close
    OVER        has left          over      over      nothing

Each step is taken once. To take it again changes nothing. Not tabular: *why* reading or
writing is over. That is `Ending`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Step(Enum):
    """One of the three things is over."""

    LEAVE = "leave"  # the user's code has left the block
    WRITTEN = "written"  # nothing more will be written
    READ = "read"  # nothing more will be read


class Stage(Enum):
    """Which of the three things are over.

    Attributes:
        inside: Whether the user's code is in the block.
        writes: Whether there is, or may be, something to write.
        reads: Whether there is, or may be, something to read.
    """

    OPEN = (True, True, True)
    HEARD = (True, True, False)
    SAID = (True, False, True)
    ENDED = (True, False, False)
    DRAINING = (False, True, True)
    FLUSHING = (False, True, False)
    LINGERING = (False, False, True)
    OVER = (False, False, False)

    def __init__(self, inside: bool, writes: bool, reads: bool) -> None:
        self.inside = inside
        self.writes = writes
        self.reads = reads


# stage -> step -> next stage
TRANSITIONS: Final[Mapping[Stage, Mapping[Step, Stage]]] = {
    Stage.OPEN: {
        Step.LEAVE: Stage.DRAINING,
        Step.WRITTEN: Stage.SAID,
        Step.READ: Stage.HEARD,
    },
    Stage.HEARD: {
        Step.LEAVE: Stage.FLUSHING,
        Step.WRITTEN: Stage.ENDED,
        Step.READ: Stage.HEARD,
    },
    Stage.SAID: {
        Step.LEAVE: Stage.LINGERING,
        Step.WRITTEN: Stage.SAID,
        Step.READ: Stage.ENDED,
    },
    Stage.ENDED: {
        Step.LEAVE: Stage.OVER,
        Step.WRITTEN: Stage.ENDED,
        Step.READ: Stage.ENDED,
    },
    Stage.DRAINING: {
        Step.LEAVE: Stage.DRAINING,
        Step.WRITTEN: Stage.LINGERING,
        Step.READ: Stage.FLUSHING,
    },
    Stage.FLUSHING: {
        Step.LEAVE: Stage.FLUSHING,
        Step.WRITTEN: Stage.OVER,
        Step.READ: Stage.FLUSHING,
    },
    Stage.LINGERING: {
        Step.LEAVE: Stage.LINGERING,
        Step.WRITTEN: Stage.LINGERING,
        Step.READ: Stage.OVER,
    },
    Stage.OVER: {
        Step.LEAVE: Stage.OVER,
        Step.WRITTEN: Stage.OVER,
        Step.READ: Stage.OVER,
    },
}
