"""From a value to bytes. Whatever could not come back equal and of the same type is refused."""

from __future__ import annotations

import array
import collections
import datetime as dt
import ipaddress
import pathlib
import re
import types
import typing
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import partial
from typing import Any
from uuid import UUID

import ormsgpack
import pydantic_core
from pydantic import BaseModel

from ..blobs import MIN_BYTES, Blob, blobs_of, referring
from . import numpy_values
from .attributes import attributes_of, has_hidden_state, is_of_the_language, model_state
from .classes import generic_parts, is_allowed, key_of
from .codes import Code

Writer = Callable[["Encoder", Any], Any]

TEXT = frozenset({str})
CONSTANT = frozenset({int, float, bool, type(None), bytes})
LIKE_PLAIN = (collections.UserDict, collections.UserList, collections.UserString, collections.ChainMap)
"""Classes of the language that are written in Python and hold nothing but attributes."""

CONTENT_OF: dict[type[Any], Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    collections.deque: lambda value: collections.deque(collections.deque.__iter__(value), value.maxlen),
    collections.OrderedDict: lambda value: collections.OrderedDict(collections.OrderedDict.items(value)),
    collections.Counter: lambda value: collections.Counter(dict(dict.items(value))),
    collections.defaultdict: lambda value: collections.defaultdict(value.default_factory, dict.items(value)),
    dict: lambda value: dict(dict.items(value)),
}
"""What an object of a subclass holds as the base does, whatever methods the subclass has."""


class CannotKeep(Exception):
    """Says why a value cannot come back as it is, and what would."""


class Encoder:
    """Turns values into bytes.

    The quick one takes text for granted, which msgpack rejects if it holds half a surrogate pair.
    """

    def __init__(self, *, quick: bool) -> None:
        self.atoms = CONSTANT | TEXT if quick else CONSTANT

    def pack(self, value: Any) -> bytes:
        """Return the value as msgpack."""
        return ormsgpack.packb(self.plain(value), default=_big, option=ormsgpack.OPT_PASSTHROUGH_BIG_INT)

    def ext(self, code: Code, value: Any) -> ormsgpack.Ext:
        """Return the value as a msgpack extension."""
        return ormsgpack.Ext(code, self.pack(value))

    def plain(self, value: Any) -> Any:
        """Return the value as msgpack knows it, itself where it does already."""
        cls = type(value)
        if cls in self.atoms:
            return value
        if cls is list:
            return value if self.atoms.issuperset(map(type, value)) else [self.plain(v) for v in value]
        if cls is dict:
            if not TEXT.issuperset(map(type, value)) or str not in self.atoms:
                return _dict(self, value)
            if self.atoms.issuperset(map(type, value.values())):
                return value
            return {name: self.plain(item) for name, item in value.items()}
        writer = WRITERS.get(cls) or _class_writers.get(cls)
        if writer is None:
            writer = _class_writers[cls] = _writer_for(cls)
        return writer(self, value)


class ReferringEncoder(Encoder):
    """Leaves out images, documents and other long bytes, for whoever keeps them once: see `blobs`."""

    def __init__(self) -> None:
        super().__init__(quick=False)
        self.atoms = CONSTANT - {bytes}
        self.blobs: dict[str, Blob] = {}

    def plain(self, value: Any) -> Any:
        if type(value) is bytes:
            if len(value) < MIN_BYTES:
                return value
            blob = Blob.of(value)
            self.blobs[blob.sha256] = blob
            return ormsgpack.Ext(Code.BLOB, blob.reference.encode())
        if type(value) is str and (blobs := blobs_of(text := referring(value))):
            self.blobs |= {blob.sha256: blob for blob in blobs}
            return ormsgpack.Ext(Code.REFERRING, text.encode("utf-8", "surrogatepass"))
        return super().plain(value)


_class_writers: dict[type[Any], Writer] = {}


def forget_writers() -> None:
    """Decide anew how objects of each class are written: the allow-list has changed."""
    _class_writers.clear()


def _big(value: Any) -> ormsgpack.Ext:
    return ormsgpack.Ext(Code.BIG_INT, hex(value).encode())


def _text(_: Encoder, value: str) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return ormsgpack.Ext(Code.SURROGATES, value.encode("utf-8", "surrogatepass"))
    return value


