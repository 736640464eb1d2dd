"""The type that a parameter's annotation stands for, and whether it is our class."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .websocket import WebSocket


def namespace_of(called: Callable[..., Any]) -> dict[str, Any]:
    """Return the names by which annotations of a callable that are text are read."""
    found: Any = inspect.unwrap(called)
    while isinstance(found, functools.partial):
        found = found.func
    if inspect.isclass(found):
        return vars(sys.modules[found.__module__])
    if not inspect.isroutine(found):
        found = type(found).__call__
    namespace: dict[str, Any] = getattr(found, "__globals__", {})
    return namespace


def evaluated(annotation: Any, namespace: dict[str, Any]) -> Any:
    """Return what an annotation stands for.

    One that names what only a type checker sees, or is a text of another kind, is
    returned as it is: FastAPI decides, and Starlette does not look at annotations.
    """
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, namespace, include_extras=True)["it"]
    except Exception:  # whatever evaluating a text may raise
        return annotation


def is_ours(annotation: Any) -> bool:
    """Whether an annotation is our class, one of its own, or either with extras."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kind = get_origin(annotation) or annotation
    return inspect.isclass(kind) and issubclass(kind, WebSocket)
