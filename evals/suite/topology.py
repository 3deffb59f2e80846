"""Which paths a graph can take: its nodes at every depth, what can follow what, what excludes what."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import groupby, permutations
from operator import attrgetter
from typing import Any, Literal, get_args, get_origin

from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from ...nodes.tools import Tools

Compiled = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class Edge:
    """From one node to the next. Of the edges of one `fork` exactly one is taken; None is always."""

    source: str
    target: str
    fork: str | None = None


@dataclass
class Topology:
    """A graph's nodes by path ("billing/find_payments") and its edges, nested graphs taken apart.

    `forks` names the branches of each node that decides; `loops` the nested graphs that are refine
    loops, with the most rounds that they take; "" is the graph itself. `open` nodes may go anywhere:
    their edges are decided in code that cannot be read.
    """

    nodes: list[str] = field(default_factory=list)
    graphs: set[str] = field(default_factory=set)
    edges: list[Edge] = field(default_factory=list)
    forks: dict[str, list[str]] = field(default_factory=dict)
    loops: dict[str, int | None] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    _reached: dict[str, set[str]] = field(default_factory=dict, repr=False)

    @cached_property
    def routes(self) -> dict[str, list[str]]:
        """The branches of every node that decides, but for the judges of loops."""
        judges = {edge.source for edge in self.edges if (edge.fork or "").endswith("#loop")}
        return {node: ends for node, ends in self.forks.items() if node not in judges}

    @cached_property
    def _edges_from(self) -> dict[str, list[Edge]]:
        edges = sorted(self.edges, key=attrgetter("source"))
        return {source: list(group) for source, group in groupby(edges, attrgetter("source"))}

    def reachable(self, source: str) -> set[str]:
        """Return the nodes that may run after one."""
        if source not in self._reached:
            self._reached[source] = set(self._after(source))
        return self._reached[source]

    def _after(self, source: str) -> Iterator[str]:
        seen: set[str] = set()
        waiting = [_exit(source) if source in self.graphs else source]
        while waiting:
            node = waiting.pop()
            edges = self._edges_from.get(node, ())
            targets = self.nodes if node in self.open else [edge.target for edge in edges]
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
                    yield target
                    if target.endswith(f"/{START}"):
                        yield target.removesuffix(f"/{START}")

    def conflict(self, first: str, then: str) -> str | None:
        """Say why one node cannot run before another in one run; None if it can."""
        if then in self.reachable(first) or self._together(first, then):
            return None
        if first in self.reachable(then):
            return f"{then!r} runs before {first!r} and never again"
        if then.startswith(f"{first}/") or first.startswith(f"{then}/"):
            return None
        fork = next((n for n in self.forks if {first, then} <= self.reachable(n)), None)
        where = f"on different branches of {fork!r}" if fork else "on paths that never meet"
        return f"{first!r} and {then!r} lie {where}"

    def _together(self, first: str, then: str) -> bool:
        """Tell whether both can run side by side, after a node that goes more than one way at once."""
        if self.open:
            return True
        return any(
            first in self._from(one.target) and then in self._from(other.target)
            for edges in self._edges_from.values()
            for one, other in permutations(edges, 2)
            if one.fork is None or one.fork != other.fork
        )

    def _from(self, node: str) -> set[str]:
        return {node, node.removesuffix(f"/{START}")} | self.reachable(node)


def topology_of(graph: Compiled) -> Topology:
    """Read a compiled graph."""
    topology = Topology()
    _read(graph, "", topology)
    return topology


def _entry(path: str) -> str:
    return f"{path}/{START}" if path else START


def _exit(path: str) -> str:
    return f"{path}/{END}" if path else END


def _read(graph: Compiled, outer: str, topology: Topology) -> None:
    builder = graph.builder
    nested = dict(graph.get_subgraphs())

    def at(name: str) -> str:
        return f"{outer}/{name}" if outer else name

    def leaving(name: str) -> str:
        return _exit(at(name)) if isinstance(nested.get(name), CompiledStateGraph) else at(name)

    def entering(name: str) -> str:
        if name == END:
            return _exit(outer)
        return _entry(at(name)) if isinstance(nested.get(name), CompiledStateGraph) else at(name)

    for name, spec in builder.nodes.items():
        topology.nodes.append(at(name))
        inner = nested.get(name)
        if isinstance(inner, CompiledStateGraph):
            topology.graphs.add(at(name))
            _read(inner, at(name), topology)
        limit = rounds_of(spec.runnable)
        if limit is not None:
            topology.loops[outer] = limit
        if spec.ends:
            for end in spec.ends:
                topology.edges.append(Edge(leaving(name), entering(end)))
    sources = {source for source, _ in _edges(builder)} | set(builder.branches) | {START}
    for source, target in _edges(builder):
        start = _entry(outer) if source == START else leaving(source)
        topology.edges.append(Edge(start, entering(target)))
    for source, branches in builder.branches.items():
        start = _entry(outer) if source == START else leaving(source)
        for number, branch in enumerate(branches.values()):
            ends = list(dict.fromkeys(branch.ends.values())) if branch.ends else None
            exclusive = _one_way(branch.path)
            judge = builder.nodes.get(source)
            loop = "#loop" if judge is not None and rounds_of(judge.runnable) is not None else ""
            fork = f"{at(source)}#{number}{loop}" if exclusive or loop else None
            if ends is not None and (exclusive or loop) and source != START:
                topology.forks.setdefault(at(source), []).extend(ends)
            for end in ends if ends is not None else [*builder.nodes, END]:
                topology.edges.append(Edge(start, entering(end), fork))
    for name, spec in builder.nodes.items():
        if name not in sources and not spec.ends:
            topology.open.add(leaving(name))


def _edges(builder: Any) -> Iterator[tuple[str, str]]:
    yield from builder.edges
    for sources, target in builder.waiting_edges:
        for source in sources:
            yield source, target


def rounds_of(runnable: Any) -> int | None:
    """Return the most rounds of the refine loop that a node judges, None for any other node."""
    limit = getattr(runnable, "limit", None)
    return limit if isinstance(limit, int) and hasattr(runnable, "until") else None


def _one_way(path: Any) -> bool:
    """Tell whether a conditional edge's function names exactly one target."""
    function = getattr(path, "func", None) or getattr(path, "afunc", None) or path
    try:
        returns = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return False
    options = get_args(returns) if get_origin(returns) in (typing.Union, types.UnionType) else (returns,)
    return all(
        option is str
        or option is bool
        or get_origin(option) is Literal
        or (isinstance(option, type) and issubclass(option, Enum))
        for option in options
    )


