"""The shape of the package: its names and the arrows between its modules."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

import anyws
import anyws.testing

PACKAGE = Path(anyws.__file__).parent
# What each module may import of ours: only what stands above it.
ORDER = (
    "_close",
    "_errors",
    "_options",
    "_statistics",
    "_states",
    "_events",
    "_buffer",
    "_wire",
    "_endings",
    "_pings",
    "_direct",
    "_lifetime",
    "_link",
    "_session",
    "_channel",
    "_drain",
    "_hosting",
    "_disconnect",
    "_messages",
    "_messaging",
    "_websocket",
    "_endpoint",
    "_transport",
    "_asyncio",
    "_url",
    "_opening",
    "_dial",
    "_retry",
    "_fragments",
    "_client_channel",
    "_client",
    "_connect",
    "_console",
    "_arguments",
    "_terminal",
    "_cli",
    "__init__",
    "__main__",
)
# The same for the public package anyws.hypercorn, each of which may import any of the
# above but `__init__`, and whose `_engine` looks the others up by their names.
HYPERCORN = (
    "_handshake",
    "_worker",
    "_stream",
    "_connection",
    "_h2_streams",
    "_h2",
    "_h3",
    "_asyncio",
    "_trio",
    "_engine",
    "_serve",
    "__init__",
    "__main__",
)
# The same for the public package anyws.testing.
TESTING = (
    "_errors",
    "_network",
    "_dialects",
    "_history",
    "_turns",
    "_inbox",
    "_scope",
    "_server",
    "_pipe",
    "_peer",
    "_lifespan",
    "_run",
    "_connect",
    "_hypercorn",
    "__init__",
    "_plugin",
)
BACKENDS = {"asyncio", "trio", "sniffio"}
PURE = (
    "_close",
    "_errors",
    "_options",
    "_statistics",
    "_states",
    "_events",
    "_endings",
    "_console",
)


def imports_of(module: str, folder: Path = PACKAGE) -> tuple[set[str], set[str]]:
    """Return the modules of its folder and the packages of others that it imports."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            ours.add(str(node.module))
        elif isinstance(node, ast.ImportFrom) and node.level:
            others.add("anyws")
        elif isinstance(node, ast.ImportFrom):
            others.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Import):
            others |= {name.name.partition(".")[0] for name in node.names}
    return ours, others


def test_every_module_has_its_place() -> None:
    """The order below names each module once."""
    for folder, order in (
        (PACKAGE, ORDER),
        (PACKAGE / "hypercorn", HYPERCORN),
        (PACKAGE / "testing", TESTING),
    ):
        assert sorted(order) == sorted(path.stem for path in folder.glob("*.py"))


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_one_way(module: str) -> None:
    """A module imports only those that stand before it, and no backend."""
    ours, others = imports_of(module)

    assert ours <= set(ORDER[: ORDER.index(module)])
    allowed = {"asyncio", "sniffio"} if module == "_asyncio" else set()
    assert not others & (BACKENDS | {"hypercorn"}) - allowed


@pytest.mark.parametrize("module", HYPERCORN)
def test_each_backend_has_one_module(module: str) -> None:
    """In the adapter too, imports point one way, and what runs on both names none."""
    ours, others = imports_of(module, PACKAGE / "hypercorn")

    assert ours <= set(HYPERCORN[: HYPERCORN.index(module)])
    allowed = {module.removeprefix("_")}
    if module == "_asyncio":
        allowed.add("sniffio")  # its callbacks tell AnyIO, by it, whose they are
    assert others & BACKENDS <= allowed


@pytest.mark.parametrize("module", TESTING)
def test_what_tests_use_runs_on_either_backend(module: str) -> None:
    """There too, imports point one way, and no backend is named."""
    ours, others = imports_of(module, PACKAGE / "testing")

    assert ours <= set(TESTING[: TESTING.index(module)])
    assert not others & BACKENDS
    assert "hypercorn" not in others or module == "_hypercorn"


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_does_no_io(module: str) -> None:
    """The modules that decide know nothing of AnyIO."""
    assert "anyio" not in imports_of(module)[1]


def test_the_public_names() -> None:
    """`__all__` is sorted and complete."""
    assert list(anyws.__all__) == sorted(anyws.__all__)
    # pytest adds some names with "@" to packages that have a plugin of its.
    public = {name for name in vars(anyws) if not name.startswith(("_", "@"))}
    # A submodule is there once somebody has imported it.
    assert public - {"annotations", "hypercorn", "testing"} == set(anyws.__all__)


@pytest.mark.parametrize("package", [anyws, anyws.testing])
def test_errors_are_named_as_they_are_imported(package: ModuleType) -> None:
    """A traceback names no private module."""
    public = [getattr(package, name) for name in package.__all__]
    errors = [v for v in public if isinstance(v, type) and issubclass(v, Exception)]
    ours = {e.__module__ for e in errors if e.__module__.startswith("anyws")}
    assert ours == {package.__name__}
