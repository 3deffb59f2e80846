"""How often the nodes of a hand-written graph can run, as far as its edges say."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

from langgraph.graph import START
from langgraph.graph.state import CompiledStateGraph

Edges = Mapping[str, set[str]]


def runs_of(graph: CompiledStateGraph[Any, Any, Any, Any]) -> dict[str, float]:
    """Return how often each node can run in one run of the graph; infinite where there is no bound.

    That is the number of supersteps in which an edge can lead to it. There is no bound in a loop and
    behind one, and where a node is the target of a `Send`.
    """
    builder = graph.builder
    edges: dict[str, set[str]] = {}
    joins: dict[str, list[tuple[str, ...]]] = {}
    sent: set[str] = set()
    for source, target in builder.edges:
        edges.setdefault(source, set()).add(target)
    for sources, target in builder.waiting_edges:
        joins.setdefault(target, []).append(sources)
    for name, spec in builder.nodes.items():
        own = _function_of(spec.runnable)
        if spec.ends:
            edges.setdefault(name, set()).update(spec.ends)
        elif _mentions(own, "Command"):
            edges.setdefault(name, set()).update(builder.nodes)
        if _mentions(own, "Send"):
            sent |= edges.get(name, set())
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = set(builder.nodes) if branch.ends is None else set(branch.ends.values())
            edges.setdefault(source, set()).update(ends)
            if _mentions(_function_of(branch.path), "Send"):
                sent |= ends

    every = {source: set(targets) for source, targets in edges.items()}
    for target, groups in joins.items():
        for source in {source for group in groups for source in group}:
            every.setdefault(source, set()).add(target)
    endless = sent | _behind_loops(every)
    depths = _depths(edges, joins, [name for name in builder.nodes if name not in endless], endless)
    return {
        name: math.inf if name in endless else 1 if spec.defer else len(depths[name])
        for name, spec in builder.nodes.items()
    }


def _behind_loops(edges: Edges) -> set[str]:
    """Return the nodes that a loop contains or leads to."""
    reached: set[str] = set()
    for node in edges:
        below = _below(node, edges)
        if node in below:
            reached |= below
    return reached


def _below(node: str, edges: Edges) -> set[str]:
    below: set[str] = set()
    waiting = [node]
    while waiting:
        for target in edges.get(waiting.pop(), ()):
            if target not in below:
                below.add(target)
                waiting.append(target)
    return below


def _depths(
    edges: Edges, joins: Mapping[str, list[tuple[str, ...]]], names: list[str], endless: set[str]
) -> dict[str, set[int]]:
    """Return the supersteps in which each node can run; a node that is sent to counts for one."""
    sources: dict[str, set[str]] = {}
    for source, targets in edges.items():
        for target in targets:
            sources.setdefault(target, set()).add(source)
    known: dict[str, set[int]] = {START: {0}}

    def depth(name: str) -> set[int]:
        if name not in known:
            known[name] = set()
            steps = {number + 1 for source in sources.get(name, ()) for number in depth(source)}
            for group in joins.get(name, ()):
                reached = [depth(source) for source in group]
                if all(len(numbers) == 1 for numbers in reached):
                    steps.add(1 + max(number for numbers in reached for number in numbers))
                else:
                    steps |= {number + 1 for numbers in reached for number in numbers}
            known[name] = steps
        return known[name]

    return {name: depth(name) for name in (*names, *endless)}


def _function_of(runnable: Any) -> Callable[..., Any] | None:
    return getattr(runnable, "func", None) or getattr(runnable, "afunc", None)


def _mentions(function: Callable[..., Any] | None, name: str) -> bool:
    """Tell whether a function says in its code or its annotation that it returns such a thing."""
    if function is None:
        return False
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return")
    if name in str(annotation):
        return True
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and name in set(_names(code))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
