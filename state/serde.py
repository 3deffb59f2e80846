"""What a checkpoint may contain: a serializer that gives back what it got, of known types and nothing else.

A checkpoint file is data. LangGraph's default serializer imports and calls whatever the file names, and
gives lists for tuples, plain values for Enum keys and more. This one keeps each value as it is, with its
type, or refuses it when it is written; it revives the types that a workflow in this process declares.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .blobs import ReadBlob, ReferringBytes, may_hold_blobs
from .codec.classes import declare, declared
from .codec.decode import Decoder, Unknown
from .codec.encode import CannotKeep, Encoder, ReferringEncoder, forget_writers
from .codec.trouble import find_trouble
from .errors import NotSerializable, StoreError
from .keys_in_use import without_keys
from .schema import types_in

KIND = "stepgraph"
"""What the file says of bytes that this serializer wrote; older files have LangGraph's own kinds."""

_quick, _careful = Encoder(quick=True), Encoder(quick=False)
_blocked = threading.local()


def allow(*annotations: Any) -> None:
    """Let checkpoints revive these types and the types of their fields.

    Steps and patterns declare their own; call this for the state of a hand-written graph.
    """
    are_new = [declare(types_in(annotation)) for annotation in annotations]
    if any(are_new):
        forget_writers()


def serialized(value: Any, *, refer: bool = False) -> bytes:
    """Return the value as bytes. Raises NotSerializable if it would not come back as it is.

    With `refer`, images and the like are left out, and come with it as `ReferringBytes`.
    """
    try:
        try:
            packed = _quick.pack(value)
        except TypeError:  # half a surrogate pair, or nested too deep
            packed = _careful.pack(value)
        if not refer or not may_hold_blobs(packed):
            return packed
        encoder = ReferringEncoder()
        packed = encoder.pack(value)
        return ReferringBytes.of(packed, encoder.blobs.values()) if encoder.blobs else packed
    except CannotKeep as problem:
        raise NotSerializable.of(*find_trouble(value, str(problem), _careful)) from None
    except (RecursionError, TypeError):
        reason = "it refers to itself or is nested too deep. Keep it flat"
        raise NotSerializable.of(*find_trouble(value, reason, _careful)) from None


def _note_blocked(event: SerdeEvent) -> None:
    if event["kind"] == "msgpack_blocked":
        _blocked.names = [*getattr(_blocked, "names", ()), f"{event['module']}.{event['name']}"]


register_serde_event_listener(_note_blocked)


class AllowListSerializer(SerializerProtocol):
    """Keeps values as they are, of the declared types; it raises StoreError for others that a file holds.

    With `refer`, images and the like are left out, for who writes what comes with `ReferringBytes`;
    `read_blob` gives them back. See state/blobs.py.
    """

    def __init__(
        self, extra: Iterable[Any] = (), *, read_blob: ReadBlob | None = None, refer: bool = False
    ) -> None:
        allow(*extra)
        self._read_blob = read_blob
        self._refer = refer

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if obj is None:
            return "null", b""
        if isinstance(obj, BaseException):  # how a task failed: LangGraph reads the text
            obj = without_keys(repr(obj))
        return KIND, serialized(obj, refer=self._refer)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, content = data
        if kind != KIND:
            return _loads_older(data)
        try:
            return Decoder(read_blob=self._read_blob).value(content)
        except Unknown as error:
            raise StoreError(_unknown(str(error))) from None
        except LookupError as error:
            raise StoreError(
                f"The checkpoint was written before {error.args[0]} was changed, and cannot fill it. Give a "
                "new field a default, and keep the old name of what was renamed."
            ) from None
        except ValueError as error:
            raise StoreError(f"A checkpoint, or a value in it, is damaged: {error}.") from None


def _loads_older(data: tuple[str, bytes]) -> Any:
    """Read what LangGraph's serializer wrote for older versions of stepgraph."""
    names = sorted({(cls.__module__, cls.__name__) for cls in declared() if _is_importable(cls)})
    _blocked.names = []
    value = JsonPlusSerializer(allowed_msgpack_modules=names).loads_typed(data)
    if _blocked.names:
        raise StoreError(_unknown(", ".join(sorted(set(_blocked.names)))))
    return value


def _is_importable(cls: type[Any]) -> bool:
    return getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls


def _unknown(names: str) -> str:
    return (
        f"The checkpoint holds {names}, which no workflow in this process declares, so it was not loaded. "
        "Import the graph that wrote it, or allow the type: Session(path, allow=[TheType]). A thread that a "
        "script began goes on with that script, or with its graph: stepgraph resume --graph script.py:app."
    )