def _dict(encoder: Encoder, value: dict[Any, Any]) -> Any:
    pairs = [[encoder.plain(key), encoder.plain(item)] for key, item in value.items()]
    if all(type(key) is str for key, _ in pairs):
        return dict(pairs)
    return ormsgpack.Ext(
        Code.PAIRS, ormsgpack.packb(pairs, default=_big, option=ormsgpack.OPT_PASSTHROUGH_BIG_INT)
    )


def _as(code: Code, parts: Callable[[Any], Any]) -> Writer:
    return lambda encoder, value: encoder.ext(code, parts(value))


def _path(value: pathlib.PurePath) -> list[str]:
    return [type(value).__name__, str(value)]


def _zone(value: dt.tzinfo | None) -> dt.tzinfo | None:
    if value is None or type(value) in ZONES:
        return value
    raise CannotKeep(f"its time zone is of {_shown(type(value))}. Use zoneinfo.ZoneInfo or datetime.timezone")


def _datetime(value: dt.datetime) -> list[Any]:
    naive = value.replace(tzinfo=None, fold=0)
    return [naive.isoformat(), value.fold, _zone(value.tzinfo)]


def _time(value: dt.time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)]


def _timezone(value: dt.timezone) -> list[Any]:
    return list(value.__getinitargs__()) if value is not dt.UTC else []  # type: ignore[attr-defined]


