"""From what a person types to a compiled graph: a ready name, module:attr or file.py:attr."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph

from ..graphs.catalog import READY, ready_graph
from ..state.errors import InputError, did_you_mean
from ..state.serde import allow
from .user_code import check_inside, explained, import_file, import_named, is_inside

Compiled = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class Loaded:
    """A compiled graph and the reference under which another process can load it again."""

    graph: Compiled
    reference: str

    @property
    def name(self) -> str:
        """The graph's name, fit for a thread id."""
        name = self.graph.name if self.graph.name != "LangGraph" else self.reference.rsplit(":", 1)[-1]
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)

    @property
    def state(self) -> type[Any]:
        return self.graph.builder.input_schema

    @property
    def converses(self) -> bool:
        """Tell whether a thread of the graph takes one input after the other.

        It does if its state has `messages` with LangGraph's reducer for them.
        """
        return getattr(self.graph.channels.get("messages"), "operator", None) is add_messages


def load_recorded(reference: str, named_by: str = "The thread's graph") -> Loaded:
    """Load the graph that a record or a suite names. They are data, and may not name code from elsewhere."""
    return _load(reference, named_by)


def load_graph(reference: str) -> Loaded:
    """Load and compile a graph. Raises InputError or, for a broken one, DefinitionError."""
    return _load(reference, None)


def _load(reference: str, named_by: str | None) -> Loaded:
    if ":" not in reference and not reference.endswith(".py"):
        if reference not in READY:
            raise InputError(
                f"There is no ready graph {reference!r}. {did_you_mean(reference, READY)} For a graph of "
                "your own, write module:attr or file.py:attr."
            )
        return Loaded(ready_graph(reference).compile(), reference)
    place, _, attribute = reference.rpartition(":") if ":" in reference else (reference, "", "")
    if named_by is not None:
        remedy = f"If you trust it, name it: --graph {reference}"
        check_inside(place, f"{named_by} {reference}", remedy)
    if place.endswith(".py"):
        path = Path(place).absolute()
        name, value = _pick(import_file(path, again=True), attribute, place)
        place = str(path)
    else:
        name, value = _pick(import_named(place), attribute, place)
    if named_by is not None and not _is_graph(value) and not _is_own_function(value):
        raise InputError(f"{named_by} {reference} is no graph. If you trust it, name it: --graph.")
    return Loaded(_compiled(value, reference), f"{place}:{name}")


def _pick(module: ModuleType, attribute: str, place: str) -> tuple[str, Any]:
    graphs = {n: v for n, v in vars(module).items() if _is_graph(v) and not n.startswith("_")}
    if not attribute:
        if len(graphs) == 1:
            return next(iter(graphs.items()))
        shown = ", ".join(f"{place}:{name}" for name in graphs) or "none"
        raise InputError(f"Name one graph of {place}. Its graphs: {shown}.")
    if not hasattr(module, attribute):
        raise InputError(f"{place} has no {attribute!r}. {did_you_mean(attribute, graphs)}")
    return attribute, getattr(module, attribute)


def _is_own_function(value: object) -> bool:
    """Tell whether something is a function that is written in a file of this folder."""
    source = inspect.getsourcefile(value) if inspect.isfunction(value) else None
    return source is not None and is_inside(Path(source))


def _is_graph(value: object) -> bool:
    return isinstance(value, (StateGraph, CompiledStateGraph))


def _compiled(value: Any, reference: str) -> Compiled:
    if not _is_graph(value) and callable(value) and not isinstance(value, type):
        with explained(reference):
            value = value()
    if isinstance(value, StateGraph):
        value = value.compile()
    if not isinstance(value, CompiledStateGraph):
        raise InputError(
            f"{reference} is {type(value).__name__}; expected a pattern, a LangGraph StateGraph, a compiled "
            "graph, or a function that returns one."
        )
    for schema in value.builder.schemas:
        allow(schema)
    return value
