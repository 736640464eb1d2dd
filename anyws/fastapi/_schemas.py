"""JSON schemas of the types of messages and parameters, for an AsyncAPI document.

Pydantic and msgspec write their own: each type by the library that reads and writes its
messages (`_messages/json_types.py`). They write the draft 2020-12 of JSON Schema, and
an AsyncAPI document holds draft 7, so what differs is put into the words of draft 7.
What is named stands once, among the components, and is referred to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
)

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from .._messages.json_types import NOTHING, is_pydantics

_REFERENCE: Final = "#/components/schemas/{model}"
# Keywords whose value is a schema, a list of schemas, a mapping of names to schemas.
_ONE: Final = frozenset(
    {"additionalItems", "additionalProperties", "contains", "else", "if", "items"}
    | {"not", "propertyNames", "then"}
)
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"$defs", "definitions", "patternProperties", "properties"})

Schema = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Wanted:
    """A type that a schema is wanted of.

    Attributes:
        kind: The type.
        mode: Whether values of it are read or written.
        pydantic: Whether it is pydantic that does so; otherwise it is msgspec.
    """

    kind: Any
    mode: JsonSchemaMode
    pydantic: bool


def messages_of(kind: Any, mode: JsonSchemaMode) -> Iterator[tuple[str, Wanted]]:
    """Yield the name and the type of each kind of message that a type stands for.

    The members of a union are messages of their own.
    """
    if kind in NOTHING:
        return
    pydantic = is_pydantics(kind)
    for member in _members(kind):
        yield _name_of(member), Wanted(member, mode, pydantic)


def _members(kind: Any) -> Iterator[Any]:
    """Yield the members of a union, in order; a type that is none is its own."""
    inner = kind
    while True:
        if get_origin(inner) is Annotated:
            inner = get_args(inner)[0]
        elif hasattr(inner, "__value__"):  # `type X = ...`
            inner = inner.__value__
        else:
            break
    if get_origin(inner) not in (Union, UnionType):
        yield kind
        return
    for member in get_args(inner):
        yield from _members(member)


def _name_of(kind: Any) -> str:
    """Return a name that may be a key of the document: `Question`, `list_int`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        origin = Union  # one class since Python 3.14: the name is the same before
    if origin is Annotated:
        return _name_of(inner[0])
    name = getattr(kind if origin is None else origin, "__name__", str(kind))
    return re.sub(r"\W+", "_", "_".join([name, *map(_name_of, inner)])).strip("_")


def schemas_of(types: list[Wanted]) -> tuple[dict[Wanted, Schema], dict[str, Schema]]:
    """Return the schema of each type, and the components that they refer to."""
    schemas, components = _pydantics([each for each in types if each.pydantic])
    msgspecs = [each for each in types if not each.pydantic]
    others, more = _msgspecs(msgspecs, "")
    if components.keys() & more.keys():
        others, more = _msgspecs(msgspecs, "-msgspec")
    every, named = {**schemas, **others}, {**components, **more}
    return (
        {each: _in_draft_7(schema) for each, schema in every.items()},
        {name: _in_draft_7(named[name]) for name in sorted(named)},
    )


def _pydantics(types: list[Wanted]) -> tuple[dict[Wanted, Schema], dict[str, Schema]]:
    """Return the schemas that pydantic writes, and what they refer to."""
    inputs = [(each, each.mode, TypeAdapter[Any](each.kind)) for each in types]
    made, rest = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
    return {each: schema for (each, _), schema in made.items()}, rest.get("$defs", {})


def _msgspecs(
    types: list[Wanted], suffix: Literal["", "-msgspec"]
) -> tuple[dict[Wanted, Schema], dict[str, Schema]]:
    """Return the schemas that msgspec writes, and what they refer to.

    A suffix of all names tells them from those of pydantic.
    """
    if not types:
        return {}, {}  # msgspec need not be installed
    import msgspec

    template = _REFERENCE.format(model="{name}") + suffix
    kinds = [each.kind for each in types]
    made, components = msgspec.json.schema_components(kinds, ref_template=template)
    named = {f"{name}{suffix}": schema for name, schema in components.items()}
    return dict(zip(types, made, strict=True)), named


def _in_draft_7(schema: Any) -> Any:
    """Return a schema of the draft 2020-12 in the words of draft 7."""
    if not isinstance(schema, dict):  # true and false are schemas
        return schema
    out: Schema = {}
    for key, value in schema.items():
        if key in _ONE:
            out[key] = _in_draft_7(value)
        elif key in _MANY:
            out[key] = [_in_draft_7(each) for each in value]
        elif key in _NAMED:
            out[key] = {name: _in_draft_7(each) for name, each in value.items()}
        elif key == "discriminator" and isinstance(value, dict):
            out[key] = value["propertyName"]  # OpenAPI's is an object
        else:
            out[key] = value
    if "prefixItems" in out:
        rest = out.pop("items", None)
        out["items"] = out.pop("prefixItems")
        if rest is not None:
            out["additionalItems"] = rest
    return out
