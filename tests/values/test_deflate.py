"""The settings of compression."""

from __future__ import annotations

from typing import Any

import pytest

import anyws
from anyws._values.deflate import deflate_of
from anyws._values.options import Options, with_compression


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"level": 0}, ValueError, "level is 1 to 9, not 0"),
        ({"level": 10}, ValueError, "level is 1 to 9, not 10"),
        ({"level": None}, TypeError, "level must be an int, not NoneType"),
        ({"level": True}, TypeError, "level must be an int, not bool"),
        ({"memory_level": 0}, ValueError, "memory_level is 1 to 9"),
        ({"server_max_window_bits": 7}, ValueError, "server_max_window_bits is 8 to"),
        ({"client_max_window_bits": 16}, ValueError, "client_max_window_bits is 8 to"),
        ({"client_max_window_bits": True}, TypeError, "must be an int, not bool"),
        ({"threshold_bytes": -1}, ValueError, "threshold_bytes is 0 or more, not -1"),
        ({"threshold_bytes": 1.5}, TypeError, "threshold_bytes must be an int"),
        ({"server_no_context_takeover": 1}, TypeError, "must be a bool, not int"),
        ({"client_no_context_takeover": None}, TypeError, "must be a bool"),
    ],
)
def test_what_has_no_meaning(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    """It is refused at once."""
    with pytest.raises(error, match=words):
        anyws.Deflate(**settings)


def test_the_extreme_values_have_a_meaning() -> None:
    """Those of RFC 7692, and those of zlib."""
    for bits, level in ((8, 1), (15, 9), (None, 9)):
        anyws.Deflate(
            server_max_window_bits=bits,
            client_max_window_bits=bits,
            level=level,
            memory_level=level,
            threshold_bytes=level - 1,
        )


@pytest.mark.parametrize("other", [True, "gzip", 5, b"deflate"])
def test_what_is_no_compression(other: Any) -> None:
    """Options and every function that takes it refuse it."""

    async def app(ws: anyws.WebSocket) -> None:
        """Do nothing."""

    for takes in (
        lambda: Options(compression=other),
        lambda: anyws.connect("ws://name", compression=other),
        lambda: anyws.serve(app, compression=other),
    ):
        with pytest.raises(ValueError, match=r"'deflate', an anyws\.Deflate or None"):
            takes()


def test_a_word_stands_for_the_default_settings() -> None:
    """`"deflate"` is `Deflate()`."""
    assert deflate_of("deflate") == anyws.Deflate()
    assert deflate_of(anyws.Deflate(level=1)) == anyws.Deflate(level=1)
    assert deflate_of(None) is None


def test_options_take_a_mapping_as_files_of_settings_have_it() -> None:
    """Hypercorn's `websocket_options` may come from TOML."""
    options = Options(compression={"level": 1})  # type: ignore[arg-type]
    assert options.compression == anyws.Deflate(level=1)
    with pytest.raises(TypeError, match="levle"):
        Options(compression={"levle": 1})  # type: ignore[arg-type]


def test_an_argument_beside_options() -> None:
    """It counts, unless the options name another compression: that is an error."""
    one, other = anyws.Deflate(level=1), anyws.Deflate(level=2)
    assert with_compression(Options(), one).compression == one
    assert with_compression(Options(), None).compression is None
    assert with_compression(Options(compression=one), one).compression == one
    assert with_compression(Options(compression=None), "deflate").compression is None
    with pytest.raises(ValueError, match="contradicts the options, which name Deflate"):
        with_compression(Options(compression=one), other)
    with pytest.raises(ValueError, match="contradicts the options, which name None"):
        anyws.connect("ws://a", compression=one, options=Options(compression=None))