def _zone_info(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        raise CannotKeep("it is a time zone from a file. Use zoneinfo.ZoneInfo with a key")
    return value.key


def _default_dict(value: collections.defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    if factory is not None and not isinstance(factory, type):
        raise CannotKeep(f"its default_factory is {factory!r:.80}. Use a type such as list, or a dict")
    return [factory, dict(value)]


def _memory(value: memoryview) -> list[Any]:
    return [value.tobytes(), value.format, list(value.shape or ()), value.readonly]


def class_reference(encoder: Encoder, value: Any) -> Any:
    """Write a class, or a type with arguments."""
    return encoder.ext(Code.CLASS, reference(value))


def reference(value: Any) -> list[Any]:
    """Return the names of which `Decoder.class_of` makes the type again."""
    if value is typing.Any or value is None:
        return ["typing", "Any" if value else "None", None]
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        parts = generic_parts(value)
        if parts is not None:
            return [*key_of(parts[0]), [reference(argument) for argument in parts[1]]]
        if value not in BUILTIN_CLASSES and not is_allowed(value):
            raise CannotKeep(not_declared(value))
        return [*key_of(value), None]
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    if origin is typing.Literal:
        return ["typing", "Literal", list(arguments)]
    if origin in (typing.Union, types.UnionType):
        return ["typing", "Union", [reference(argument) for argument in arguments]]
    if isinstance(origin, type) and arguments:
        return [*reference(origin)[:2], [reference(argument) for argument in arguments]]
    raise CannotKeep(f"{value!r:.80} is a type that a checkpoint cannot name")


def _enum(head: list[Any], encoder: Encoder, value: Enum) -> Any:
    name = value.name if not isinstance(value, Flag) else None
    held = value.value if type(value.value) in (int, str) else None
    return encoder.ext(Code.ENUM, [head, name, held])


def _model(head: list[Any], encoder: Encoder, value: BaseModel) -> Any:
    return encoder.ext(Code.MODEL, [head, *model_state(value)])


def _object(head: list[Any], encoder: Encoder, value: Any) -> Any:
    return encoder.ext(Code.OBJECT, [head, attributes_of(value)])


def _extended(head: list[Any], base: type[Any], encoder: Encoder, value: Any) -> Any:
    return encoder.ext(Code.EXTENDED, [head, CONTENT_OF[base](value), attributes_of(value)])


def refused(reason: str) -> Writer:
    """Return a writer that refuses every value, and says why."""

    def refuse(_encoder: Encoder, _value: Any) -> Any:
        raise CannotKeep(reason)

    return refuse


def _writer_for(cls: type[Any]) -> Writer:
    known = numpy_values.writer_for(cls)
    if known is not None:
        return known
    if issubclass(cls, (type, types.GenericAlias, types.UnionType)) or cls.__module__ == "typing":
        return class_reference
    problem = problem_of(cls)
    if problem:
        return refused(problem)
    if not is_allowed(cls):
        return refused(not_declared(cls))
    head = reference(cls)
    if issubclass(cls, Enum):
        return partial(_enum, head)
    if issubclass(cls, BaseModel):
        return partial(_model, head)
    base = next((base for base in cls.__mro__ if base in CONTENT_OF), None)
    return partial(_object, head) if base is None else partial(_extended, head, base)


def problem_of(cls: type[Any]) -> str | None:
    """Return why objects of a class can never be kept, None if they can if the class is declared."""
    if cls in BUILTIN_CLASSES or cls in LIKE_PLAIN or issubclass(cls, (Enum, BaseModel)):
        if cls is object:
            return "an object() is known by its identity alone. Use an Enum member"
        return None
    if numpy_values.writer_for(cls) is not None:
        return None
    known = next((base for base in cls.__mro__ if base in WRITERS and base not in CONTENT_OF), None)
    if known is not None:
        return f"{_shown(cls)} is a subclass of {known.__name__}. Use {known.__name__} itself"
    if issubclass(cls, BaseException):
        return "an exception belongs to the process that raised it. Keep its text: str(error)"
    if issubclass(cls, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return "a function belongs to the process. Keep a name for it, and look the function up in the node"
    if (is_of_the_language(cls) and not issubclass(cls, tuple)) or has_hidden_state(cls):
        return f"an object of {_shown(cls)} belongs to the process. Make it in the node that uses it"
    return None


def not_declared(cls: type[Any]) -> str:
    """Return what to do for a class that is not on the allow-list."""
    return (
        f"no workflow declares {_shown(cls)}. Name the class in the type of the field, or allow it: "
        f"Session(path, allow=[{cls.__name__}])"
    )


def _shown(cls: type[Any]) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


ZONES = (dt.timezone, zoneinfo.ZoneInfo, pydantic_core.TzInfo)
PATHS = (
    pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath
)  # fmt: skip
ADDRESSES = (
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network,
    ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network,
)  # fmt: skip
URLS = (pydantic_core.Url, pydantic_core.MultiHostUrl)

WRITERS: dict[type[Any], Writer] = {
    str: _text,
    tuple: _as(Code.TUPLE, list),
    set: _as(Code.SET, list),
    frozenset: _as(Code.FROZENSET, list),
    collections.deque: _as(Code.DEQUE, lambda value: [list(value), value.maxlen]),
    bytearray: _as(Code.BYTEARRAY, bytes),
    memoryview: _as(Code.MEMORYVIEW, _memory),
    complex: _as(Code.COMPLEX, lambda value: [value.real, value.imag]),
    range: _as(Code.RANGE, lambda value: [value.start, value.stop, value.step]),
    slice: _as(Code.SLICE, lambda value: [value.start, value.stop, value.step]),
    type(...): _as(Code.ELLIPSIS, lambda _: None),
    Decimal: _as(Code.DECIMAL, str),
    Fraction: _as(Code.FRACTION, lambda value: [value.numerator, value.denominator]),
    dt.datetime: _as(Code.DATETIME, _datetime),
    dt.date: _as(Code.DATE, dt.date.isoformat),
    dt.time: _as(Code.TIME, _time),
    dt.timedelta: _as(Code.TIMEDELTA, lambda value: [value.days, value.seconds, value.microseconds]),
    dt.timezone: _as(Code.TIMEZONE, _timezone),
    zoneinfo.ZoneInfo: _as(Code.ZONE_INFO, _zone_info),
    pydantic_core.TzInfo: _as(Code.PYDANTIC_OFFSET, lambda value: value.utcoffset(None).total_seconds()),
    UUID: _as(Code.UUID, lambda value: [value.bytes, value.is_safe.value]),
    re.Pattern: _as(Code.PATTERN, lambda value: [value.pattern, value.flags]),
    collections.OrderedDict: _as(Code.ORDERED_DICT, lambda value: [[k, v] for k, v in value.items()]),
    collections.Counter: _as(Code.COUNTER, dict),
    collections.defaultdict: _as(Code.DEFAULT_DICT, _default_dict),
    types.SimpleNamespace: _as(Code.NAMESPACE, lambda value: dict(vars(value))),
    types.MappingProxyType: _as(Code.MAPPING_PROXY, dict),
    array.array: _as(Code.ARRAY, lambda value: [value.typecode, value.tobytes()]),
    **dict.fromkeys(PATHS, _as(Code.PATH, _path)),
    **dict.fromkeys(ADDRESSES, _as(Code.IP_ADDRESS, lambda value: [type(value).__name__, str(value)])),
    **dict.fromkeys(URLS, _as(Code.URL, lambda value: [type(value).__name__, str(value)])),
}

BUILTIN_CLASSES = frozenset({*WRITERS, *CONTENT_OF, bool, object, type, type(None)})
