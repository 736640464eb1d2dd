"""The table of endings, walked whole, and every way to walk through it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from anyws._session import ending as _ending
from anyws._session.ending import TRANSITIONS, Cause, Ending, Phase, next_phase
from anyws._values.closing import CloseInfo
from anyws._values.errors import ConnectionClosed, MessageTooBig

OPEN, CLOSED, FORCED, LEFT, LOST, REJECTED = Phase
USER, RULE, DISCONNECT, FAILURE, REJECTION = Cause

ALLOWED = {
    (OPEN, USER): CLOSED,
    (OPEN, RULE): FORCED,
    (OPEN, DISCONNECT): LEFT,
    (OPEN, FAILURE): LOST,
    (OPEN, REJECTION): REJECTED,
    (CLOSED, DISCONNECT): CLOSED,
    (CLOSED, FAILURE): CLOSED,
    (FORCED, DISCONNECT): FORCED,
    (FORCED, FAILURE): FORCED,
    (LEFT, FAILURE): LEFT,
    (LOST, DISCONNECT): LEFT,
    (LOST, FAILURE): LOST,
}
CELLS = list(product(Phase, Cause))
SAYS = {
    USER: CloseInfo(1000, "bye", "local"),
    RULE: CloseInfo(1008, "rule", "local"),
    DISCONNECT: CloseInfo(4001, "gone", "peer", True),
    FAILURE: CloseInfo(1006, "", "network"),
    REJECTION: CloseInfo(1006, "", "local"),
}
# The shortest way to each phase.
WAYS: dict[Phase, list[Cause]] = {
    OPEN: [],
    CLOSED: [USER],
    FORCED: [RULE],
    LEFT: [DISCONNECT],
    LOST: [FAILURE],
    REJECTED: [REJECTION],
}
ENDED = [phase for phase in Phase if phase is not OPEN]
IDS = [f"{phase.title}-{cause.value}" for phase, cause in CELLS]


class Broken(Exception):
    """What a channel raises."""


class Watcher:
    """Counts how often it is cancelled, and sees what is known by then."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self.saw: list[tuple[Phase, CloseInfo | None]] = []

    def cancel(self) -> None:
        """Take note."""
        self.saw.append((self._ending.phase, self._ending.info))


def happen(ending: Ending, cause: Cause, *, defect: bool = False) -> None:
    """Have a cause come about, by the method that the session calls for it."""
    if cause is FAILURE:
        ending.fail(Broken(), SAYS[cause], defect=defect)
    elif cause is DISCONNECT:
        ending.explain(SAYS[cause])
    else:
        ending.end(cause, SAYS[cause])


def ended(phase: Phase) -> Ending:
    """Return an ending in this phase."""
    ending = Ending()
    for cause in WAYS[phase]:
        happen(ending, cause)
    assert ending.phase is phase
    return ending


def facts(ending: Ending) -> tuple[object, ...]:
    """Return all that an ending knows."""
    return (*(getattr(ending, name) for name in Ending.__slots__), len(ending.watchers))


# The table.


@pytest.mark.parametrize(("phase", "cause"), CELLS, ids=IDS)
def test_every_cell(phase: Phase, cause: Cause) -> None:
    """Each cell leads where it should, or is refused with both names."""
    if (phase, cause) in ALLOWED:
        assert next_phase(phase, cause) is ALLOWED[phase, cause]
        return
    with pytest.raises(RuntimeError, match=f"{phase.title} is .* {cause.value}$"):
        next_phase(phase, cause)


@pytest.mark.parametrize(("phase", "cause"), CELLS, ids=IDS)
def test_every_cell_is_walked(phase: Phase, cause: Cause) -> None:
    """Each cause goes through the table, and one that is refused changes nothing."""
    ending = ended(phase)
    before = facts(ending)
    if (phase, cause) in ALLOWED:
        happen(ending, cause)
        assert ending.phase is ALLOWED[phase, cause]
        return
    with pytest.raises(RuntimeError):
        happen(ending, cause, defect=True)
    assert facts(ending) == before


def test_every_phase_is_a_row() -> None:
    """The table has a row for each phase, even an empty one, and leads to each."""
    assert set(TRANSITIONS) == set(Phase)
    assert {to for row in TRANSITIONS.values() for to in row.values()} == set(ENDED)


