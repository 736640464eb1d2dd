"""The pages of the documentation are complete, and show what is run."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from importlib import import_module
from itertools import pairwise
from typing import Any, Final

import pytest

import anyws
import anyws.testing

from ..support.snippets import DOCS, ROOT, SNIPPETS, blocks_of, prose_of

PAGES: Final = {
    str(path.relative_to(DOCS)): path.read_text() for path in DOCS.rglob("*.md")
}
README: Final = (ROOT / "README.md").read_text()
REFERENCE: Final = "".join(
    text for name, text in PAGES.items() if name.startswith("reference/")
)
# Starlette's own objects, which Starlette documents.
STARLETTES: Final = {"WebSocketDisconnect", "WebSocketDisconnected", "WebSocketState"}


# Blocks that are written into a page: lines of a shell, which test_commands.py and
# test_terminal.py check, and two texts: a picture, and what test_snippets.py checks.
COMMANDS: Final = {"sh", "console"}
TEXTS: Final = {"explained/index.md", "howto/observe.md"}


@pytest.mark.parametrize("name", PAGES)
def test_code_is_that_of_a_file(name: str) -> None:
    """A block of any kind is one file, so that what a reader copies is what is run."""
    written = []
    for kind, block in blocks_of(PAGES[name]):
        line = re.fullmatch(r'--8<-- "([\w./-]+)"\n', block)
        if line:
            file = line[1]
            assert any((base / file).is_file() for base in (SNIPPETS, DOCS, ROOT)), file
        elif kind not in COMMANDS:
            written.append(kind)
    assert written == (["text"] if name in TEXTS else [])


@pytest.mark.parametrize("name", PAGES)
def test_code_is_between_fences(name: str) -> None:
    """Markdown has two more ways to write code, in which a block would be missed."""
    prose = prose_of(PAGES[name])
    assert "```" not in prose
    assert "~~~" not in prose
    assert not re.search(r"<(pre|code|script)\b", prose)
    # Four spaces make code of a line, but not inside an item, a note or a tab.
    above = "#"
    for before, line in pairwise(["", *prose.splitlines()]):
        if line.strip() and not line.startswith(" "):
            above = line
        inside = re.match(r"(?:[-*]|\d+\.) |!!! |\?\?\? |=== ", above)
        assert before or not line.startswith("    ") or inside, line


def test_the_rows_of_tables_are_whole() -> None:
    """Each row has as many cells as its head; an escaped pipe ends none."""
    pages = PAGES | {path.name: path.read_text() for path in ROOT.glob("*.md")}
    for name, text in pages.items():
        for table in re.findall(r"(?:^ *\|.*\n?)+", prose_of(text), re.MULTILINE):
            head, *rows = table.splitlines()
            for row in rows:
                assert cells(row) == cells(head), f"{name}: {row}"


def cells(row: str) -> int:
    """Return how many cells a row of a table has."""
    assert re.fullmatch(r" *\|.*(?<!\\)\| *", row), f"unfinished: {row}"
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def test_each_file_is_shown_and_tested() -> None:
    """No file of the folder is left over, and each Python file has its test."""
    tests = "".join(
        path.read_text() for path in (ROOT / "tests/docs").glob("test_*.py")
    )
    for path in SNIPPETS.iterdir():
        if path.is_file():
            assert any(f'"{path.name}"' in text for text in PAGES.values()), path.name
        if path.suffix == ".py":
            named = (f'"{path.stem}"', f'"{path.name}"')
            assert any(name in tests for name in named), f"{path.name} has no test"


def test_each_example_has_its_command() -> None:
    """The gallery starts each once, has a picture of each page, and none is left."""
    text = PAGES["examples.md"]
    commands = re.findall(r"^\| `python ([^`]+)` \|", text, re.MULTILINE)
    started = {
        re.sub(r"-m anyws.hypercorn -k trio (\w+):app", r"\1.py", each)
        for each in commands
    }
    examples = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert started == examples
    assert len(commands) == len(examples)
    shown = set(re.findall(r"\(images/(\w+\.png)\)", text))
    pages = {path.stem for path in (ROOT / "examples").glob("*.html")}
    assert {f"{page}.png" for page in pages} <= shown
    pictures = {path.name for path in (DOCS / "images").iterdir()}
    assert pictures == {
        name for name in pictures if f"images/{name})" in "".join(PAGES.values())
    }


def test_each_page_has_its_place() -> None:
    """The index names each page once."""
    site = tomllib.loads((ROOT / "zensical.toml").read_text())

    def named(entries: Any) -> list[str]:
        if isinstance(entries, str):
            return [entries]
        values = entries.values() if isinstance(entries, dict) else entries
        return [name for value in values for name in named(value)]

    assert sorted(named(site["project"]["nav"])) == sorted(PAGES)


@pytest.mark.parametrize("package", [anyws, anyws.testing])
def test_each_public_name_is_in_the_reference(package: Any) -> None:
    """The reference shows the docstring of each."""
    for name in sorted({*package.__all__} - STARLETTES):
        line = f"\n::: {package.__name__}.{name}\n"
        assert REFERENCE.count(line) == 1, line


@pytest.mark.parametrize("package", ["fastapi", "hypercorn", "redis", "uvicorn"])
def test_each_name_of_an_integration_is_in_the_reference(package: str) -> None:
    """The reference shows the docstring of each."""
    module = pytest.importorskip(f"anyws.{package}")
    for name in module.__all__:
        assert f"\n::: anyws.{package}.{name}\n" in REFERENCE, name


# What `anyws.NAME` stands for besides names of the package: loggers, files, a key.
OTHER_NAMES: Final = {
    *("client", "connection", "hub", "server", "wire"),
    *("js", "service", "session"),
}


def test_the_names_in_the_pages_are_there() -> None:
    """A page names no function, method or option that has another name by now."""
    for name, text in PAGES.items() | {("README.md", README)}:
        for dotted in set(re.findall(r"\banyws((?:\.[A-Za-z_]\w*)+)", text)):
            first, *rest = dotted[1:].split(".")
            if first in OTHER_NAMES:
                continue
            found = getattr(anyws, first, None) or import_module(f"anyws.{first}")
            for part in rest:
                found = getattr(found, part)
        for given in re.findall(r"\bOptions\(([^()]*)\)", text):
            options = set(re.findall(r"(\w+)=", given))
            assert options <= {each.name for each in fields(anyws.Options)}, name


def test_the_table_of_options_is_that_of_the_class() -> None:
    """Each option is there, in order, with its default."""
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \|", PAGES["reference/options.md"], re.MULTILINE
    )
    options = [each for each in fields(anyws.Options) if each.name[0] != "_"]
    assert rows == [(each.name, repr(each.default)) for each in options]


def test_the_table_of_close_codes_is_complete() -> None:
    """Each code is there with its name."""
    rows = re.findall(
        r"^\| (\d+) \| `(\w+)` \|", PAGES["reference/close-codes.md"], re.MULTILINE
    )
    assert rows == [(str(code.value), code.name) for code in anyws.CloseCode]


def test_the_questions_have_answers() -> None:
    """Each question of the list leads to a page that is there."""
    text = PAGES["howto/index.md"]
    questions = re.findall(r"^\| (.+\?) \| (.+) \|$", text, re.MULTILINE)
    assert len(questions) >= 27
    for question, answer in questions:
        targets = re.findall(r"\]\(([^)#]+)", answer)
        assert targets, question
        for target in targets:
            assert (DOCS / "howto" / target).resolve().is_file(), target


def test_the_version_is_the_same_everywhere() -> None:
    """The project, the citation and the changelog name one version, of one day."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = (ROOT / "CITATION.cff").read_text()
    [released] = re.findall(r"^date-released: (.+)$", cited, re.MULTILINE)
    assert f"\nversion: {version}\n" in cited
    assert f"\n## [{version}] - {released}\n" in (ROOT / "CHANGELOG.md").read_text()
