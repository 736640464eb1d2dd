"""What a group of exceptions means."""

from __future__ import annotations

import pytest

from anyws._values.outcomes import sole_cause_of

ONE, OTHER = ValueError("one"), KeyboardInterrupt("other")
TWO = BaseExceptionGroup("two", [ONE, OTHER])


def in_groups(exc: BaseException, depth: int) -> BaseException:
    """Return an exception in groups that hold nothing else."""
    for _ in range(depth):
        exc = BaseExceptionGroup("a group", [exc])
    return exc


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("exc", [ONE, OTHER, TWO], ids=["one", "stop", "two"])
def test_a_sole_cause_is_found_at_any_depth(exc: BaseException, depth: int) -> None:
    """A group of several stays a group."""
    assert sole_cause_of(in_groups(exc, depth)) is exc