def node_in(graph: Compiled, path: str) -> tuple[Compiled, str] | None:
    """Return the (nested) graph that holds a node, and the node's name there; None if there is none."""
    name, _, rest = path.partition("/")
    if name not in graph.builder.nodes:
        return None
    if not rest:
        return graph, name
    inner: Mapping[str, Any] = dict(graph.get_subgraphs())
    subgraph = inner.get(name)
    return node_in(subgraph, rest) if isinstance(subgraph, CompiledStateGraph) else None


def tools_in(graph: Compiled) -> frozenset[str] | None:
    """Return the names of the tools that a graph's agents have; None where not all can be known before a run.

    So it is with the tools of servers, and with agents that are written by hand.
    """
    names: set[str] = set()
    nodes = list(runnables_of(graph))
    for runnable in nodes:
        if isinstance(runnable, Tools):
            if runnable.servers:
                return None
            names |= set(runnable.by_name)
    return frozenset(names) if names else None


def runnables_of(graph: Compiled) -> Iterator[Any]:
    """Yield what runs in the nodes of a graph, and of those nested in it."""
    for spec in graph.builder.nodes.values():
        yield spec.runnable
    for _, inner in graph.get_subgraphs():
        if isinstance(inner, CompiledStateGraph):
            yield from runnables_of(inner)
