"""The shape of the package: its wings, the modules in each, the arrows between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import anyws
import anyws.testing

PACKAGE: Final = Path(anyws.__file__).parent

# The wings, and the modules in each: one may import only what stands before it. The
# public packages may import every wing, and nothing of each other's.
WINGS: Final = {
    "_values": (
        "signatures",
        "closing",
        "errors",
        "deflate",
        "limits",
        "allowed_origins",
        "message_codec",
        "statistics",
        "observer",
        "options",
        "states",
        "headers",
        "events",
        "shared",
        "outcomes",
    ),
    "_session": (
        "channel",
        "wakeup",
        "timekeeper",
        "queue",
        "ending",
        "deadlines",
        "keepalive",
        "stage",
        "stopwatch",
        "pace",
        "timers",
        "observation",
        "upkeep",
        "connection",
        "driving",
        "intake",
        "reader",
        "writer",
        "tasks",
        "calls",
        "interlude",
        "turns",
        "receiver",
        "unsent_response",
        "sender",
        "passage",
        "entrance",
        "feed",
        "settings",
        "leaving",
        "draining",
        "session",
        "scope",
    ),
    "_messages": (
        "disconnect_scope",
        "interrupt_scope",
        "object_stream",
        "json_types",
        "typed",
        "parts",
        "connection_end",
        "receiving_verbs",
        "frame_verbs",
        "sending_verbs",
        "verbs",
    ),
    "_frames": (
        "assembler",
        "deflate",
        "negotiation",
        "shared_frames",
        "core",
        "codec",
        "attributes",
        "transport",
        "frame_channel",
        "transport_channel",
        "watched_socket",
        "event_loop",
        "transports",
        "memory_stream",
    ),
    "_server": (
        "containment",
        "handshake",
        "request",
        "response",
        "drain",
        "admission",
        "guard",
        "server_channel",
        "tls_extension",
        "wrapping",
        "origin",
        "handlers",
        "handshake_verbs",
        "plain_mode",
        "websocket",
        "endpoint",
        "annotations",
        "misannotated",
        "inspection",
        "connection",
        "middleware",
    ),
    "_serve": (
        "signals",
        "application",
        "lifespan",
        "listeners",
        "greeting",
        "arrival",
        "served",
        "reception",
        "server",
        "stream",
    ),
    "_hub": (
        "topic_names",
        "position",
        "event",
        "backend",
        "log",
        "topic",
        "forgotten",
        "cursor",
        "reading",
        "topics",
        "roster",
        "member",
        "dispatcher",
        "subscription",
        "attachment",
        "presence",
        "gossip",
        "relay",
        "replay",
        "life",
        "browser",
        "arguments",
        "statistics",
        "hub",
    ),
    "_client": (
        "url",
        "proxy",
        "response",
        "handshake",
        "destination",
        "dial",
        "in_process",
        "retry",
        "who_reads",
        "client_channel",
        "interruption",
        "websocket",
        "reconnect",
        "connect",
    ),
    "_cli": ("console", "arguments", "terminal", "conversation", "serving"),
}
PACKAGES: Final = {
    "hypercorn": (
        "_logging",
        "_worker",
        "_stream",
        "_idle",
        "_connection",
        "_http1",
        "_http2.allowance",
        "_http2.streams",
        "_http2.protocol",
        "_http3",
        "_asyncio",
        "_trio",
        "_engine",
        "_serve",
        "__init__",
        "__main__",
    ),
    "uvicorn": ("_transport", "_protocol", "__init__"),
    "fastapi": (
        "_guarded",
        "_router",
        "_typed",
        "_schemas",
        "_declared",
        "_asyncapi",
        "_page",
        "_documentation",
        "__init__",
    ),
    "redis": (
        "_wire",
        "_link",
        "_sentinels",
        "_subscriptions",
        "_follower",
        "_reception",
        "_backend",
        "__init__",
    ),
    "testing": (
        "_errors",
        "_server.network",
        "_server.dialects",
        "_server.history",
        "_server.turns",
        "_server.inbox",
        "_server.scope",
        "_server.server",
        "_peer.pipe",
        "_peer.peer",
        "_lifespan",
        "_run",
        "_connect",
        "_real_hypercorn",
        "__init__",
        "_plugin",
    ),
}
TOP: Final = ("__init__", "__main__")
ORDER: Final = (
    *(f"{wing}.{name}" for wing, names in WINGS.items() for name in names),
    *TOP,
)

# The modules that decide do no I/O, and know nothing of AnyIO.
PURE: Final = (
    *(f"_values.{name}" for name in WINGS["_values"]),
    "_session.ending",
    "_session.deadlines",
    "_session.stage",
    "_session.keepalive",
    "_session.pace",
    "_session.timers",
    "_client.url",
    "_client.response",
    "_client.who_reads",
    "_cli.console",
)
BACKENDS: Final = frozenset({"asyncio", "trio", "sniffio"})
# The modules that may name a backend: each adapts one, and nothing else.
ADAPTERS: Final = {
    # Callbacks of the event loop, which tell AnyIO by sniffio whose they are.
    "_frames.event_loop": {"asyncio", "sniffio"},
    "hypercorn._asyncio": {"asyncio"},
    "hypercorn._trio": {"trio"},
    "uvicorn._transport": {"asyncio"},
    "uvicorn._protocol": {"asyncio"},
}
# The servers' own modules are imported by the package that is named after them, and by
# the fixture that runs a real one.
HYPERCORN: Final = (*(f"hypercorn.{name}" for name in PACKAGES["hypercorn"]),)
REAL_SERVER: Final = "testing._real_hypercorn"


def path_of(module: str) -> Path:
    """Return the file of a module that is named from the package on."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def imports_of(module: str) -> tuple[set[str], set[str]]:
    """Return the modules of ours, and the packages of others, that a module imports."""
    ours, others = set(), set()
    folder = module.split(".")[:-1]
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = folder[: len(folder) + 1 - node.level]
            ours |= set(targets(".".join(above), node))
        elif isinstance(node, ast.ImportFrom):
            others.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Import):
            others |= {name.name.partition(".")[0] for name in node.names}
    return ours, others


