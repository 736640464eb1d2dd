"""A page to read an AsyncAPI document: made here, without a script.

All that stands in a document may come from anybody who writes a docstring, so every
text is escaped. Values are shown as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --edge: #8886; --soft: #8882; --link: #1a5fb4 }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 52rem;
       padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 }
h2 { font-size: 1.2rem; margin: 0 }
h3 { font-size: 1rem; margin: 1rem 0 .3rem }
h4 { font-size: 1rem; margin: 0 }
p { margin: .4rem 0; white-space: pre-line }
a { color: var(--link) }
a:focus-visible { outline: 2px solid; outline-offset: 2px; border-radius: .2rem }
code { font: .95em ui-monospace, monospace }
nav ul { list-style: none; margin: 1rem 0; padding: 0; display: flex; flex-wrap: wrap;
         gap: .3rem .8rem }
section { border: 1px solid var(--edge); border-radius: .6rem; padding: 1rem;
          margin: 1rem 0; scroll-margin: 1rem }
article { background: var(--soft); border-radius: .4rem; padding: .6rem .8rem;
          margin: .5rem 0 }
dl { margin: .3rem 0 0 }
dt { margin-top: .3rem }
dt > code:first-child { font-weight: 600; margin-right: .4rem }
dd { margin: 0 0 0 1rem; opacity: .85; white-space: pre-line }
.soft { opacity: .75 }
.address { font: 600 1rem ui-monospace, monospace; white-space: normal }
"""

# What a number or a text is bounded by, and how that is shown.
_LIMITS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minLength": "length ≥",
    "maxLength": "length ≤",
}

Part = dict[str, Any]


def page_of(document: Part, json_url: str) -> str:
    """Return the page.

    Args:
        document: An AsyncAPI document, as `asyncapi` makes it.
        json_url: Where the document itself is, for a link.
    """
    info = document["info"]
    title = escape(info["title"])
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}: WebSockets</title>",
        f"<style>{_STYLE}</style>",
        "<header>",
        f'<h1>{title} <span class="soft">{escape(info["version"])}</span></h1>',
        *_paragraph(info.get("description")),
        f'<p><a href="{escape(json_url)}">The AsyncAPI document</a>, for tools</p>',
        *_servers(document.get("servers", {})),
        "</header>",
        *_contents(document["channels"]),
        "<main>",
    ]
    for name, channel in document["channels"].items():
        lines += _channel(document, name, channel)
    if not document["channels"]:
        lines.append("<p>There are no WebSockets.</p>")
    lines += _schemas(document["components"]["schemas"])
    return "\n".join([*lines, "</main>", "</html>", ""])


def _servers(servers: dict[str, Part]) -> Iterator[str]:
    for each in servers.values():
        url = f"{each['protocol']}://{each['host']}{each.get('pathname', '')}"
        told = f": {each['description']}" if "description" in each else ""
        yield f"<p>Server <code>{escape(url)}</code>{escape(told)}</p>"


def _contents(channels: dict[str, Part]) -> Iterator[str]:
    """Yield links to all channels, if there are several."""
    if len(channels) > 1:
        yield '<nav aria-label="WebSockets"><ul>'
        for name, channel in channels.items():
            yield f'<li><a href="#channel-{name}">{escape(channel["title"])}</a></li>'
        yield "</ul></nav>"


def _channel(document: Part, name: str, channel: Part) -> Iterator[str]:
    yield f'<section id="channel-{name}" aria-labelledby="title-{name}">'
    yield f'<h2 id="title-{name}">{escape(channel["title"])}</h2>'
    yield f'<p class="address">{escape(channel["address"])}</p>'
    yield from _paragraph(channel.get("description"))
    binding = channel["bindings"]["ws"]
    parameters = {
        "Path": _object(channel.get("parameters", {})),
        "Query": binding.get("query", {}),
        "Headers": binding.get("headers", {}),
    }
    for title, schema in parameters.items():
        if schema.get("properties"):
            yield f"<h3>{title}</h3>"
            yield from _fields(schema)
    operations = [
        each
        for each in document["operations"].values()
        if each["channel"]["$ref"] == f"#/channels/{name}"
    ]
    if operations:
        yield from _security(document, operations[0].get("security", []))
    for action, who in (("receive", "the client"), ("send", "the server")):
        for operation in operations:
            if operation["action"] == action:
                yield f"<h3>Sent by {who}</h3>"
                for reference in operation["messages"]:
                    yield from _message(document, _found(document, reference))
    yield "</section>"


