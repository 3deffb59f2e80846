"""What a checkpoint may contain: a serializer that revives known types and nothing else.

A checkpoint file is data. LangGraph's default serializer imports and calls whatever the file names;
this one revives LangGraph's own safe types and those that a workflow in this process declares.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from .errors import StoreError
from .schema import types_in

_declared: set[tuple[str, ...]] = set()
_blocked = threading.local()


def allow(*annotations: Any) -> None:
    """Let checkpoints revive these types and the types of their fields.

    Steps and patterns declare their own; call this for the state of a hand-written graph.
    """
    for annotation in annotations:
        _declared.update(
            (cls.__module__, cls.__name__) for cls in types_in(annotation) if _is_importable(cls)
        )


def _is_importable(cls: type[Any]) -> bool:
    """Tell whether a checkpoint can find the class by its name; LangGraph gives plain dicts for others."""
    module = sys.modules.get(cls.__module__)
    if issubclass(cls, BaseModel) and cls.__pydantic_generic_metadata__["origin"]:
        # Choice[Kind] has a name in its module only where pydantic gave it one.
        setattr(module, cls.__name__, cls)
    return getattr(module, cls.__name__, None) is cls


def _note_blocked(event: SerdeEvent) -> None:
    if event["kind"] == "msgpack_blocked":
        _blocked.names = [*getattr(_blocked, "names", ()), f"{event['module']}.{event['name']}"]


register_serde_event_listener(_note_blocked)


class AllowListSerializer(SerializerProtocol):
    """LangGraph's serializer, bound to the declared types; it raises StoreError for others."""

    def __init__(self, extra: Iterable[Any] = ()) -> None:
        allow(*extra)
        self._known = -1
        self._inner = JsonPlusSerializer(allowed_msgpack_modules=None)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return self._inner.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if len(_declared) != self._known:
            self._known = len(_declared)
            self._inner = JsonPlusSerializer(allowed_msgpack_modules=sorted(_declared))
        _blocked.names = []
        value = self._inner.loads_typed(data)
        if _blocked.names:
            raise StoreError(
                f"The checkpoint holds {', '.join(sorted(set(_blocked.names)))}, which no workflow in "
                "this process declares, so it was not loaded. Import the graph that wrote it, or allow "
                "the type: Session(path, allow=[TheType]). It must be defined at module level."
            )
        return value