def test_the_diagram_is_the_table() -> None:
    """CONTRIBUTING.md shows the diagram that the table draws."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()

    assert f"```mermaid\n{_ending.diagram()}\n```" in text


# What is known, on every way.


def walks(length: int) -> Iterator[list[tuple[Cause, bool]]]:
    """Yield every sequence of causes; a failure is a defect or is none."""
    steps = [*product(Cause, [False]), (FAILURE, True)]
    for walk in product(steps, repeat=length):
        yield list(walk)


def check(ending: Ending, watcher: Watcher, past: list[tuple[Cause, bool]]) -> None:
    """Check what is known after what has happened."""
    phase, info = ending.phase, ending.info
    causes = [cause for cause, _ in past]
    failures = [defect for cause, defect in past if cause is FAILURE]
    lost_first = causes[:1] == [FAILURE]

    # `info` is that of the cause which chose the phase.
    assert (info is None) is (phase is OPEN)
    if phase is LEFT:
        assert info is SAYS[DISCONNECT]
    elif causes:
        assert info is SAYS[causes[0]]

    # These follow from the phase.
    assert ending.ours is (phase in (CLOSED, FORCED))
    assert ending.alarmed is (phase in (FORCED, LEFT, LOST))
    assert ending.broken is (phase is FORCED)
    assert (ending.closing_frame is not None) is ending.ours

    # The alarm has sounded once, when the end was known.
    assert len(watcher.saw) == ending.alarmed
    for seen, known in watcher.saw:
        assert seen in (FORCED, LEFT, LOST)
        assert known is SAYS[causes[0]]

    # The failures.
    assert (ending.failure is not None) is bool(failures)
    since = causes[::-1].index(DISCONNECT) if DISCONNECT in causes else len(past)
    unheard = [defect for _, defect in past[len(past) - since :] if defect]
    assert (ending.defect is not None) is bool(unheard)
    assert ending.explained is (bool(failures) and not unheard)
    assert (ending.error().__cause__ is not None) is lost_first

    # The error explains itself, from the end on.
    assert ending.explains(ending.error()) is (phase is not OPEN)


@pytest.mark.parametrize("length", range(6))
def test_every_sequence_of_causes(length: int) -> None:
    """Whatever happens, in whatever order, what is known fits the phase."""
    for walk in walks(length):
        ending = Ending()
        watcher = Watcher(ending)
        ending.watchers.append(watcher)
        past: list[tuple[Cause, bool]] = []
        check(ending, watcher, past)
        for cause, defect in walk:
            errors = [ending.error()] if ending.info is not None else []
            if cause in TRANSITIONS[ending.phase]:
                happen(ending, cause, defect=defect)
                past.append((cause, defect))
            else:
                with pytest.raises(RuntimeError):
                    happen(ending, cause, defect=defect)
            check(ending, watcher, past)
            # What was raised before more was known is explained still.
            assert all(map(ending.explains, errors))


# Single facts.


@pytest.mark.parametrize("cause", [RULE, DISCONNECT, FAILURE])
def test_all_watchers_are_cancelled_within_the_call(cause: Cause) -> None:
    """The call that ends the connection has cancelled every watcher, in order."""
    ending = Ending()
    order: list[int] = []

    class Numbered:
        def __init__(self, number: int) -> None:
            self.number = number

        def cancel(self) -> None:
            order.append(self.number)

    ending.watchers += map(Numbered, range(3))
    happen(ending, cause)
    assert order == [0, 1, 2]


@pytest.mark.parametrize("phase", ENDED)
def test_the_error_says_the_end(phase: Phase) -> None:
    """The error carries the very info, and is made anew each time."""
    ending = ended(phase)
    error = ending.error()
    assert type(error) is ConnectionClosed
    assert error.info is ending.info
    assert ending.error() is not error


def test_the_error_of_an_open_connection_knows_nothing() -> None:
    """Nobody is told more than 1006, and nothing is explained by it."""
    assert Ending().error().info == CloseInfo(1006, "", "unknown", None)


def test_the_disconnect_explains_a_failure() -> None:
    """What is known best is told, and the failure stays the error's cause."""
    ending = ended(LOST)
    assert ending.info is SAYS[FAILURE]
    failure = ending.failure
    happen(ending, DISCONNECT)
    assert ending.phase is LEFT
    assert ending.error().info is SAYS[DISCONNECT]
    assert ending.error().__cause__ is failure


