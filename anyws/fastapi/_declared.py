"""The declarations of a route: its parameters, its security, its messages' types."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias

import fastapi
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette.routing import WebSocketRoute

from ._schemas import Schema, Wanted, messages_of
from ._typed import Typing

Place: TypeAlias = Literal["path", "query", "header", "cookie"]

# The types of OpenAPI's security schemes, and what AsyncAPI calls them.
_SCHEMES: Final = {"apiKey": "httpApiKey"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a route: where it stands in the request, and its type."""

    place: Place
    name: str
    required: bool
    description: str | None
    wanted: Wanted


@dataclass
class Route:
    """A WebSocket route, and all that it declares.

    Attributes:
        security: The security schemes that are asked for, in AsyncAPI's words, each
            with the scopes that this route asks for.
        received, sent: The messages of the handler, with their names.
    """

    name: str
    path: str
    description: str
    parameters: list[Parameter] = field(default_factory=list)
    security: dict[str, Schema] = field(default_factory=dict)
    received: list[tuple[str, Wanted]] = field(default_factory=list)
    sent: list[tuple[str, Wanted]] = field(default_factory=list)

    @property
    def wanted(self) -> Iterator[Wanted]:
        """All types that a schema is wanted of."""
        yield from (each.wanted for each in self.parameters)
        yield from (wanted for _, wanted in (*self.received, *self.sent))


def routes_of(app: fastapi.FastAPI) -> Iterator[Route]:
    """Yield the WebSocket routes of an application and of the routers it includes."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, WebSocketRoute):
            yield _route(context)


def _route(context: RouteContext) -> Route:
    path = str(context.path_format)
    # FastAPI cuts a docstring there, too. Before 3.13 `cleandoc` takes the mark away.
    described = inspect.getdoc(context.endpoint) or ""
    if "\f" in (whole := context.endpoint.__doc__ or ""):
        described = inspect.cleandoc(whole.partition("\f")[0])
    route = Route(context.name or path, path, described.strip())
    dependant: Dependant | None = getattr(context, "dependant", None)
    if dependant is None:  # a route of Starlette's
        text = Wanted(str, "validation", pydantic=True)
        for name in context.param_convertors:
            route.parameters.append(Parameter("path", name, True, None, text))
        return route
    route.parameters = _parameters_of(dependant)
    route.security = _security_of(dependant)
    for types in _types_of(dependant):
        route.received += messages_of(types.received, "validation")
        route.sent += messages_of(types.sent, "serialization")
    return route


def _dependencies_of(dependant: Dependant) -> Iterator[Dependant]:
    """Yield a callable's own dependant, and those of all that it depends on."""
    yield dependant
    for each in dependant.dependencies:
        yield from _dependencies_of(each)


def _types_of(dependant: Dependant) -> list[Typing]:
    """Return the types of messages that a route declares, each once."""
    calls = (each.call for each in _dependencies_of(dependant))
    return list(dict.fromkeys(call for call in calls if isinstance(call, Typing)))


def _parameters_of(dependant: Dependant) -> list[Parameter]:
    """Return the parameters of a route and of its dependencies, each once."""
    found: dict[tuple[Place, str], Parameter] = {}
    for each in _dependencies_of(dependant):
        fields: dict[Place, list[Any]] = {
            "path": each.path_params,
            "query": each.query_params,
            "header": each.header_params,
            "cookie": each.cookie_params,
        }
        for place, declared in fields.items():
            for one in declared:
                for name, info in _flat(one.alias, one.field_info, place):
                    if getattr(info, "include_in_schema", True):
                        made = _parameter(place, name, info)
                        found.setdefault((place, name), made)
    return list(found.values())


def _flat(name: str, info: FieldInfo, place: Place) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a parameter; those that a model holds, where the parameter is a model."""
    kind = info.annotation
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        yield name, info
        return
    for attribute, inner in kind.model_fields.items():
        usual = attribute.replace("_", "-") if place == "header" else attribute
        yield inner.alias or usual, inner


def _parameter(place: Place, name: str, info: FieldInfo) -> Parameter:
    wanted = Wanted(Annotated[info.annotation, info], "validation", pydantic=True)
    return Parameter(place, name, info.is_required(), info.description, wanted)


def _security_of(dependant: Dependant) -> dict[str, Schema]:
    """Return the security schemes that a route asks for, in AsyncAPI's words.

    Each with the scopes that this route asks for, if there are any.
    """
    schemes: dict[str, Schema] = {}
    for each in _dependencies_of(dependant):
        if isinstance(each.call, SecurityBase):
            scopes = [*(each.parent_oauth_scopes or ()), *(each.own_oauth_scopes or ())]
            schemes[each.call.scheme_name] = _scheme(each.call, scopes)
    return schemes


def _scheme(security: SecurityBase, scopes: list[str]) -> Schema:
    scheme: Schema = security.model.model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    scheme["type"] = _SCHEMES.get(scheme["type"], scheme["type"])
    for flow in scheme.get("flows", {}).values():
        flow["availableScopes"] = flow.pop("scopes", {})
    if scopes:
        scheme["scopes"] = list(dict.fromkeys(scopes))
    return scheme