def targets(folder: str, node: ast.ImportFrom) -> Iterator[str]:
    """Name the modules of a relative import, whose names may be modules themselves."""
    base = ".".join(filter(None, (folder, node.module)))
    for name in node.names:
        candidates = (f"{base}.{name.name}".lstrip("."), base, f"{base}.__init__")
        yield next(found for found in candidates if path_of(found).is_file())


def modules_of(package: str) -> list[str]:
    """Return the modules of a public package, in order, named from anyws on."""
    return [f"{package}.{name}" for name in PACKAGES[package]]


ALL: Final = (*ORDER, *(name for package in PACKAGES for name in modules_of(package)))


def test_every_module_has_its_place() -> None:
    """The order above names each module once; the wings' `__init__` hold no code."""
    there = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
    }
    unnamed = there - set(ALL)

    assert len(set(ALL)) == len(ALL)
    assert set(ALL) <= there
    assert all(name.endswith(".__init__") for name in unnamed), unnamed
    for name in unnamed:
        body = ast.parse(path_of(name).read_text()).body
        assert [type(node) for node in body] == [ast.Expr], f"{name} is no theory"


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down(module: str) -> None:
    """A module of a wing imports only those that stand before it."""
    ours, others = imports_of(module)

    assert ours <= set(ORDER[: ORDER.index(module)])
    assert not others & {"hypercorn", "uvicorn", "fastapi"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_of_the_public_packages_point_down(package: str) -> None:
    """A public package imports the wings, and of its own what stands before."""
    order = modules_of(package)
    for position, module in enumerate(order):
        ours, _ = imports_of(module)
        allowed = {*ORDER, *order[:position]} - set(TOP)
        if module == REAL_SERVER:
            allowed |= {"hypercorn.__init__", *modules_of("hypercorn")}
        assert ours <= allowed, module


@pytest.mark.parametrize("module", ALL)
def test_only_adapters_name_a_backend(module: str) -> None:
    """What runs on both backends names neither."""
    _, others = imports_of(module)

    assert others & BACKENDS <= ADAPTERS.get(module, set())
    assert "hypercorn" not in others or module in (*HYPERCORN, REAL_SERVER)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_no_io(module: str) -> None:
    """The modules that decide know nothing of AnyIO, nor import one that does."""
    ours, others = imports_of(module)

    assert "anyio" not in others
    assert ours <= set(PURE)


def test_the_public_names() -> None:
    """`__all__` is sorted and complete."""
    assert list(anyws.__all__) == sorted(anyws.__all__)
    # pytest adds some names with "@" to packages that have a plugin of its.
    public = {name for name in vars(anyws) if not name.startswith(("_", "@"))}
    # A submodule is there once somebody has imported it.
    assert public - {"annotations"} - {*PACKAGES} == set(anyws.__all__)


@pytest.mark.parametrize("package", [anyws, anyws.testing])
def test_errors_are_named_as_they_are_imported(package: ModuleType) -> None:
    """A traceback names no private module."""
    public = [getattr(package, name) for name in package.__all__]
    errors = [v for v in public if isinstance(v, type) and issubclass(v, Exception)]
    ours = {e.__module__ for e in errors if e.__module__.startswith("anyws")}
    assert ours == {package.__name__}
