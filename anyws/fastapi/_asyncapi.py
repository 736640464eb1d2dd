"""The AsyncAPI 3 document of an application: its WebSocket routes, and their messages.

    the document                    comes from
    info, servers                   the application's own settings
    channels                        each WebSocket route: its path and docstring
        parameters, bindings        path, query, header and cookie parameters of the
                                    handler and of all that it depends on
        messages                    the types in `Typed[Received, Sent]`
    operations                      `receive`: what the handler receives; `send`
        security                    the security schemes that the handler depends on
    components                      JSON schemas of the types, and the schemes

AsyncAPI 3 speaks from the side of the application, as the handler does.
"""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import chain, count
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import fastapi

from ._declared import Parameter, Route, routes_of
from ._schemas import Schema, Wanted, schemas_of

_VERSION: Final = "3.0.0"
_BINDING: Final = "0.1.0"
_JSON: Final = "application/json"
# FastAPI's and AsyncAPI's names of the same facts about an application.
_INFO: Final = (
    ("description", "description"),
    ("terms_of_service", "termsOfService"),
    ("contact", "contact"),
)
_PROTOCOLS: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

Part: TypeAlias = dict[str, Any]


def asyncapi(app: fastapi.FastAPI) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of an application's WebSocket routes.

    Each WebSocket route is a channel: its path, its docstring, and the parameters of
    the handler and its dependencies. The types in `Typed[Received, Sent]` are the
    messages; the members of a union are messages of their own. A route that declares no
    types is a channel without messages. Mounted applications have documents of their
    own, as with OpenAPI.

    The document holds for the routes that are there when it is made.

    Raises:
        TypeError, ValueError: msgspec or pydantic can make no JSON schema of a type.
    Source: AsyncAPI Specification 3.0.0; WebSockets Channel Binding 0.1.0.
    """
    return _Document(app).made()


class _Document:
    """The parts of a document that is being made.

    All schemas are written before the parts that hold them, and at once, so that what
    several types refer to has one name.
    """

    def __init__(self, app: fastapi.FastAPI) -> None:
        self._app = app
        self._routes = list(routes_of(app))
        wanted = [each for route in self._routes for each in route.wanted]
        self._schemas, self._components = schemas_of(wanted)
        self._channels: dict[str, Part] = {}
        self._operations: dict[str, Part] = {}
        self._schemes: dict[str, Schema] = {}

    def made(self) -> Part:
        """Return the document."""
        for route in self._routes:
            self._add(route)
        document: Part = {"asyncapi": _VERSION, "info": _info(self._app)}
        if servers := _servers(self._app):
            document["servers"] = servers
        document["defaultContentType"] = _JSON
        document["channels"] = self._channels
        document["operations"] = self._operations
        document["components"] = {"schemas": self._components}
        if self._schemes:
            document["components"]["securitySchemes"] = self._schemes
        return document

    def _add(self, route: Route) -> None:
        """Add the channel of a route, and its operations."""
        name = _free(route.name, f"{route.name}{route.path}", self._channels)
        channel: Part = {"address": route.path, "title": _title(route.name)}
        self._channels[name] = channel
        if route.description:
            channel["description"] = route.description
        in_path = [each for each in route.parameters if each.place == "path"]
        if in_path:
            channel["parameters"] = {
                each.name: self._path_parameter(self._schemas[each.wanted])
                for each in in_path
            }
        channel["bindings"] = {"ws": self._binding(route.parameters)}
        messages: dict[str, Part] = {}
        for action, these in (("receive", route.received), ("send", route.sent)):
            keys = dict.fromkeys(self._message(each, messages) for each in these)
            if keys:
                self._operations[_free(f"{name}_{action}", "", self._operations)] = {
                    "action": action,
                    "channel": _reference("channels", name),
                    "messages": [
                        _reference("channels", name, "messages", key) for key in keys
                    ],
                    **self._security(route),
                }
        if messages:
            channel["messages"] = messages

    def _message(self, named: tuple[str, Wanted], messages: dict[str, Part]) -> str:
        """Return the key of a message; add it, unless it is there already."""
        name, schema = named[0], self._schemas[named[1]]
        message = {"name": name, "contentType": _JSON, "payload": schema}
        for key, known in messages.items():
            if known == message:
                return key
        key = _free(name, "", messages)
        messages[key] = message
        return key

    def _path_parameter(self, schema: Schema) -> Part:
        """Return the AsyncAPI parameter of a schema; all its values are text."""
        if "$ref" in schema:  # an enumeration
            named = self._components[schema["$ref"].rpartition("/")[2]]
            schema = {**named, **schema}
        part: Part = {
            key: [str(each) for each in schema[key]]
            for key in ("enum", "examples")
            if key in schema
        }
        if "description" in schema:
            part["description"] = schema["description"]
        return part

    def _binding(self, parameters: list[Parameter]) -> Part:
        """Return what the request for the WebSocket holds besides its path."""
        binding: Part = {"method": "GET"}
        for place, key in (("query", "query"), ("header", "headers")):
            these = [each for each in parameters if each.place == place]
            if these:
                binding[key] = _object(
                    {each.name: self._schemas[each.wanted] for each in these},
                    [each.name for each in these if each.required],
                )
        cookies = [each for each in parameters if each.place == "cookie"]
        if cookies:  # which the binding knows as a header only
            names = ", ".join(each.name for each in cookies)
            header = {"type": "string", "description": f"Cookies: {names}"}
            headers = binding.setdefault("headers", _object({}, []))
            headers["properties"]["Cookie"] = header
            if any(each.required for each in cookies):
                headers.setdefault("required", []).append("Cookie")
        return {**binding, "bindingVersion": _BINDING}

    def _security(self, route: Route) -> Part:
        """Return the schemes that a route asks for, as a part of its operations."""
        schemes = []
        for name, scheme in route.security.items():
            general = {key: each for key, each in scheme.items() if key != "scopes"}
            self._schemes[_key(name)] = general
            reference = _reference("components", "securitySchemes", _key(name))
            schemes.append(scheme if "scopes" in scheme else reference)
        return {"security": schemes} if schemes else {}


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    """Return the schema of an object."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _free(name: str, other: str, taken: Container[str]) -> str:
    """Return a key that is not taken: the name, else the other one, else numbered."""
    keys = [_key(each) for each in (name, other) if each]
    numbered = (f"{keys[-1]}_{number}" for number in count(2))
    return next(key for key in chain(keys, numbered) if key not in taken)


