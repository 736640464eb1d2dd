"""FastAPI's injection of the guarded class, with or without the middleware.

    FastAPI's own WebSocket          made by the route; injected for `fastapi.WebSocket`
        | receive, send
    Guarding (_guarded.py)           one dependency: `async with anyws.WebSocket(...)`
        |                            hosts the session, or joins that of a host
    the handler                      `async def handler(ws: Guarded)`
        |
    the exception handlers           may send, and choose the close code
        |
    the host                         closes: the middleware, the engine, or, without
                                     one, a callback on FastAPI's own stack

What holds is in `_server/handlers.py` and in `Session.hosting`; here is only what makes
FastAPI call it. FastAPI's cache of dependencies and `dependency_overrides` are keyed by
the dependency, so `guarded()` returns objects that are equal for equal settings, and
`Guarded` uses the one without settings. `APIRouter` (_router.py) writes the dependency
into the signatures of handlers that are annotated with the class itself.

`Typed` (_typed.py) is a dependency of the same kind, which holds the types of the
messages, so that a document can be made of an application's routes:

    the application's routes
        | _declared.py        parameters, security and types of each
        | _schemas.py         JSON schemas of all types, by msgspec and pydantic
        v
    _asyncapi.py              the AsyncAPI document, a dict
        v
    _page.py                  the document as a page of HTML
        v
    _documentation.py         routes that serve both
"""

from __future__ import annotations

from importlib.util import find_spec as _find_spec

if _find_spec("fastapi") is None:
    raise ModuleNotFoundError(
        "anyws.fastapi needs FastAPI: pip install 'anyws-websockets[fastapi]'",
        name="fastapi",
    )

from ._asyncapi import asyncapi
from ._documentation import add_asyncapi
from ._guarded import Guarded, guarded
from ._router import APIRouter
from ._typed import Typed, typed

__all__ = [
    "APIRouter",
    "Guarded",
    "Typed",
    "add_asyncapi",
    "asyncapi",
    "guarded",
    "typed",
]
