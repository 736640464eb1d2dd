"""Which fields of `Options` were named, and whose word counts."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anyws
from anyws._values.options import names_pings, overridden

Options = anyws.Options


class PythonsJson:
    """A codec that is equal to its copies."""

    encode = staticmethod(json.dumps)
    decode = staticmethod(json.loads)

    def __eq__(self, other: object) -> bool:
        """Have no state."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        """Be hashed by the class."""
        return hash(type(self))


class EqualLimit(anyws.ConnectionLimit):
    """A limit that is equal to its copies."""

    def __eq__(self, other: object) -> bool:
        """Compare by the limit."""
        return isinstance(other, EqualLimit) and other.limit == self.limit

    def __hash__(self) -> int:
        """Hash by the limit."""
        return hash(self.limit)


class Deaf:
    """An observer that does nothing, and is equal to its copies."""

    def opened(self, *_: object) -> None:
        """Do nothing."""

    message = dropped = closed = opened

    def __eq__(self, other: object) -> bool:
        """Have no state."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        """Be hashed by the class."""
        return hash(type(self))


# For each field its default and another value.
VALUES: dict[str, tuple[Any, Any]] = {
    "receive_buffer": (16, 1),
    "receive_overflow": ("wait", "close"),
    "send_buffer": (16, 1),
    "send_buffer_bytes": (1024 * 1024, 1),
    "send_overflow": ("wait", "drop_newest"),
    "max_message_bytes": (16 * 1024 * 1024, 1),
    "send_timeout": (None, 1),
    "idle_timeout": (None, 1),
    "close_timeout": (5.0, 1),
    "ping_interval": (20.0, None),
    "ping_timeout": (20.0, None),
    "rate_limit": (None, (1, 1.0)),
    "rate_overflow": ("wait", "drop"),
    "max_lifetime": (None, 1),
    "heartbeat": (None, anyws.Heartbeat()),
    "max_connections_per": (None, EqualLimit(1)),
    "observer": (None, Deaf()),
    "compression": ("deflate", None),
    "json": (None, PythonsJson()),
}
named = st.dictionaries(st.sampled_from(sorted(VALUES)), st.booleans()).map(
    lambda chosen: {name: VALUES[name][other] for name, other in chosen.items()}
)
COPIES: dict[str, Callable[[Options], Options]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda options: pickle.loads(pickle.dumps(options)),
    "replace": replace,
    "asdict": lambda options: Options(**asdict(options)),
}


def says(options: Options) -> dict[str, Any]:
    """Return what options name, by what they do to options that differ everywhere."""
    others = [
        overridden(
            Options(**{name: value[other] for name, value in VALUES.items()}), options
        )
        for other in (0, 1)
    ]
    one, two = map(asdict, others)
    return {name: one[name] for name in VALUES if one[name] == two[name]}


def test_every_field_is_here() -> None:
    """A new one gets its values above."""
    public = [option for option in fields(Options) if option.name[0] != "_"]
    assert {option.name: option.default for option in public} == {
        name: default for name, (default, _) in VALUES.items()
    }


@given(named)
def test_what_was_named_counts(given: dict[str, Any]) -> None:
    """If it is the default, too; and nothing else."""
    assert says(Options(**given)) == given


@pytest.mark.parametrize("copied", COPIES)
@given(named)
def test_a_copy_names_the_same(copied: str, given: dict[str, Any]) -> None:
    """Nothing is lost, and nothing invented."""
    options = COPIES[copied](Options(**given))
    assert says(options) == given
    assert options == Options(**given)


@given(named, named)
def test_a_replacement_names_more(first: dict[str, Any], more: dict[str, Any]) -> None:
    """What was named before, and what is named now."""
    assert says(replace(Options(**first), **more)) == {**first, **more}


def test_options_from_a_changed_mapping_name_what_is_no_default() -> None:
    """Of a default that was put into it nothing can be known."""
    options = Options(**{**asdict(Options(idle_timeout=5)), "send_buffer": 2})
    assert says(options) == {"idle_timeout": 5, "send_buffer": 2}


@given(named, named, named)
def test_the_innermost_word_counts(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    """Field by field, and in whatever way the three are put together."""
    outer, middle, inner = (Options(**names) for names in (first, second, third))
    one = overridden(overridden(outer, middle), inner)
    assert one == Options(**{**first, **second, **third})
    assert one == overridden(outer, overridden(middle, inner))
    assert says(one) == {**first, **second, **third}


def test_options_are_equal_by_their_values() -> None:
    """However they were named; neither is it shown."""
    options = Options(receive_buffer=16)
    assert options == Options()
    assert hash(options) == hash(Options())
    assert repr(options) == repr(Options())


def test_unknown_and_positional_values_are_refused() -> None:
    """As of any dataclass."""
    untyped: Any = Options
    with pytest.raises(TypeError, match="unknown"):
        untyped(unknown=1)
    with pytest.raises(TypeError):
        untyped(16)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, False),
        ({"ping_interval": None, "ping_timeout": None}, False),
        ({"ping_interval": 20.0}, True),
        ({"ping_timeout": 5}, True),
    ],
)
def test_whether_pings_are_asked_for(given: dict[str, Any], names: bool) -> None:
    """By a field that was named; the default asks for nothing."""
    assert names_pings(Options(**given)) is names


@pytest.mark.parametrize("codec", [json, PythonsJson, "json", 1], ids=type)
def test_a_codec_is_checked_by_its_methods(codec: Any) -> None:
    """A class or a module of other names is none."""
    with pytest.raises(TypeError, match="json must be an object with the methods"):
        Options(json=codec)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"rate_limit": 5}, TypeError, "rate_limit must be"),
        ({"rate_limit": (1,)}, TypeError, "rate_limit must be"),
        ({"rate_limit": (0, 1)}, ValueError, "rate_limit must be"),
        ({"rate_limit": (1, 0)}, ValueError, "rate_limit must be"),
        ({"rate_limit": (1.5, 1)}, ValueError, "rate_limit must be"),
        ({"rate_overflow": "ignore"}, ValueError, "rate_overflow must be"),
        ({"max_lifetime": 0}, ValueError, "max_lifetime must be"),
        ({"heartbeat": 5}, TypeError, "heartbeat must be"),
        ({"heartbeat": anyws.Heartbeat(interval=0)}, ValueError, "seconds of a"),
        ({"heartbeat": anyws.Heartbeat(answer="ping")}, ValueError, "two different"),
        ({"max_connections_per": 5}, TypeError, "max_connections_per must be"),
        ({"observer": Deaf}, TypeError, "observer must be an object"),
    ],
    ids=str,
)
def test_a_policy_is_checked(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Before a connection has it."""
    with pytest.raises(error, match=words):
        Options(**given)
