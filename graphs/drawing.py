"""A graph as text, in Mermaid or in Graphviz's language, nested graphs at any depth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from langchain_core.runnables.graph import Edge, Graph

ENDS = ("__start__", "__end__")


def to_text(graph: Graph) -> Iterator[str]:
    """Yield one line a node with where its edges go, nested graphs indented below their name."""
    shown: set[tuple[str, ...]] = set()
    for node in _tree_order(graph):
        *outer, name = _path(node)
        for depth in range(1, len(outer) + 1):
            if tuple(outer[:depth]) not in shown:
                shown.add(tuple(outer[:depth]))
                yield f"{'  ' * (depth - 1)}{outer[depth - 1]}:"
        targets = []
        for edge in graph.edges:
            if edge.source == node:
                label = _label(edge)
                targets.append(f"{_relative(edge.target, outer)}{f' ({label})' if label else ''}")
        arrow = f" -> {', '.join(targets)}" if targets else ""
        yield f"{'  ' * len(outer)}{name}{arrow}"


def _tree_order(graph: Graph) -> list[str]:
    """Return the nodes with those of one nested graph together, in the order of their first one."""
    first: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        path = _path(node)
        for depth in range(1, len(path) + 1):
            first.setdefault(":".join(path[:depth]), position)
    return sorted(
        graph.nodes,
        key=lambda node: [first[":".join(_path(node)[: d + 1])] for d in range(len(_path(node)))],
    )


def _label(edge: Edge) -> str:
    data = "" if edge.data is None else str(edge.data)
    return "" if data == _path(edge.target)[0] else data


def _path(node: str) -> list[str]:
    return node.split(":")


def _relative(target: str, outer: list[str]) -> str:
    path = _path(target)
    return "/".join(path[len(outer) :] if path[: len(outer)] == outer else path)


def to_mermaid(graph: Graph) -> str:
    """Return the graph in Mermaid's language.

    LangChain's own `draw_mermaid` refuses a graph in which two nested graphs have the same name.
    """
    lines = ["graph TD", *_mermaid_nodes(tree_of(graph), "", "  ")]
    for edge in graph.edges:
        label = _label(edge).replace('"', "'")
        arrow = "-.->" if edge.conditional else "-->"
        text = f'|"{label}"|' if label else ""
        lines.append(f"  {_id(edge.source)} {arrow}{text} {_id(edge.target)}")
    return "\n".join(lines)


def _mermaid_nodes(tree: dict[str, Any], prefix: str, indent: str) -> Iterator[str]:
    for name, entry in tree.items():
        text = name.replace('"', "'")
        if isinstance(entry, dict):
            yield f'{indent}subgraph {_id(f"{prefix}{name}")}["{text}"]'
            yield from _mermaid_nodes(entry, f"{prefix}{name}:", f"{indent}  ")
            yield f"{indent}end"
        else:
            yield f"{indent}{_id(entry)}(({' '}))" if name in ENDS else f'{indent}{_id(entry)}("{text}")'


def _id(node: str) -> str:
    return "n_" + re.sub(r"\W", lambda match: f"_{ord(match.group()):x}_", node)


def to_dot(graph: Graph) -> str:
    """Return the graph in Graphviz's language, nested graphs as clusters."""
    lines = [
        "digraph {",
        'graph [fontname="Helvetica", fontsize=11, style=rounded, color="#9aa5b1"];',
        'node [shape=box, style="rounded,filled", fillcolor="#eef2ff", color="#6272a4", '
        'fontname="Helvetica", fontsize=12];',
        'edge [color="#555555", fontname="Helvetica", fontsize=10];',
        *_clusters(tree_of(graph), ""),
    ]
    for edge in graph.edges:
        style = ", style=dashed" if edge.conditional else ""
        lines.append(f"{_quote(edge.source)} -> {_quote(edge.target)} [label={_quote(_label(edge))}{style}];")
    return "\n".join([*lines, "}"])


def tree_of(graph: Graph) -> dict[str, Any]:
    """Return the nodes' ids by name, nested as the graphs are."""
    tree: dict[str, Any] = {}
    for node in graph.nodes:
        place = tree
        for part in _path(node)[:-1]:
            place = place.setdefault(part, {})
        place[_path(node)[-1]] = node
    return tree


def _clusters(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, entry in tree.items():
        if isinstance(entry, dict):
            yield f"subgraph {_quote(f'cluster_{prefix}{name}')} {{ label={_quote(name)};"
            yield from _clusters(entry, f"{prefix}{name}:")
            yield "}"
        else:
            ends = name in ENDS
            shape = ', shape=circle, width=0.2, fillcolor="#6272a4"' if ends else ""
            yield f"{_quote(entry)} [label={_quote('' if ends else name)}{shape}];"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
