"""Each line of a shell that a page shows is understood by the program it starts.

Servers load the application that the line names, and do not run it: that they serve is
tested where the servers are.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from anyws._cli import serving
from anyws._cli.arguments import settings_of

from ..support.snippets import DOCS, ROOT, blocks_of

PAGES: Final = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lines_of(path: Path) -> list[str]:
    """Return the lines of a shell that a page shows; of a session, what is typed."""
    lines = []
    for kind, text in blocks_of(path.read_text()):
        if kind == "sh":
            lines += text.replace("\\\n", "").splitlines()
        elif kind == "console":
            lines += re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    return lines


LINES: Final = sorted({line for path in PAGES for line in lines_of(path)} - {""})


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program is known, and so are the options; what it names is there."""
    for name in ("module", "echo", "answers"):
        (tmp_path / f"{name}.py").write_text("async def app(scope, receive, send): ...")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word in ("&&", "|"):
            program = re.sub(r"^\.venv(-nox)?/bin/|3$", "", words[0])
            PROGRAMS[program](words[1:], monkeypatch)
            words = []
        else:
            words.append(word)


def test_there_are_lines() -> None:
    """The pages show the programs that there are, and no other."""
    shown = " ".join(LINES)
    for program in PROGRAMS:
        assert program in shown, program


def pip(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at what is installed: the checkout or the wheel, with known extras."""
    assert words[0] == "install"
    *options, wanted = words[1:]
    assert options in ([], ["-q"])
    name, _, extras = wanted.rstrip("]").partition("[")
    if name != "nox":
        wheel = f"anyws_websockets-{PROJECT['version']}-py3-none-any.whl"
        assert name in (".", wheel)
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at what is run: a module with its arguments, or an example."""
    match words:
        case ["-m", "venv", _]:
            pass
        case ["-m", "anyws.hypercorn", *arguments]:
            hypercorn(arguments, monkeypatch)
        case ["-m", "anyws", "serve", *arguments]:
            serving._server_of(serving._parser().parse_args(arguments))
        case ["-m", "anyws", *arguments]:
            assert settings_of(arguments).where
        case [script]:
            folder = ROOT if "/" in script else ROOT / "examples"
            assert (folder / script).is_file()
        case _:
            pytest.fail(f"not known: {words}")


def hypercorn(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hypercorn read the line, and load what it names."""
    command: Any = pytest.importorskip("hypercorn.__main__")
    utils = pytest.importorskip("hypercorn.utils")
    loaded: list[Any] = []

    def run(config: Any) -> int:
        loaded.append(utils.load_application(config.application_path, 1000))
        return 0

    monkeypatch.setattr(command, "run", run)
    assert command.main(words) == 0
    assert loaded


def uvicorn(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uvicorn read the line, and load what it names."""
    module: Any = pytest.importorskip("uvicorn.main")
    given = module.main.make_context("uvicorn", words).params
    config = module.Config(given["app"], ws=given["ws"], log_config=None)
    with warnings.catch_warnings():
        # An older uvicorn imports the legacy implementation of websockets.
        warnings.simplefilter("ignore", DeprecationWarning)
        config.load()
    if "--ws" in words:
        ours = pytest.importorskip("anyws.uvicorn").WebSocketProtocol
        assert config.ws_protocol_class is ours


def openssl(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what it makes."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
    assert {path.name for path in Path().glob("*.pem")} == {"key.pem", "cert.pem"}


def anything(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any words."""


PROGRAMS: Final[dict[str, Callable[[list[str], pytest.MonkeyPatch], None]]] = {
    "pip": pip,
    "python": python,
    "hypercorn": hypercorn,
    "uvicorn": uvicorn,
    "nox": anything,
    "openssl": openssl,
    "echo": anything,
}
