"""The allow-list: the classes of which a checkpoint may hold objects, by module and qualified name.

A file only ever names a class; nothing is imported for it. What this process has declared answers to
the name, and so do subclasses of it, for a field may hold any of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

Key = tuple[str, str]

SCRIPTS = ("__main__", "__mp_main__")
NO_BASES = ("abc", "builtins", "collections.abc", "numbers", "typing", "typing_extensions")
"""Modules of classes that allow none of their subclasses: they say nothing of what an object holds."""
MESSAGES = {
    "base": "BaseMessage BaseMessageChunk", "human": "HumanMessage HumanMessageChunk",
    "ai": "AIMessage AIMessageChunk", "system": "SystemMessage SystemMessageChunk",
    "chat": "ChatMessage ChatMessageChunk", "tool": "ToolMessage ToolMessageChunk",
    "function": "FunctionMessage FunctionMessageChunk", "modifier": "RemoveMessage",
}  # fmt: skip
TYPES = "Send TimeoutPolicy Interrupt Command StateSnapshot PregelTask Overwrite"
OWN = frozenset(
    [
        *((f"langchain_core.messages.{m}", name) for m, names in MESSAGES.items() for name in names.split()),
        ("langchain_core.documents.base", "Document"),
        *(("langgraph.types", name) for name in TYPES.split()),
        ("langgraph.store.base", "Item"),
        ("langgraph.store.base", "GetOp"),
    ]
)
"""What LangGraph and LangChain let any checkpoint hold."""
MORE = (("langgraph.checkpoint.serde.types", "_DeltaSnapshot"),)

_declared: dict[Key, type[Any]] = {}
_classes: dict[Key, type[Any] | None] = {}
_allowed: dict[type[Any], bool] = {}


def declare(classes: Iterable[type[Any]]) -> bool:
    """Let checkpoints hold objects of these classes, and tell whether any is new.

    Of two with one name the later counts.
    """
    named, is_new = list(classes), False
    origins = [parts[0] for cls in named if (parts := generic_parts(cls))]
    for cls in (*origins, *named):
        key = key_of(cls)
        if _declared.get(key) is not cls:
            _declared[key] = cls
            _classes.clear()
            _allowed.clear()
            is_new = True
    return is_new


def declared() -> Iterable[type[Any]]:
    """Return the classes that are declared so far."""
    return _declared.values()


def key_of(cls: type[Any]) -> Key:
    """Return the name of a class in a file: the same where a script is run and where it is imported."""
    module = cls.__module__
    return (module if module not in SCRIPTS else _script(), cls.__qualname__)


def _script() -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def is_allowed(cls: type[Any]) -> bool:
    """Tell whether a checkpoint may hold objects of a class."""
    known = _allowed.get(cls)
    if known is None:
        known = _allowed[cls] = any(_opens(base, cls) for base in cls.__mro__) or _own(cls) is cls
    return known


def _opens(base: type[Any], cls: type[Any]) -> bool:
    return (base is cls or base.__module__ not in NO_BASES) and key_of(base) in _declared


def _own(cls: type[Any]) -> type[Any] | None:
    key = (cls.__module__, cls.__qualname__)
    return _import(key) if key in OWN or key in MORE else None


def is_langgraphs(module: str, name: str) -> bool:
    """Tell whether a class is one that LangGraph itself lets any checkpoint hold: a Send, a message."""
    return (module, name) in OWN or (module, name) in MORE


def _import(key: Key) -> type[Any]:
    cls: type[Any] = getattr(importlib.import_module(key[0]), key[1])
    return cls


def find(module: str, name: str) -> type[Any] | None:
    """Return the class that a file names, None if none of that name is allowed here."""
    key = (module, name)
    cls = _declared.get(key)
    if cls is not None:
        return cls
    if key not in _classes:
        if key in OWN or key in MORE:
            _classes[key] = _import(key)
        else:
            _classes[key] = next((c for c in _subclasses() if key_of(c) == key and is_allowed(c)), None)
            if _classes[key] is None:
                return _classes.pop(key)  # whoever imports it later finds it
    return _classes[key]


def _subclasses() -> Iterator[type[Any]]:
    """Yield the subclasses of declared classes, those that were made last first."""
    waiting, seen = list(_declared.values()), set(_declared.values())
    while waiting:
        base = waiting.pop()
        if base.__module__ in NO_BASES:
            continue
        for cls in type.__subclasses__(base):
            if cls not in seen:
                seen.add(cls)
                waiting.append(cls)
                yield cls


def generic_parts(cls: type[Any]) -> tuple[type[Any], tuple[Any, ...]] | None:
    """Return of Box[int] Box and (int,), for a generic pydantic model with arguments."""
    if not issubclass(cls, BaseModel):
        return None
    origin, arguments = (cls.__pydantic_generic_metadata__.get(k) for k in ("origin", "args"))
    return (cast("type[Any]", origin), cast("tuple[Any, ...]", arguments)) if origin else None
