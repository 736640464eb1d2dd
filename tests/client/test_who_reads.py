"""Who reads a client's stream: the table, walked whole, and what follows from it."""

from __future__ import annotations

from itertools import product

import pytest

from anyws._client.who_reads import (
    FREE,
    RECEIVING,
    SHARED,
    TRANSITIONS,
    Reads,
    Step,
)

EVENT_LOOP, READER_TASK = Reads.EVENT_LOOP, Reads.READER_TASK
NOBODY, NOBODY_SEEN = Reads.NOBODY, Reads.NOBODY_SEEN
RECEIVING_TASK, SEEN = Reads.RECEIVING_TASK, Reads.RECEIVING_TASK_SEEN

POSSIBLE = {
    (EVENT_LOOP, Step.INTERRUPTED): EVENT_LOOP,
    (READER_TASK, Step.HANDED_OVER): EVENT_LOOP,
    (READER_TASK, Step.OFFERED): NOBODY_SEEN,
    (READER_TASK, Step.LOOKED_AT): READER_TASK,
    (READER_TASK, Step.INTERRUPTED): READER_TASK,
    (NOBODY, Step.BEGUN): RECEIVING_TASK,
    (NOBODY, Step.LOOKED_AT): NOBODY_SEEN,
    (NOBODY, Step.INTERRUPTED): READER_TASK,
    (NOBODY_SEEN, Step.BEGUN): RECEIVING_TASK,
    (NOBODY_SEEN, Step.LOOKED_AT): READER_TASK,
    (NOBODY_SEEN, Step.INTERRUPTED): READER_TASK,
    (RECEIVING_TASK, Step.READ): NOBODY,
    (RECEIVING_TASK, Step.STOPPED): NOBODY_SEEN,
    (RECEIVING_TASK, Step.LOOKED_AT): SEEN,
    (RECEIVING_TASK, Step.INTERRUPTED): SEEN,
    (SEEN, Step.READ): NOBODY,
    (SEEN, Step.STOPPED): READER_TASK,
    (SEEN, Step.LOOKED_AT): SEEN,
    (SEEN, Step.INTERRUPTED): SEEN,
}
CELLS = list(product(Reads, Step))


def after(*steps: Step, state: Reads = READER_TASK) -> Reads:
    """Return the state that these steps lead to, one after another."""
    for step in steps:
        state = TRANSITIONS[state][step]
    return state


@pytest.mark.parametrize(
    ("state", "step"),
    CELLS,
    ids=[f"{state.name}-{step.name}" for state, step in CELLS],
)
def test_every_cell(state: Reads, step: Step) -> None:
    """Each step leads where it should, or is not in the state's row."""
    assert TRANSITIONS[state].get(step) is POSSIBLE.get((state, step))


def test_every_state_is_a_row() -> None:
    """And each can be reached from where a connection begins."""
    reached = {READER_TASK}
    while following := {after(s, state=r) for r in reached for s in TRANSITIONS[r]}:
        if following <= reached:
            break
        reached |= following

    assert set(TRANSITIONS) == set(Reads) == reached


def test_the_event_loop_keeps_the_stream() -> None:
    """Nothing takes it away again."""
    assert set(TRANSITIONS[EVENT_LOOP].values()) == {EVENT_LOOP}


def test_the_states_in_groups() -> None:
    """Between the two tasks, the receiving task either reads or may begin to."""
    assert {NOBODY, NOBODY_SEEN} == FREE
    assert {RECEIVING_TASK, SEEN} == RECEIVING
    assert set(Reads) - {EVENT_LOOP, READER_TASK} == SHARED


def test_a_receiving_task_that_comes_back_keeps_the_stream() -> None:
    """However often the reader task looks, if a read begins between two looks."""
    state = after(Step.OFFERED)
    for _ in range(10):
        state = after(Step.BEGUN, Step.READ, Step.LOOKED_AT, state=state)
        assert state is NOBODY_SEEN


def test_a_receiving_task_that_stays_away_loses_the_stream() -> None:
    """At the first look if it has never read, at the second one after its last read."""
    assert after(Step.OFFERED, Step.LOOKED_AT) is READER_TASK

    away = after(Step.OFFERED, Step.BEGUN, Step.READ, Step.LOOKED_AT)
    assert away is NOBODY_SEEN
    assert after(Step.LOOKED_AT, state=away) is READER_TASK


def test_a_receiving_task_that_is_cancelled_loses_the_stream() -> None:
    """At the next look, or at once if there is none because it was seen reading."""
    reading = after(Step.OFFERED, Step.BEGUN)

    assert after(Step.STOPPED, Step.LOOKED_AT, state=reading) is READER_TASK
    assert after(Step.LOOKED_AT, Step.STOPPED, state=reading) is READER_TASK


# In the order of the enum: a set of states has another one in each process of xdist.
@pytest.mark.parametrize(
    "state", [state for state in Reads if state in SHARED], ids=lambda state: state.name
)
def test_an_interruption_brings_the_reader_task_back(state: Reads) -> None:
    """At once, or once the receiving task that reads has stopped."""
    interrupted = after(Step.INTERRUPTED, state=state)
    if state in RECEIVING:
        interrupted = after(Step.STOPPED, state=interrupted)

    assert interrupted is READER_TASK
