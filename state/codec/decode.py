"""From bytes to a value. No constructor or validator of a declared class runs, nothing is imported."""

from __future__ import annotations

import array
import collections
import datetime as dt
import functools
import operator
import re
import types
import typing
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from typing import Any
from uuid import UUID, SafeUUID

import ormsgpack
import pydantic_core
from pydantic import BaseModel

from ..blobs import ReadBlob, references_in, whole
from . import numpy_values
from .attributes import set_attributes, set_model_state
from .classes import find, is_langgraphs
from .codes import Code
from .encode import ADDRESSES, BUILTIN_CLASSES, PATHS, URLS

Head = tuple[str, str, list[Any] | None]


class Unknown(Exception):
    """The bytes name classes that are not allowed here."""


class Decoder:
    """Turns the bytes of one value back into it.

    `as_data` gives dictionaries and plain values in the place of objects of declared classes. `read_blob`
    gives the bytes that are kept by themselves.
    """

    def __init__(self, *, as_data: bool = False, read_blob: ReadBlob | None = None) -> None:
        self.as_data = as_data
        self._read_blob = read_blob
        self.unknown: set[str] = set()
        self.problem: Exception | None = None

    def value(self, data: bytes) -> Any:
        """Return the value. Raises Unknown, or LookupError for a class that changed too much."""
        try:
            value = self.unpack(data)
        except ValueError:
            if self.problem is None:
                raise
            raise self.problem from None
        if self.unknown:
            raise Unknown(", ".join(sorted(self.unknown)))
        return value

    def blob(self, sha256: str) -> bytes:
        """Return bytes that are kept by themselves."""
        if self._read_blob is None:
            raise ValueError(f"it refers to the blob {sha256}, which lies in the file that it was taken from")
        return self._read_blob(sha256)

    def unpack(self, data: bytes) -> Any:
        return ormsgpack.unpackb(data, ext_hook=self._revived)

    def _revived(self, code: int, data: bytes) -> Any:
        try:
            raw = RAW.get(code)
            return raw(self, data) if raw else READERS[code](self, self.unpack(data))
        except Exception as error:  # which ormsgpack would swallow
            self.problem = self.problem or error
            raise

    def class_of(self, head: Head) -> type[Any] | None:
        """Return the class that is named, None for one that is not allowed or not wanted."""
        if self.as_data and not is_langgraphs(head[0], head[1]):
            return None
        cls: type[Any] | None = self._type(head)
        if cls is None:
            self.unknown.add(".".join(head[:2]))
        return cls

    def _type(self, head: Head) -> Any:
        module, name, arguments = head
        if module == "typing":
            return _special(name, [self._argument(argument) for argument in arguments or ()])
        cls: Any = NAMED.get((module, name)) or find(module, name)
        if cls is None or not arguments:
            return cls
        parameters = tuple(self._argument(argument) for argument in arguments)
        return None if None in parameters else cls[parameters]

    def _argument(self, argument: Any) -> Any:
        return self._type(typing.cast(Head, argument)) if isinstance(argument, list) else argument


def _special(name: str, arguments: list[Any]) -> Any:
    if name == "Literal":
        return typing.Literal[tuple(arguments)]
    if name == "Union":
        return functools.reduce(operator.or_, arguments)
    return typing.Any if name == "Any" else type(None)


def _class(decoder: Decoder, head: Head) -> Any:
    return decoder.class_of(head) or f"{head[0]}.{head[1]}"


def _enum(decoder: Decoder, parts: list[Any]) -> Any:
    head, name, held = parts
    cls: Any = decoder.class_of(head)
    if cls is None:
        return held if held is not None else name
    if issubclass(cls, Flag):
        return cls(held)
    if name in cls.__members__:
        return cls[name]
    try:
        return cls(held)
    except ValueError:
        raise LookupError(f"{cls.__qualname__}.{name}") from None


def _model(decoder: Decoder, parts: list[Any]) -> Any:
    head, *state = parts
    cls: Any = decoder.class_of(head)
    if cls is None:
        return {**state[0], **(state[2] or {})}
    _must_be(issubclass(cls, BaseModel), cls)
    model = cls.__new__(cls)
    return _named(cls, set_model_state, model, state)