def _key(name: str) -> str:
    """Return a key of the document: letters, digits, `.`, `-` and `_`."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_") or "root"


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _reference(*path: str) -> Part:
    return {"$ref": "#/" + "/".join(path)}


def _info(app: fastapi.FastAPI) -> Part:
    info: Part = {"title": app.title, "version": app.version}
    for ours, theirs in _INFO:
        if value := getattr(app, ours):
            info[theirs] = value
    if app.license_info:  # OpenAPI's may have an identifier, too
        kept = ("name", "url")
        info["license"] = {
            k: app.license_info[k] for k in kept if k in app.license_info
        }
    return info


def _servers(app: fastapi.FastAPI) -> dict[str, Part]:
    """Return the application's servers, as far as they are whole URLs."""
    servers: dict[str, Part] = {}
    for each in app.servers:
        url = urlsplit(str(each["url"]))
        if url.scheme not in _PROTOCOLS or "{" in url.netloc:
            continue
        server = server_of(url.scheme, url.netloc, url.path)
        if "description" in each:
            server["description"] = each["description"]
        servers[_free(url.netloc, "", servers)] = server
    return servers


def server_of(scheme: str, host: str, path: str) -> Part:
    """Return the AsyncAPI server at a URL."""
    server: Part = {"host": host, "protocol": _PROTOCOLS[scheme]}
    return {**server, "pathname": path} if path.strip("/") else server
