"""Codecs of JSON for types: which library reads and writes messages of which type.

    the type                                             library
    names something of pydantic's                        pydantic
    anything else (msgspec.Struct, dataclass,            msgspec; pydantic, if only
    TypedDict, NamedTuple, list[int], Literal, ...)      that is installed

A type names something of pydantic's if it is a model or a dataclass of pydantic's, if
it is annotated with a `Field` or a constraint that msgspec would pass over, or if one
of its parameters or fields does so. Both libraries are optional, and imported when the
first codec needs them. What a library makes of a type is kept, as it takes long to make
(pydantic: milliseconds), and many connections use few types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Never,
    NoReturn,
    TypeAlias,
    get_args,
    get_type_hints,
    is_typeddict,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Encode: TypeAlias = Callable[[Any], str]
Decode: TypeAlias = Callable[[str | bytes], Any]

# Packages of what can be named in a type and means nothing to msgspec.
_PYDANTIC: Final = frozenset({"pydantic", "annotated_types"})
# The types of no value at all: nothing is to come, or to be sent.
NOTHING: Final = (Never, NoReturn)
_KEPT: Final = 256  # types whose encoders and decoders are kept


class JsonTypes:
    """A codec: JSON in text messages, decoded as one type, encoded as another.

    Binary messages that hold JSON are decoded as well.

    Args:
        received, sent: The types.

    Raises:
        ModuleNotFoundError: No library for these types is installed.
        TypeError: The library does not take a type, and says why.
    """

    __slots__ = ("decode", "encode")

    def __init__(self, received: Any, sent: Any) -> None:
        self.decode: Decode = _kept(_decoder, received)
        self.encode: Encode = _kept(_encoder, sent)


def _kept(make: Callable[[Any, str], Any], kind: Any) -> Any:
    """Make an encoder or a decoder of a type, once for each that can be hashed."""
    # By its text, too: `A | B` equals `B | A`, but pydantic tries them in order.
    try:
        hash(kind)
    except TypeError:
        return make.__wrapped__(kind, "")  # type: ignore[attr-defined]  # lru_cache's
    return make(kind, repr(kind))


@lru_cache(_KEPT)
def _decoder(kind: Any, _: str) -> Decode:
    if kind in NOTHING:
        return _refuse
    if is_pydantics(kind):
        return _adapter_of(kind).validate_json
    import msgspec

    _check_known(kind)
    return msgspec.json.Decoder(kind).decode


@lru_cache(_KEPT)
def _encoder(kind: Any, _: str) -> Encode:
    if kind in NOTHING:
        return _refuse
    if is_pydantics(kind):
        adapter = _adapter_of(kind)

        def dump(value: Any) -> str:
            # A value of another type would only draw a warning.
            return adapter.dump_json(value, by_alias=True, warnings="error").decode()

        return dump
    import msgspec

    _check_known(kind)
    encode = msgspec.json.Encoder().encode
    return lambda value: encode(value).decode()


def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a type by pydantic.

    Raises:
        TypeError: Pydantic knows nothing of the type.
    """
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    try:
        return TypeAdapter(kind)
    except PydanticSchemaGenerationError as exc:
        raise TypeError(
            f"{kind!r} cannot be the type of a message: it contains a type of "
            "pydantic's, so pydantic must know all of it, and it does not know a "
            "msgspec.Struct, for example; use one library for the whole type, or pass "
            "a codec"
        ) from exc


def _refuse(_: Any) -> Never:
    """Be the decoder or the encoder of the types without a value."""
    raise ValueError("no message is expected")


def is_pydantics(kind: Any) -> bool:
    """Whether pydantic is to read and write a type; otherwise it is msgspec.

    Raises:
        ModuleNotFoundError: The one that is needed is not installed.
    """
    if _names_pydantic(kind, set()):
        return True
    if find_spec("msgspec") is not None:
        return False
    if find_spec("pydantic") is not None:
        return True
    raise ModuleNotFoundError(
        "typed messages need msgspec: pip install 'anyws-websockets[msgspec]'",
        name="msgspec",
    )


def _names_pydantic(kind: Any, seen: set[int]) -> bool:
    """Whether something of pydantic's stands in a type, at whatever depth."""
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    if hasattr(kind, "__get_pydantic_core_schema__") or (
        hasattr(kind, "__pydantic_validator__")
    ):
        return True
    if type(kind).__module__.partition(".")[0] in _PYDANTIC:
        return True
    inner = [*get_args(kind), getattr(kind, "__value__", None)]  # the latter: `type X`
    if is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields"):
        inner += _fields_of(kind)
    return any(_names_pydantic(each, seen) for each in inner)


def _fields_of(kind: Any) -> list[Any]:
    """Return the types of the fields of a class; none if they cannot be found."""
    try:
        return list(get_type_hints(kind, include_extras=True).values())
    except (NameError, TypeError):  # a name of a function's own; no class at all
        return []


def _check_known(kind: Any) -> None:
    """Refuse a class that msgspec takes and can make no message of."""
    from msgspec import inspect

    if isinstance(inspect.type_info(kind), inspect.CustomType):
        raise TypeError(
            f"{kind!r} cannot be the type of a message: use a msgspec.Struct, a "
            "dataclass, a TypedDict, a pydantic model or Python's types; or pass a "
            "codec"
        )
