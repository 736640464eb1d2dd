"""The files that the documentation shows, loaded as modules."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
SNIPPETS: Final = DOCS / "snippets"
# A block between fences, at any depth: its fence, its kind, and what it holds.
_BLOCK: Final = re.compile(
    r"^([ \t]*)(`{3,}|~{3,})([^\n]*)\n(.*?)^[ \t]*\2[ \t]*$", re.DOTALL | re.MULTILINE
)


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Return the kind of each block of code on a page, and its text."""
    return [(kind.strip(), dedent(text)) for _, _, kind, text in _BLOCK.findall(page)]


def prose_of(page: str) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", page)


def load(name: str) -> Any:
    """Run one of the files; return its module, a new one at each call."""
    path = SNIPPETS / f"{name}.py"
    spec = spec_from_file_location(f"snippet_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Annotations that are text are looked up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
