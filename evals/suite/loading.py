"""From what a person types to a suite, and to the graph that it is for."""

from __future__ import annotations

from pathlib import Path

from ...runners.loading import Loaded, load_graph, load_recorded
from ...runners.user_code import find_object
from ...state.errors import InputError
from ..files.suite_file import read_suite
from .model import Suite
from .shipping import shipped_path


def load_suite(reference: str) -> Suite:
    """Return a suite that ships, or that of a file, module:attr or file.py:attr. Raises InputError."""
    if ":" not in reference and not Path(reference).suffix:
        return read_suite(shipped_path(reference))
    _, sign, _ = reference.rpartition(":")
    if not sign or Path(reference).suffix in (".yaml", ".yml", ".jsonl"):
        return read_suite(reference)
    suite = find_object(reference)
    if callable(suite) and not isinstance(suite, (Suite, type)):
        suite = suite()
    if not isinstance(suite, Suite):
        raise InputError(f"{reference} is {type(suite).__name__}; expected a Suite.")
    return suite


def load_target(suite: Suite, graph: str | None = None) -> Loaded:
    """Return the graph of a suite; a file is looked for beside the suite first.

    What a suite's file names must lie below the working folder; `graph` may lie anywhere.
    """
    if graph is not None:
        return load_graph(graph)
    reference = suite.graph
    if reference is None:
        raise InputError(f"The suite {suite.name!r} names no graph. Add `graph:`, or give --graph.")
    place, sign, attribute = reference.rpartition(":")
    name = place if sign else reference
    if name.endswith(".py") and suite.source is not None:
        beside = suite.source.parent / name
        if beside.is_file():
            reference = f"{beside}:{attribute}" if sign else str(beside)
    if suite.source is None:  # a suite made in Python is code, as its graph is
        return load_graph(reference)
    return load_recorded(reference, f"The graph of the suite {suite.name!r},")
