"""Handlers that are annotated with our class, and would get Starlette's in silence.

FastAPI looks whether an annotation is a subclass of Starlette's WebSocket, and hands
the handler Starlette's own; Starlette does not look at annotations at all. The handler
works, and nothing is guarded. So the routes of an application are looked through, those
of mounted applications too, whose lifespan never runs.

No module of FastAPI is imported here: it is looked at if the application has done so.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from .._values.signatures import signature_of
from .annotations import evaluated, is_ours, namespace_of

_FASTAPI_MEND: Final = (
    "annotate it anyws.fastapi.Guarded, or add the route to an anyws.fastapi.APIRouter"
)
_FUNCTION_MEND: Final = "route to anyws.endpoint({name}) instead of the function"
_METHOD_MEND: Final = (
    "annotate it starlette.websockets.WebSocket, or route to an anyws.endpoint"
)
_LAYERS: Final = 64  # how many middlewares are looked through; one may name itself
_HOOKS: Final = ("on_connect", "on_receive", "on_disconnect", "decode")


def misannotated(app: object) -> list[str]:
    """Say of each such handler what is wrong with it, and the mend; in order."""
    return list(dict.fromkeys(_in(getattr(app, "routes", ()), "", [])))


def application_in(app: Any) -> Any:
    """Return the Starlette application that middlewares stand around; `None`: none.

    Each middleware of a server's or of Starlette's keeps what it wraps as `app`.
    """
    module = sys.modules.get("starlette.applications")
    if module is None:
        return None
    for _ in range(_LAYERS):
        if isinstance(app, module.Starlette):
            return app
        app = getattr(app, "app", None)
    return None


def _in(routes: Iterable[Any], prefix: str, above: list[object]) -> Iterator[str]:
    """Look through routes, and through those that are mounted on them."""
    if any(routes is other for other in above):
        return  # an application that is mounted on itself
    fastapi: Any = sys.modules.get("fastapi.routing")
    starlette: Any = sys.modules.get("starlette.routing")
    if starlette is None:
        return  # nobody has made a route
    found = routes if fastapi is None else fastapi.iter_route_contexts(routes)
    for route in found:
        step = getattr(route, "path", None) or getattr(route, "host", None) or ""
        path = prefix + step
        if isinstance(
            getattr(route, "original_route", route), starlette.WebSocketRoute
        ):
            yield from (f"{path!r}: {fault}" for fault in _of_route(route))
        else:
            inside = _mounted(route)
            if inside is not None:
                yield from _in(inside, path, [*above, routes])


def _mounted(route: Any) -> Iterable[Any] | None:
    """Return the routes that a `Mount` or `Host` leads to; `None`: it is neither."""
    inside: Iterable[Any] | None = getattr(route, "routes", None)
    if inside:
        return inside
    return getattr(application_in(getattr(route, "app", None)), "routes", None)


def _of_route(route: Any) -> Iterator[str]:
    dependant = getattr(route, "dependant", None)
    if dependant is not None:
        yield from _of_dependant(dependant)
        return
    endpoint: Any = route.endpoint
    endpoints: Any = sys.modules.get("starlette.endpoints")
    function = endpoint
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isfunction(function) or inspect.ismethod(function):
        name = function.__name__
        yield from _of_first(endpoint, _FUNCTION_MEND.format(name=name))
    elif not inspect.isclass(endpoint):
        return  # an ASGI application, as an `anyws.endpoint`
    elif endpoints is not None and issubclass(endpoint, endpoints.WebSocketEndpoint):
        # One that dispatches by itself makes the object itself.
        base: Any = endpoints.WebSocketEndpoint
        own: Any = endpoint
        hooks = _HOOKS if own.dispatch is base.dispatch else ()
        for name in hooks:
            yield from _of_first(getattr(endpoint, name), _METHOD_MEND, skipped=1)


def _of_dependant(dependant: Any) -> Iterator[str]:
    """Look through a callable, and through all on which it depends."""
    name, called = dependant.websocket_param_name, dependant.call
    if name is not None and called is not None:
        parameter = signature_of(called).parameters.get(name)
        if parameter is not None:
            yield from _of(called, parameter, _FASTAPI_MEND)
    for inner in dependant.dependencies:
        yield from _of_dependant(inner)


def _of_first(called: Any, mend: str, *, skipped: int = 0) -> Iterator[str]:
    """Look at the parameter that Starlette calls with the WebSocket."""
    parameters = list(signature_of(called).parameters.values())
    if len(parameters) > skipped:
        yield from _of(called, parameters[skipped], mend)


def _of(called: Any, parameter: inspect.Parameter, mend: str) -> Iterator[str]:
    if is_ours(evaluated(parameter.annotation, namespace_of(called))):
        while isinstance(called, functools.partial):
            called = called.func
        name = getattr(called, "__qualname__", type(called).__qualname__)
        place = f"{called.__module__}.{name}"
        yield (
            f"the parameter {parameter.name!r} of {place} is annotated "
            "anyws.WebSocket, and gets Starlette's class, which guards nothing: "
            f"{mend}"
        )
