"""From what a person types to a compiled graph: a ready name, module:attr or file.py:attr."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
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

    @property
    def converses(self) -> bool:
        """Tell whether a thread of the graph takes one input after the other.

        It does if its state has `messages` with LangGraph's reducer for them.
        """
        return getattr(self.graph.channels.get("messages"), "operator", None) is add_messages


def load_recorded(reference: str) -> Loaded:
    """Load the graph that a record names. A record is data: it may not name code from elsewhere."""
    place = Path(reference.rpartition(":")[0] or reference)
    if place.suffix == ".py" and not place.absolute().is_relative_to(Path.cwd()):
        raise InputError(
            f"The thread's graph {reference} lies outside this folder. If you trust it, name it: "
            f"--graph {reference}"
        )
    return load_graph(reference, factories=False)


def load_graph(reference: str, *, factories: bool = True) -> Loaded:
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
        return Loaded(_compiled(found[1], reference, factories), f"{path}:{found[0]}")
    found = _pick(_import_module(place), attribute, place)
    return Loaded(_compiled(found[1], reference, factories), f"{place}:{found[0]}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path):
        raise InputError(
            f"{path} has the name of another module, {path.stem!r}, that is loaded already. Rename the file, "
            "or resume its threads on their own."
        )
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        with _told(str(path)):
            spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise DefinitionError(f"{path} imports {error.name!r}, which is not installed here.") from None
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


def _is_own_function(found: object) -> bool:
    """Tell whether something is a function that is written in a file of this folder."""
    source = inspect.getsourcefile(found) if inspect.isfunction(found) else None
    return source is not None and Path(source).absolute().is_relative_to(Path.cwd())


def _is_graph(value: object) -> bool:
    return isinstance(value, (StateGraph, CompiledStateGraph))


def _compiled(found: Any, reference: str, factories: bool) -> Compiled:
    if not factories and not _is_graph(found) and not _is_own_function(found):
        raise InputError(f"The thread's graph {reference} is no graph. If you trust it, name it: --graph.")
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
