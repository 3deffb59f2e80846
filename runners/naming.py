"""The name under which workers serve a graph: the same on each machine, wherever its file lies there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

from ..state.errors import InputError
from ..state.session.versions import version_of
from .loading import Loaded, load_graph


def graph_name(reference: str) -> str:
    """Return the name of what a reference means: a ready graph, module:attr, or the file's own name and attr.

    A file without an attribute is loaded, to see which graph it has.
    """
    if reference.endswith(".py"):
        reference = load_graph(reference).reference
    place, sign, attribute = reference.rpartition(":")
    return f"{PurePath(place).name if place.endswith('.py') else place}{sign}{attribute}"


def load_served(references: Iterable[str | Mapping[str, Loaded]]) -> dict[str, Loaded]:
    """Return the graphs that a worker serves, by their names; NAME=REFERENCE gives one another name.

    Further versions of one stand under name@version. Raises InputError where two have one name.
    """
    served: dict[str, Loaded] = {}
    for entry in references:
        if not isinstance(entry, str):  # loaded already
            served.update(entry)
            continue
        own, sign, reference = entry.partition("=")
        loaded = load_graph(reference if sign else entry)
        name = own if sign else graph_name(loaded.reference)
        version = version_of(loaded.graph)
        if name in served and version is not None and version != version_of(served[name].graph):
            name = f"{name}@{version}"  # new threads are begun with the one that is named first
        if name in served:
            raise InputError(
                f"Two graphs have the name {name!r}. Give one of them another one: other={entry}; and submit "
                "its jobs under it."
            )
        served[name] = loaded
    if not served:
        raise InputError("Name the graphs that the worker serves.")
    return served
