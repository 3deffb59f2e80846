"""What a graph is made of: its functions, by which a changed one is known, and its effects."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from langchain_core.runnables import Runnable
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from ...nodes.effects import Effect
from ...nodes.tools import Tools
from ..suite.model import digest
from ..suite.targets import shape_digest
from ..suite.topology import Compiled, runnables_of

_OWN = __name__.partition(".")[0]


def change_digest(graph: Compiled) -> str:
    """Tell two versions of a graph apart: by its shape, and by the files in which its functions stand."""
    parts = sorted({text for function in _functions(graph) for text in _parts_of(function)})
    return digest([shape_digest(graph), *parts])


def effects_of(graph: Compiled) -> tuple[set[str], bool]:
    """Return the names of a graph's effects, and whether tools of servers may bring others."""
    names: set[str] = set()
    served = False
    for node in runnables_of(graph):
        if isinstance(node, Effect):
            names.add(node.name)
        elif isinstance(node, Tools):
            names |= set(node.once)
            served = served or node.has_servers
    return names, served


def _functions(graph: Compiled) -> Iterator[FunctionType]:
    """Yield the functions of a graph's nodes and edges, and those that these close over."""
    seen: set[int] = set()
    for spec in graph.builder.nodes.values():
        yield from _held(spec.runnable, seen)
    for branches in graph.builder.branches.values():
        for branch in branches.values():
            yield from _held(branch.path, seen)
    for _, inner in graph.get_subgraphs():
        if isinstance(inner, CompiledStateGraph):
            yield from _functions(inner)


def _held(holder: Any, seen: set[int]) -> Iterator[FunctionType]:
    if id(holder) in seen or isinstance(holder, (type, CompiledStateGraph, StateGraph)):
        return
    seen.add(id(holder))
    if isinstance(holder, FunctionType):
        yield holder
        inside = list(_closed_over(holder).values())
    elif isinstance(holder, Mapping):
        inside = list(holder.values())
    elif isinstance(holder, (list, tuple)):
        inside = list(holder)
    elif isinstance(holder, Runnable) or type(holder).__module__.startswith(_OWN):
        inside = list(getattr(holder, "__dict__", {}).values())
    else:
        return
    for part in inside:
        yield from _held(part, seen)


def _closed_over(function: FunctionType) -> dict[str, Any]:
    variables = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            variables[name] = cell.cell_contents
    return variables


def _parts_of(function: FunctionType) -> Iterator[str]:
    """Yield what tells a function from its next version: its code, its file, and what it closes over."""
    code = function.__code__
    yield digest([function.__qualname__, code.co_code.hex(), *map(repr, _constants(code))])
    for name, value in _closed_over(function).items():
        if isinstance(value, (str, int, float)):
            yield digest([function.__qualname__, name, repr(value)])
    source = inspect.getsourcefile(function)
    if source is not None and Path(source).is_file():
        yield digest(Path(source).read_text(encoding="utf-8", errors="replace"))


def _constants(code: CodeType) -> Iterator[Any]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _constants(value)
        elif not isinstance(value, frozenset):  # in another order in each process
            yield value
