"""How the engine gets into Hypercorn: the names that it replaces, and restores.

Hypercorn 0.18 looks its own classes up in module namespaces each time it makes a
connection or a stream, and some of its functions each time it starts a worker. While
the engine is installed, those namespaces hold classes and functions of the engine. No
class or function of Hypercorn is copied or changed. Another version may look up other
names, so `install` refuses a version that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final

from hypercorn.utils import is_asgi

from .._serve.application import checked_application

KNOWN_VERSION: Final = "0.18"

# (module of Hypercorn, name in it): (module of the engine, name in it)
_NAMES: Final = {
    ("protocol.h11", "WSStream"): ("_stream", "EngineStream"),
    ("protocol.h2", "WSStream"): ("_stream", "EngineStream"),
    ("protocol.h2", "HTTPStream"): ("_http2.streams", "EngineHTTPStream"),
    ("protocol.h2", "StreamBuffer"): ("_http2.streams", "EngineStreamBuffer"),
    ("protocol", "H11Protocol"): ("_http1", "EngineH11Protocol"),
    ("protocol", "H2Protocol"): ("_http2.protocol", "EngineH2Protocol"),
    ("asyncio.run", "TCPServer"): ("_asyncio", "EngineTCPServer"),
    ("asyncio.run", "raise_shutdown"): ("_asyncio", "raise_shutdown"),
    ("asyncio.run", "worker_serve"): ("_asyncio", "serve_process"),
    ("asyncio", "worker_serve"): ("_asyncio", "serve_worker"),
}
_TRIO_NAMES: Final = {
    ("trio.run", "TCPServer"): ("_trio", "EngineTCPServer"),
    ("trio.run", "raise_shutdown"): ("_trio", "raise_shutdown"),
    ("trio.run", "worker_serve"): ("_trio", "serve_process"),
    ("trio", "worker_serve"): ("_trio", "serve_worker"),
}
_HTTP3_NAMES: Final = {("protocol.h3", "WSStream"): ("_http3", "RefusedStream")}

# The forms that an application can have, for errors.
_KINDS: Final = (
    "write `async def handler(ws)`, an ASGI application "
    "`async def app(scope, receive, send)` or a WSGI application "
    "`def app(environ, start_response)`"
)

_lock = Lock()
_users = 0
_stock: list[tuple[Any, str, Any]] = []


def install() -> None:
    """Replace Hypercorn's names, until `uninstall` has been called as often as this.

    Raises:
        RuntimeError: This version of Hypercorn is not known.
    """
    global _users
    check_version()
    with _lock:
        if not _users:
            for (module_name, name), (ours, our_name) in _names().items():
                module = import_module(f"hypercorn.{module_name}")
                engine = getattr(import_module(f"{__package__}.{ours}"), our_name)
                _stock.append((module, name, getattr(module, name)))
                setattr(module, name, engine)
        _users += 1


def uninstall() -> None:
    """Restore Hypercorn's names, if this is the last user."""
    global _users
    with _lock:
        _users -= 1
        while not _users and _stock:
            setattr(*_stock.pop())


def _names() -> dict[tuple[str, str], tuple[str, str]]:
    names = dict(_NAMES)
    if find_spec("trio") is not None:
        names |= _TRIO_NAMES
    if find_spec("aioquic") is not None:
        names |= _HTTP3_NAMES
    return names


def check_version() -> None:
    """Refuse a version of Hypercorn that the engine was not written for."""
    found = version("hypercorn")
    if found != KNOWN_VERSION and not found.startswith(f"{KNOWN_VERSION}."):
        raise RuntimeError(
            f"anyws.hypercorn is written for Hypercorn {KNOWN_VERSION}.* and does not "
            f"know {found}: install 'hypercorn=={KNOWN_VERSION}.*'"
        )


def check_installed(event_loop: str, *, option: str) -> None:
    """Refuse an event loop that is an extra, and not installed.

    Raises:
        ModuleNotFoundError: It is not installed; the message names the option that asks
            for it, and the command that installs it.
    """
    if event_loop in {"trio", "uvloop"} and find_spec(event_loop) is None:
        raise ModuleNotFoundError(
            f"{option} {event_loop} needs {event_loop}: "
            f"pip install 'anyws-websockets[hypercorn,{event_loop}]'",
            name=event_loop,
        )


def application_of(app: Any) -> Any:
    """Return the application that Hypercorn can serve; a handler is made one.

    Raises:
        TypeError: It is not an application; the message says what it is, and what to
            write instead.
    """
    command = "python -m anyws.hypercorn"
    return checked_application(app, command, _KINDS, is_asgi, sync_arguments=2)


@contextmanager
def engine() -> Iterator[None]:
    """Have Hypercorn serve WebSockets with the engine, inside the block.

    For programs that call Hypercorn's own `serve()` or `run()`:

        with anyws.hypercorn.engine():
            trio.run(hypercorn.trio.serve, app, config)

    The whole process has the engine while the block runs: start and end servers inside
    it. Worker processes that Hypercorn spawns are without it: see `load`.

    Raises:
        RuntimeError: This version of Hypercorn is not known.
    """
    install()
    try:
        yield
    finally:
        uninstall()


def load(module: str, attribute: str = "app") -> Any:
    """Install the engine in this process, and load an application as Hypercorn does.

    For command lines that call `hypercorn` itself. It evaluates the part after the
    colon in each of its workers:

        hypercorn -k trio "anyws.hypercorn:load('myproject.main', 'app')"

    Args:
        module: An importable module, or the path of a file, relative to the folder
            that the server was started in.
        attribute: The application in the module, or an expression that makes it.

    Raises:
        RuntimeError: This version of Hypercorn is not known.
        TypeError: It is not an application; the message says what it is.
        hypercorn.utils.NoAppError: There is no such module or attribute.
    """
    from hypercorn.utils import load_application

    install()
    loaded = load_application(f"{module}:{attribute}", 0)
    return application_of(loaded.app)  # type: ignore[attr-defined]
