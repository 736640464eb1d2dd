"""The table of stages, walked whole."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from anyws._session.stage import TRANSITIONS, Stage, Step

# What each step ends, by the attribute that says it goes on.
ENDS = {Step.LEAVE: "inside", Step.WRITTEN: "writes", Step.READ: "reads"}


def facts(stage: Stage) -> dict[str, bool]:
    """Return what goes on in a stage."""
    return {name: getattr(stage, name) for name in ENDS.values()}


def test_a_stage_says_what_goes_on() -> None:
    """Each combination of the three is one stage; its name says which."""
    assert [(stage.name, *stage.value) for stage in Stage] == [
        ("OPEN", True, True, True),
        ("HEARD", True, True, False),
        ("SAID", True, False, True),
        ("ENDED", True, False, False),
        ("DRAINING", False, True, True),
        ("FLUSHING", False, True, False),
        ("LINGERING", False, False, True),
        ("OVER", False, False, False),
    ]
    assert len({tuple(facts(stage).values()) for stage in Stage}) == 2**3
    for stage in Stage:
        assert tuple(facts(stage).values()) == stage.value


def test_every_stage_has_a_row() -> None:
    """And in it a cell for every step."""
    assert list(TRANSITIONS) == list(Stage)
    for row in TRANSITIONS.values():
        assert list(row) == list(Step)


@pytest.mark.parametrize(
    ("stage", "step"),
    list(product(Stage, Step)),
    ids=[f"{stage.name}-{step.name}" for stage, step in product(Stage, Step)],
)
def test_every_cell(stage: Stage, step: Step) -> None:
    """A step ends one thing and leaves the others; taken again it changes nothing."""
    following = TRANSITIONS[stage][step]
    assert facts(following) == {**facts(stage), ENDS[step]: False}
    assert TRANSITIONS[following][step] is following
    assert (following is stage) is not getattr(stage, ENDS[step])


@pytest.mark.parametrize(
    "steps", list(permutations(Step)), ids=lambda steps: "-".join(s.name for s in steps)
)
def test_every_order_leads_to_the_end(steps: tuple[Step, ...]) -> None:
    """The three come to an end in any order, and then nothing is left."""
    stage = Stage.OPEN
    for step in steps:
        assert stage is not Stage.OVER
        stage = TRANSITIONS[stage][step]
    assert stage is Stage.OVER