def _security(document: Part, schemes: list[Part]) -> Iterator[str]:
    if not schemes:
        return
    yield "<h3>Security</h3><dl>"
    for each in schemes:
        scheme = _found(document, each)
        name: str = scheme.get("scheme") or scheme["type"]
        at = f", {scheme['in']} {scheme['name']}" if "in" in scheme else ""
        scopes = ", ".join(scheme.get("scopes", ()))
        yield f"<dt><code>{escape(name)}</code>{escape(at)}</dt>"
        if "description" in scheme:
            yield f"<dd>{escape(scheme['description'])}</dd>"
        if scopes:
            yield f"<dd>Scopes: {escape(scopes)}</dd>"
    yield "</dl>"


def _message(document: Part, message: Part) -> Iterator[str]:
    schema = message["payload"]
    yield f"<article><h4>{escape(message['name'])}</h4>"
    inner = _found(document, schema)
    yield from _paragraph(inner.get("description"))
    if "properties" in inner:
        yield from _fields(inner)
    else:
        yield f"<p>{_type(schema)}</p>"
    yield "</article>"


def _schemas(schemas: dict[str, Part]) -> Iterator[str]:
    if schemas:
        yield '<section aria-labelledby="types"><h2 id="types">Types</h2>'
        for name, schema in schemas.items():
            yield f'<article id="schema-{name}"><h4>{escape(name)}</h4>'
            yield from _paragraph(schema.get("description"))
            if "properties" in schema:
                yield from _fields(schema)
            else:
                yield f"<p>{_type(schema)}</p>"
            yield "</article>"
        yield "</section>"


def _fields(schema: Part) -> Iterator[str]:
    """Yield the properties of an object as a list."""
    yield "<dl>"
    required = schema.get("required", ())
    for name, each in schema["properties"].items():
        notes = [_type(each)] if _type(each) else []
        if name not in required and "default" in each:
            notes.append(f"default <code>{_json(each['default'])}</code>")
        elif name not in required:
            notes.append("optional")
        yield f"<dt><code>{escape(name)}</code> {', '.join(notes)}</dt>"
        if "description" in each:
            yield f"<dd>{escape(each['description'])}</dd>"
    yield "</dl>"


def _type(schema: Any) -> str:
    """Say what a schema takes; empty if that is anything."""
    if not isinstance(schema, dict):
        return "anything" if schema else "nothing"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}">{escape(name)}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _either(map(_type, schema[key]))
    if "enum" in schema:
        return _either(f"<code>{_json(each)}</code>" for each in schema["enum"])
    if "const" in schema:
        return f"<code>{_json(schema['const'])}</code>"
    kind = schema.get("type", "")
    kinds = [kind] if isinstance(kind, str) else kind
    if kinds == ["array"]:
        return _array(schema)
    if kinds == ["object"] and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    told = _either(escape(each) for each in kinds)
    limits = [f"{sign} {schema[key]}" for key, sign in _LIMITS.items() if key in schema]
    if "format" in schema:
        told += f" ({escape(schema['format'])})"
    return f"{told} {escape(', '.join(limits))}".strip()


def _array(schema: Part) -> str:
    items = schema.get("items")
    if isinstance(items, list):
        return f"array: {', '.join(map(_type, items))}"
    return f"array of {_type(items)}" if items else "array"


def _either(kinds: Iterable[str]) -> str:
    return " or ".join(kinds)


def _object(parameters: dict[str, Part]) -> Part:
    """Return parameters of a path as the properties of an object."""
    return {"properties": parameters, "required": list(parameters)}


def _found(document: Part, part: Part) -> Part:
    """Return what a reference refers to; a part that is none is its own."""
    while "$ref" in part:
        found: Part = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def _paragraph(text: str | None) -> Iterator[str]:
    if text:
        yield f"<p>{escape(text)}</p>"


def _json(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False))