def _object(decoder: Decoder, parts: list[Any]) -> Any:
    head, attributes = parts
    cls = decoder.class_of(head)
    if cls is None:
        return attributes
    _must_be(not issubclass(cls, (BaseModel, Enum)), cls)
    return _named(cls, set_attributes, object.__new__(cls), attributes)


def _named(cls: type[Any], setter: Callable[[Any, Any], None], instance: Any, state: Any) -> Any:
    try:
        setter(instance, state)
    except LookupError as error:
        raise LookupError(f"{cls.__qualname__}.{error.args[0]}") from None
    return instance


def _must_be(same: bool, cls: type[Any]) -> None:
    if not same:
        raise LookupError(cls.__qualname__)


def _extended(decoder: Decoder, parts: list[Any]) -> Any:
    head, content, attributes = parts
    cls = decoder.class_of(head)
    if cls is None:
        return content
    base = next((base for base in cls.__mro__ if base is type(content)), None)
    _must_be(base is not None, cls)
    instance = MAKERS.get(type(content), _instance_of)(cls, content)
    set_attributes(instance, attributes)
    return instance


def _instance_of(cls: type[Any], content: Any) -> Any:
    return type(content).__new__(cls, content)


def _made_tuple(cls: type[Any], content: tuple[Any, ...]) -> Any:
    names = getattr(cls, "_fields", ())
    if len(content) < len(names):
        defaults = cls._field_defaults
        for name in names[len(content) :]:
            if name not in defaults:
                raise LookupError(f"{cls.__qualname__}.{name}")
            content += (defaults[name],)
    return tuple.__new__(cls, content)


def _filled(filler: Callable[..., Any]) -> Callable[[type[Any], Any], Any]:
    def make(cls: type[Any], content: Any) -> Any:
        base: Any = type(content)
        instance = base.__new__(cls)
        base.__init__(instance)
        filler(instance, content)
        return instance

    return make


def _made_deque(cls: type[Any], content: collections.deque[Any]) -> Any:
    instance: Any = collections.deque.__new__(cls)
    collections.deque.__init__(instance, content, content.maxlen)
    return instance


def _made_default_dict(cls: type[Any], content: collections.defaultdict[Any, Any]) -> Any:
    instance: Any = collections.defaultdict.__new__(cls)
    collections.defaultdict.__init__(instance, content.default_factory, dict.items(content))
    return instance


MAKERS: dict[type[Any], Callable[[type[Any], Any], Any]] = {
    tuple: _made_tuple,
    list: _filled(list.extend),
    set: _filled(set.update),
    bytearray: _filled(bytearray.extend),
    dict: _filled(dict.update),
    collections.OrderedDict: _filled(
        lambda instance, content: _set_items(collections.OrderedDict, instance, content)
    ),
    collections.Counter: _filled(lambda instance, content: _set_items(dict, instance, content)),
    collections.deque: _made_deque,
    collections.defaultdict: _made_default_dict,
}


def _set_items(base: Any, instance: Any, content: Any) -> None:
    for key, item in content.items():
        base.__setitem__(instance, key, item)


def _pairs(decoder: Decoder, pairs: list[Any]) -> dict[Any, Any]:
    if decoder.as_data:
        return {_hashable(key): item for key, item in pairs}
    return dict(pairs)


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _set(decoder: Decoder, items: list[Any]) -> Any:
    return set(items) if not decoder.as_data else _as_set(items)


def _frozenset(decoder: Decoder, items: list[Any]) -> Any:
    return frozenset(items) if not decoder.as_data else _as_set(items)


def _as_set(items: list[Any]) -> Any:
    try:
        return set(items)
    except TypeError:
        return items


