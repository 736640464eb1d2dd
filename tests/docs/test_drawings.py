"""What the documentation draws from the code is what the code says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import anyws

from ..support.drawings import drawings
from ..support.snippets import DOCS

DRAWN = DOCS / "drawn"
COMMANDS = {"cli.txt": ["--help"], "cli-serve.txt": ["serve", "--help"]}


def hold(name: str, text: str) -> None:
    """Compare a file with what it should be; WRITE_DRAWINGS=1 writes it first."""
    path = DRAWN / name
    if os.environ.get("WRITE_DRAWINGS"):
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("name", drawings())
def test_the_states_are_those_of_the_tables(name: str) -> None:
    """Each diagram is drawn from its table."""
    hold(name, drawings()[name])


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    """Each public error stands below its nearest base that is public, too."""
    names = [getattr(anyws, name) for name in anyws.__all__]
    errors = [
        each
        for each in names
        if isinstance(each, type) and issubclass(each, anyws.WebSocketError)
    ]
    hold("errors.txt", "".join(tree(anyws.WebSocketError, errors)))


def tree(root: type, errors: list[type], depth: int = 0) -> list[str]:
    """Return the lines of a class, and of those below it."""
    foreign = [
        f"{base.__module__.partition('.')[0]}.{base.__name__}".removeprefix("builtins.")
        for base in root.__bases__
        if base not in errors
    ]
    note = f"{'    ' * depth}{root.__name__}".ljust(34) + f"also {', '.join(foreign)}"
    lines = [f"{note if foreign and depth else '    ' * depth + root.__name__}\n"]
    for each in errors:
        if root in each.__bases__:
            lines += tree(each, errors, depth + 1)
    return lines


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 13), reason="argparse wrote otherwise")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_is_what_it_says(name: str) -> None:
    """The page shows what `--help` prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "anyws", *COMMANDS[name]],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"},
    )
    hold(name, done.stdout)


def test_no_file_is_left_over() -> None:
    """The folder has no file that is not drawn."""
    there = {path.name for path in Path(DRAWN).iterdir()}
    assert there == {*drawings(), *COMMANDS, "errors.txt"}
