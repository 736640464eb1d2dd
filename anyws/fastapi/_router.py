"""A router whose handlers are annotated with the class itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import fastapi
from fastapi import Depends, params

from .._server.annotations import evaluated, is_ours, namespace_of
from .._server.websocket import WebSocket
from .._values.signatures import signature_of
from ._guarded import guarded


class APIRouter(fastapi.APIRouter):
    """FastAPI's router, whose WebSocket handlers get the guarded class by annotation.

        router = anyws.fastapi.APIRouter()

        @router.websocket("/ws")
        async def handler(ws: anyws.WebSocket) -> None: ...

    On FastAPI's own router, that annotation injects FastAPI's class. Here it means
    `Guarded`. Everything else is FastAPI's: `prefix`, `dependencies`, `include_router`,
    and the other annotations of handlers.
    """

    def add_api_websocket_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        name: str | None = None,
        *,
        dependencies: Sequence[params.Depends] | None = None,
    ) -> None:
        """Add a route; FastAPI's decorator calls this, too.

        Raises:
            TypeError: A parameter is annotated with a subclass of `anyws.WebSocket`.
        """
        super().add_api_websocket_route(
            path, _injected(endpoint), name, dependencies=dependencies
        )


def _injected(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Return an endpoint in whose signature our class is the dependency.

    The function itself stays as it is: it may stand on another router as well.
    """
    signature = signature_of(endpoint)
    namespace = namespace_of(endpoint)
    before = list(signature.parameters.values())
    after = []
    for each in before:
        if isinstance(each.default, params.Depends):
            after.append(each)
            continue
        annotation = evaluated(each.annotation, namespace)
        mended = _guarded_if_ours(annotation)
        after.append(each if mended is annotation else each.replace(annotation=mended))
    if before == after:
        return endpoint

    @functools.wraps(endpoint)
    async def injected(*args: Any, **kwargs: Any) -> Any:
        return await endpoint(*args, **kwargs)

    changed = signature.replace(parameters=after)
    injected.__signature__ = changed  # type: ignore[attr-defined]  # any function's
    return injected


def _guarded_if_ours(annotation: Any) -> Any:
    """Return the annotation with the dependency, if it is our class and has none.

    Raises:
        TypeError: It is a subclass, which no dependency of ours makes.
    """
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        if any(isinstance(extra, params.Depends) for extra in extras):
            return annotation
        mended = _guarded_if_ours(inner)
        return annotation if mended is inner else Annotated[(mended, *extras)]
    if annotation is WebSocket or get_origin(annotation) is WebSocket:
        return Annotated[annotation, Depends(guarded())]
    if is_ours(annotation):
        raise TypeError(
            f"{annotation!r} is a subclass of anyws.WebSocket, and would get FastAPI's "
            "class: annotate the parameter anyws.WebSocket, or with a dependency of "
            "your own that yields the subclass inside its 'async with' block"
        )
    return annotation