def _datetime(_: Decoder, parts: list[Any]) -> dt.datetime:
    text, fold, zone = parts
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _time(_: Decoder, parts: list[Any]) -> dt.time:
    text, fold, zone = parts
    return dt.time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _memory(_: Decoder, parts: list[Any]) -> memoryview:
    content, kind, shape, readonly = parts
    flat = memoryview(content if readonly else bytearray(content))
    return flat.cast("B").cast(kind, shape) if kind != "B" or len(shape) != 1 else flat


def _default_dict(_: Decoder, parts: list[Any]) -> Any:
    factory, content = parts
    return collections.defaultdict(factory if callable(factory) else None, content)


def _array(_: Decoder, parts: list[Any]) -> Any:
    values: Any = array.array(parts[0])
    values.frombytes(parts[1])
    return values


def _by_name(classes: tuple[type[Any], ...]) -> Callable[[Decoder, Any], Any]:
    named = {cls.__name__: cls for cls in classes}
    return lambda _, parts: named[parts[0]](parts[1])


def _from(make: Callable[[Any], Any]) -> Callable[[Decoder, Any], Any]:
    return lambda _, value: make(value)


def _blob(decoder: Decoder, data: bytes) -> bytes:
    (reference,) = references_in(data.decode())
    return decoder.blob(reference.sha256)


RAW: dict[int, Callable[[Decoder, bytes], Any]] = {
    Code.BIG_INT: lambda _, data: int(data, 16),
    Code.SURROGATES: lambda _, data: data.decode("utf-8", "surrogatepass"),
    Code.BLOB: _blob,
    Code.REFERRING: lambda decoder, data: whole(data.decode("utf-8", "surrogatepass"), decoder.blob),
}

READERS: dict[int, Callable[[Decoder, Any], Any]] = {
    Code.TUPLE: _from(tuple),
    Code.PAIRS: _pairs,
    Code.SET: _set,
    Code.FROZENSET: _frozenset,
    Code.DEQUE: _from(lambda parts: collections.deque(parts[0], parts[1])),
    Code.BYTEARRAY: _from(bytearray),
    Code.MEMORYVIEW: _memory,
    Code.COMPLEX: _from(lambda parts: complex(*parts)),
    Code.RANGE: _from(lambda parts: range(*parts)),
    Code.SLICE: _from(lambda parts: slice(*parts)),
    Code.ELLIPSIS: _from(lambda _: ...),
    Code.DECIMAL: _from(Decimal),
    Code.FRACTION: _from(lambda parts: Fraction(*parts)),
    Code.DATETIME: _datetime,
    Code.DATE: _from(dt.date.fromisoformat),
    Code.TIME: _time,
    Code.TIMEDELTA: _from(lambda parts: dt.timedelta(*parts)),
    Code.TIMEZONE: _from(lambda parts: dt.timezone(*parts) if parts else dt.UTC),
    Code.ZONE_INFO: _from(zoneinfo.ZoneInfo),
    Code.PYDANTIC_OFFSET: _from(pydantic_core.TzInfo),
    Code.UUID: _from(lambda parts: UUID(bytes=parts[0], is_safe=SafeUUID(parts[1]))),
    Code.PATH: _by_name(PATHS),
    Code.PATTERN: _from(lambda parts: re.compile(*parts)),
    Code.IP_ADDRESS: _by_name(ADDRESSES),
    Code.URL: _by_name(URLS),
    Code.ORDERED_DICT: _from(lambda pairs: collections.OrderedDict((k, v) for k, v in pairs)),
    Code.COUNTER: _from(collections.Counter),
    Code.DEFAULT_DICT: _default_dict,
    Code.NAMESPACE: _from(lambda values: types.SimpleNamespace(**values)),
    Code.MAPPING_PROXY: _from(types.MappingProxyType),
    Code.ARRAY: _array,
    Code.NUMPY_ARRAY: _from(numpy_values.read_array),
    Code.NUMPY_SCALAR: _from(numpy_values.read_scalar),
    Code.CLASS: _class,
    Code.ENUM: _enum,
    Code.MODEL: _model,
    Code.OBJECT: _object,
    Code.EXTENDED: _extended,
}

NAMED = {(cls.__module__, cls.__qualname__): cls for cls in BUILTIN_CLASSES}
