"""From what a person types to a suite, and to the graph that it is for."""

from __future__ import annotations

import sys
from pathlib import Path

from ...runners.loading import Loaded, load_graph
from ...state.errors import InputError
from ..files.references import find_object
from ..files.suite_file import read_suite
from .model import Suite
from .shipping import shipped_path


def load_suite(reference: str) -> Suite:
    """Return a suite that ships, or that of a file, module:attr or file.py:attr. Raises InputError."""
    if ":" not in reference and not Path(reference).suffix:
        return read_suite(shipped_path(reference))
    place, sign, _ = reference.rpartition(":")
    if not sign or Path(reference).suffix in (".yaml", ".yml", ".jsonl"):
        return read_suite(reference)
    if place and "." not in place and not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
    found = find_object(reference)
    if callable(found) and not isinstance(found, (Suite, type)):
        found = found()
    if not isinstance(found, Suite):
        raise InputError(f"{reference} is {type(found).__name__}; expected a Suite.")
    return found


def load_target(suite: Suite, graph: str | None = None) -> Loaded:
    """Return the graph of a suite; a file is looked for beside the suite first."""
    reference = graph or suite.graph
    if reference is None:
        raise InputError(f"The suite {suite.name!r} names no graph. Add `graph:`, or give --graph.")
    place, sign, attribute = reference.rpartition(":")
    name = place if sign else reference
    if graph is None and name.endswith(".py") and suite.source is not None:
        beside = suite.source.parent / name
        if beside.is_file():
            reference = f"{beside}:{attribute}" if sign else str(beside)
    return load_graph(reference)
