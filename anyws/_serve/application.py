"""The check for an application, and the loading of one by its name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Signature, iscoroutinefunction
from pathlib import Path
from typing import Any, Final

from .._server.endpoint import endpoint
from .._values.signatures import signature_of

_KINDS: Final = (
    "write `async def handler(ws)` or an ASGI application "
    "`async def app(scope, receive, send)`"
)


def application_of(app: Any) -> Any:
    """Return the application that a server can run; a handler is made one.

    Raises:
        TypeError: It is not an application; the message says what it is, and what to
            write instead.
    """
    return checked_application(app, "python -m anyws serve", _KINDS, is_async)


def checked_application(
    app: Any,
    command: str,
    kinds: str,
    is_async: Callable[[Any], bool],
    *,
    sync_arguments: int | None = None,
) -> Any:
    """Return an application that a server can run; a handler is made one.

    Args:
        app: The application, or a handler of one argument.
        command: The command line that serves an application by its path.
        kinds: The forms of an application, for the error.
        is_async: Whether a callable is async.
        sync_arguments: The number of arguments with which the server calls a callable
            that is not async; `None`: it calls none.

    Raises:
        TypeError: It is not an application; the message says what it is, and what to
            write instead.
    """
    if isinstance(app, str):
        raise TypeError(
            f"expected an application, not its path {app!r}: import it, or run "
            f"`{command} {app}`"
        )
    if not callable(app):
        raise TypeError(f"expected an application, not {app!r}: {kinds}")
    try:
        parameters = signature_of(app)
    except (TypeError, ValueError):  # of a callable in C
        return app
    asynchronous = is_async(app)
    if not asynchronous and sync_arguments is None:
        raise TypeError(f"an application must be async; {app!r} is not: {kinds}")
    if _takes(parameters, 3 if asynchronous else sync_arguments or 0):
        return app
    if asynchronous and _takes(parameters, 1):
        return endpoint(app)
    raise TypeError(
        f"expected an application, not {app!r} with the parameters {parameters}: "
        f"{kinds}"
    )


def is_async(app: Callable[..., Any]) -> bool:
    """Whether a callable is an async function, or an object that is called as one."""
    return iscoroutinefunction(app) or iscoroutinefunction(type(app).__call__)


def _takes(parameters: Signature, count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        parameters.bind(*range(count))
    except TypeError:
        return False
    return True


def load_application(path: str) -> Any:
    """Load an application by its name, `module:attribute`.

    Args:
        path: An importable module, or the path of a file, relative to the current
            folder; and behind a colon the application in it, or an expression that
            makes it (default `app`).

    Raises:
        LookupError: There is no such module or attribute.
        TypeError: It is not an application; the message says what it is.
    """
    # A Windows drive has a colon too.
    name, colon, attribute = path.rpartition(":")
    if not colon or (len(name) == 1 and attribute.startswith(("\\", "/"))):
        name, attribute = path, "app"
    file = Path(name).resolve()
    module = file.stem if file.is_file() else name
    sys.path.insert(0, str(file.parent if file.is_file() else Path.cwd()))
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise
        raise LookupError(f"there is no module {name!r}") from None
    try:
        # As Hypercorn does: `create_app()` is an application's name, too.
        app = eval(attribute, vars(loaded))
    except (NameError, AttributeError) as exc:
        raise LookupError(f"there is no {attribute!r} in {name!r}: {exc}") from None
    return application_of(app)
