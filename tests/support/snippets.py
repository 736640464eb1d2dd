"""The files that the documentation shows, loaded as modules."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
SNIPPETS: Final = DOCS / "snippets"


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
