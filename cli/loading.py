"""From what a person types to a compiled graph: a ready name, module:attr or file.py:attr."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from ..graphs.catalog import READY, ready_graph
from ..state.errors import DefinitionError, InputError, StepgraphError, did_you_mean
from ..state.serde import allow

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


def load_graph(reference: str) -> Loaded:
    """Load and compile a graph. Raises InputError or, for a broken one, DefinitionError."""
    if ":" not in reference and not reference.endswith(".py"):
        if reference not in READY:
            raise InputError(
                f"There is no ready graph {reference!r}. {did_you_mean(reference, READY)} For a graph of "
                "your own, write module:attr or file.py:attr."
            )
        return Loaded(ready_graph(reference).compile(), reference)
    place, _, attribute = reference.rpartition(":") if ":" in reference else (reference, "", "")
    if place.endswith(".py"):
        path = Path(place).absolute()
        found = _pick(_import_file(path), attribute, place)
        return Loaded(_compiled(found[1], reference), f"{path}:{found[0]}")
    found = _pick(_import_module(place), attribute, place)
    return Loaded(_compiled(found[1], reference), f"{place}:{found[0]}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    with _told(str(path)):
        spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        with _told(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"There is no module {error.name!r} to import. Run the command in the folder that holds it, or "
            "install its package."
        ) from None


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into an error that names the place."""
    try:
        yield
    except (StepgraphError, ModuleNotFoundError):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise DefinitionError(
            f"{name} raised {type(error).__name__} while it was loaded "
            f"({frame.filename}, line {frame.lineno}): {error}"
        ) from None


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


def _is_graph(value: object) -> bool:
    return isinstance(value, (StateGraph, CompiledStateGraph))


def _compiled(found: Any, reference: str) -> Compiled:
    if not _is_graph(found) and callable(found) and not isinstance(found, type):
        with _told(reference):
            found = found()
    if isinstance(found, StateGraph):
        found = found.compile()
    if not isinstance(found, CompiledStateGraph):
        raise InputError(
            f"{reference} is {type(found).__name__}; expected a pattern, a LangGraph StateGraph, a compiled "
            "graph, or a function that returns one."
        )
    for schema in found.builder.schemas:
        allow(schema)
    return found