@pytest.mark.parametrize(
    ("way", "special"),
    [([], True), ([FAILURE], True), ([USER], False), ([RULE], False)],
    ids=["open", "lost", "closed", "forced"],
)
def test_the_class_of_the_error_is_that_of_the_phase(
    way: list[Cause], special: bool
) -> None:
    """A disconnect that ends nothing does not choose the error."""
    ending = Ending()
    for cause in way:
        happen(ending, cause)
    ending.explain(SAYS[DISCONNECT], MessageTooBig)
    assert (type(ending.error()) is MessageTooBig) is special


def test_a_rule_chooses_the_class_of_the_error() -> None:
    """It is kept when the channel fails and the disconnect comes."""
    ending = Ending()
    ending.end(RULE, SAYS[RULE], MessageTooBig)
    happen(ending, FAILURE)
    happen(ending, DISCONNECT)
    assert type(ending.error()) is MessageTooBig


@pytest.mark.parametrize("clean", [True, False, None])
@pytest.mark.parametrize("phase", ENDED)
def test_clean_is_learned_later(phase: Phase, clean: bool | None) -> None:
    """The rest of the info stays, and so does the phase."""
    ending = ended(phase)
    before, frame = ending.error(), ending.closing_frame
    ending.learn_whether_clean(clean)
    assert ending.phase is phase
    assert ending.info is not None
    assert (ending.info.code, ending.info.reason) == (before.code, before.reason)
    assert ending.info.clean is clean
    assert ending.closing_frame == frame
    assert ending.broken is (phase is FORCED or clean is False)
    assert ending.explains(before)
    assert ending.explains(ending.error())


def test_nothing_is_learned_of_an_open_connection() -> None:
    """Whether it ended in order is no question yet."""
    ending = Ending()
    ending.learn_whether_clean(True)
    assert ending.info is None


def test_a_defect_is_taken_once() -> None:
    """The user hears of it once; the failure stays known."""
    ending = Ending()
    happen(ending, FAILURE, defect=True)
    assert not ending.explained
    assert ending.take_defect() is ending.failure
    assert ending.take_defect() is None
    assert ending.explained


def test_the_last_failure_is_told_and_the_first_is_the_cause() -> None:
    """A later failure that is no defect hides none that is."""
    ending = Ending()
    first, last = Broken(), Broken()
    ending.fail(first, SAYS[FAILURE], defect=True)
    ending.fail(last, CloseInfo(1006), defect=False)
    assert ending.failure is last
    assert ending.defect is first
    assert ending.error().__cause__ is first
    assert ending.info is SAYS[FAILURE]


def test_the_closing_frame_carries_what_was_asked() -> None:
    """It is ASGI's event, by the code and the reason of who closed."""
    assert ended(FORCED).closing_frame == {
        "type": "websocket.close",
        "code": 1008,
        "reason": "rule",
    }


# What an exception tells of.


@pytest.mark.parametrize("error", [WebSocketDisconnect(1001), WebSocketDisconnected()])
@pytest.mark.parametrize("phase", Phase)
def test_starlettes_errors_tell_of_an_alarm(phase: Phase, error: Exception) -> None:
    """What Starlette's class raises is explained where the user did not close."""
    assert ended(phase).explains(error) is (phase in (FORCED, LEFT, LOST))


@pytest.mark.parametrize("phase", Phase)
def test_the_error_of_another_connection_is_foreign(phase: Phase) -> None:
    """One that ended in the very same way is still another one."""
    ending = ended(phase)
    alike = CloseInfo(1006) if ending.info is None else ending.info
    twin = CloseInfo(alike.code, alike.reason, alike.initiator, alike.clean)
    assert twin == alike
    assert not ending.explains(ConnectionClosed(twin))


def test_a_group_is_explained_if_all_in_it_is() -> None:
    """One foreign exception, at any depth, is one too many."""
    ending = ended(LEFT)
    ours, theirs = ending.error(), WebSocketDisconnect(1005)
    inner = ExceptionGroup("inner", [theirs, ours])
    assert ending.explains(ExceptionGroup("outer", [ours, inner]))
    for foreign in (Broken(), ConnectionClosed(CloseInfo(1006))):
        mixed: list[Exception] = [theirs, foreign]
        half = ExceptionGroup("half", mixed)
        assert not ending.explains(ExceptionGroup("outer", [ours, half]))
    assert not ending.explains(BaseExceptionGroup("", [ours, KeyboardInterrupt()]))
