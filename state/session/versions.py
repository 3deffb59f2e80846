"""Versions of a graph, and the functions that make a thread's old state one of the new version.

A version is a name that stands on record with each thread. A thread of a graph without one is known by the
name of its shape.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from ..errors import DefinitionError

VERSION_KEY = "version"
SOURCE = "migration"  # of a checkpoint that was migrated, in its metadata
_ATTRIBUTE = "stepgraph_version"

GraphT = TypeVar("GraphT", bound="StateGraph[Any, Any, Any, Any] | CompiledStateGraph[Any, Any, Any, Any]")


@dataclass(frozen=True)
class Migration:
    """A function that makes the state of a version that of the next one. Made by `migration`.

    `nodes` has the new name of each node that was renamed; one in a nested graph by its path.
    """

    function: Callable[[dict[str, Any]], Any]
    from_: str
    nodes: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def __call__(self, state: dict[str, Any]) -> Any:
        return self.function(state)


@dataclass(frozen=True)
class _Versioned:
    version: str
    migrations: tuple[Migration, ...]


def migration(
    from_: str, *, nodes: Mapping[str, str] | None = None
) -> Callable[[Callable[[dict[str, Any]], Any]], Migration]:
    """Make a migration of a function that takes an old state and returns the new one.

    `from_` is the version that the old state has: the name that `versioned` gave its graph, or, for a graph
    without one, the name of its shape, which `stepgraph deploy check` tells. The function gets a dict of
    plain values, with dicts in the place of objects, and returns a dict of all fields of the new state, or
    the state itself. `nodes` says which nodes have another name now: {"old": "new"}, those in nested graphs
    by their paths, {"inner/old": "inner/new"}.

        @migration(from_="1")
        def with_tone(old: dict[str, Any]) -> dict[str, Any]:
            return {**old, "tone": "friendly"}
    """
    if not isinstance(from_, str) or not from_:
        raise DefinitionError(f"migration(from_={from_!r}): expected the name of a version, as text.")

    def decorate(function: Callable[[dict[str, Any]], Any]) -> Migration:
        return Migration(function, from_, dict(nodes or {}))

    return decorate


def versioned(graph: GraphT, version: str, migrations: Sequence[Migration] = ()) -> GraphT:
    """Give a graph a version, and the functions by which threads of earlier ones go on with it; return it.

    `migrations` are in their order, the oldest first: a thread of one's version goes through it and all
    behind it. Raises DefinitionError for two from one version, and for one from this version.

        blog = versioned(chain(draft, approve), "2", migrations=[with_tone])
    """
    where = f"versioned(…, {version!r})"
    if not isinstance(version, str) or not version:
        raise DefinitionError(f"{where}: expected the name of a version, as text.")
    for item in migrations:
        if not isinstance(item, Migration):
            raise DefinitionError(f"{where}: {item!r:.80} is no migration. Make it one: @migration(from_=…).")
    sources = [item.from_ for item in migrations]
    twice = next((name for name in sources if sources.count(name) > 1), None)
    if twice is not None:
        raise DefinitionError(f"{where}: two migrations are from the version {twice!r}. Keep one of them.")
    if version in sources:
        raise DefinitionError(
            f"{where}: a migration is from {version!r} itself. It is from the version before."
        )
    setattr(_builder(graph), _ATTRIBUTE, _Versioned(version, tuple(migrations)))
    return graph


def version_of(graph: Any) -> str | None:
    """Return the version that a graph was given, None if it was given none."""
    known: _Versioned | None = getattr(_builder(graph), _ATTRIBUTE, None)
    return None if known is None else known.version


def migrations_of(graph: Any) -> tuple[Migration, ...]:
    """Return the migrations that a graph was given."""
    known: _Versioned | None = getattr(_builder(graph), _ATTRIBUTE, None)
    return () if known is None else known.migrations


def _builder(graph: Any) -> Any:
    return graph.builder if isinstance(graph, CompiledStateGraph) else graph


def version_in(fingerprint: str) -> str:
    """Return the version of which a fingerprint is, or else the name of its shape."""
    shape = json.loads(fingerprint)
    version = shape.pop(VERSION_KEY, None)
    if version is not None:
        return str(version)
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]


def migrations_from(graph: Any, fingerprint: str | None) -> tuple[Migration, ...]:
    """Return the migrations that a thread goes through whose graph had a fingerprint, in their order."""
    chain = migrations_of(graph)
    if not chain or fingerprint is None:
        return ()
    was = version_in(fingerprint)
    start = next((number for number, item in enumerate(chain) if item.from_ == was), None)
    return () if start is None else chain[start:]


def source_of(metadata: Mapping[str, Any] | None) -> str | None:
    """Return where a checkpoint comes from, whether it was migrated since or not."""
    known = metadata or {}
    source: str | None = known.get("source_before", known.get("source"))
    return source
