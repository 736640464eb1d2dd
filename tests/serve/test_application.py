"""What is served by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import anyws
from anyws._serve.application import load_application

MODULE = """
import anyws

async def app(ws): ...

async def asgi(scope, receive, send): ...

class group:
    app = asgi

def make(name):
    return {"a": asgi}[name]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in a folder with a module and a package."""
    (tmp_path / "loaded_one.py").write_text(MODULE)
    (tmp_path / "loaded_pkg").mkdir()
    (tmp_path / "loaded_pkg" / "__init__.py").write_text("")
    (tmp_path / "loaded_pkg" / "two.py").write_text(MODULE)
    (tmp_path / "loaded_bad.py").write_text("import loaded_nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("loaded_")]:
        del sys.modules[name]


def test_names(folder: Path) -> None:
    """A module, a package's, a file; an attribute, an expression, or `app`."""
    for name in (
        "loaded_one",
        "loaded_one:app",
        "loaded_one.py",
        f"{folder}/loaded_one.py:app",
    ):
        served = load_application(name)
        assert served.__module__ == "loaded_one"
        with pytest.raises(TypeError, match="already"):
            anyws.endpoint(served)  # it has been made of the handler
    for name in ("loaded_pkg.two:group.app", "loaded_one:make('a')"):
        assert load_application(name).__name__ == "asgi"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("loaded_none:app", LookupError, "no module 'loaded_none'"),
        ("loaded_none.py", LookupError, "no module 'loaded_none.py'"),
        ("loaded_pkg.none:app", LookupError, "no module 'loaded_pkg.none'"),
        ("loaded_one:none", LookupError, "no 'none' in 'loaded_one'"),
        ("loaded_one:group.none", LookupError, "no 'group.none'"),
        ("loaded_one:MODULE", LookupError, "no 'MODULE'"),
        ("loaded_one:make", TypeError, "must be async"),
        # Not ours: the module's own mistake keeps its traceback.
        ("loaded_bad:app", ModuleNotFoundError, "loaded_nowhere"),
    ],
)
def test_what_is_not_there(name: str, error: type[Exception], words: str) -> None:
    """It is said what is missing."""
    with pytest.raises(error, match=words):
        load_application(name)
