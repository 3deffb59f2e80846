"""`stepgraph graph`: a graph as Mermaid, text, SVG or PNG; nothing leaves this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from langchain_core.runnables.graph import Edge, Graph

from ..state.errors import InputError
from .loading import load_graph

BINARY = ("svg", "png")
INSTALL_HELP = (
    "SVG and PNG need Graphviz: pip install 'stepgraph[draw]', or your system's package graphviz. "
    "The formats mermaid and text need nothing."
)


def draw_graph(reference: str, form: str | None, output: Path | None, *, flat: bool) -> None:
    """Draw a graph to a file or to standard output."""
    form = form or _form_of(output)
    if form in BINARY and output is None:
        raise InputError(f"Name the file for the drawing: --output graph.{form}.")
    drawing = draw(load_graph(reference).graph.get_graph(xray=not flat), form)
    if output is None:
        click.echo(drawing.decode())
        return
    try:
        output.write_bytes(drawing)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {output}.")


def _form_of(output: Path | None) -> str:
    if output is None:
        return "mermaid"
    forms = {".svg": "svg", ".png": "png", ".txt": "text", ".mmd": "mermaid", ".md": "mermaid"}
    if output.suffix not in forms:
        raise InputError(f"{output}: say which --format, or end the name in {', '.join(forms)}.")
    return forms[output.suffix]


def draw(graph: Graph, form: str) -> bytes:
    """Return the drawing. Raises InputError where SVG or PNG need a program that is not there."""
    if form == "mermaid":
        return graph.draw_mermaid().encode()
    if form == "text":
        return "\n".join(to_text(graph)).encode()
    return render(to_dot(graph), form)


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


def to_dot(graph: Graph) -> str:
    """Return the graph in Graphviz's language, nested graphs as clusters."""
    tree: dict[str, Any] = {}
    for node in graph.nodes:
        place = tree
        for part in _path(node)[:-1]:
            place = place.setdefault(part, {})
        place[_path(node)[-1]] = node
    lines = [
        "digraph {",
        'graph [fontname="Helvetica", fontsize=11, style=rounded, color="#9aa5b1"];',
        'node [shape=box, style="rounded,filled", fillcolor="#eef2ff", color="#6272a4", '
        'fontname="Helvetica", fontsize=12];',
        'edge [color="#555555", fontname="Helvetica", fontsize=10];',
        *_clusters(tree, ""),
    ]
    for edge in graph.edges:
        style = ", style=dashed" if edge.conditional else ""
        lines.append(f"{_quote(edge.source)} -> {_quote(edge.target)} [label={_quote(_label(edge))}{style}];")
    return "\n".join([*lines, "}"])


def _clusters(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, entry in tree.items():
        if isinstance(entry, dict):
            yield f"subgraph {_quote(f'cluster_{prefix}{name}')} {{ label={_quote(name)};"
            yield from _clusters(entry, f"{prefix}{name}:")
            yield "}"
        else:
            ends = name in ("__start__", "__end__")
            shape = ', shape=circle, width=0.2, fillcolor="#6272a4"' if ends else ""
            yield f"{_quote(entry)} [label={_quote('' if ends else name)}{shape}];"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def render(dot: str, form: str) -> bytes:
    """Return SVG or PNG, made by Graphviz on this machine."""
    scripts = sysconfig.get_path("scripts")
    program = (
        shutil.which("dot") or shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure")
    )
    if program is None:
        raise InputError(INSTALL_HELP)
    done = subprocess.run(
        [program, f"-T{form}"], input=dot.encode(), capture_output=True, timeout=60, check=False
    )
    if done.returncode:
        raise InputError(f"Graphviz cannot draw this graph: {done.stderr.decode(errors='replace')[:300]}")
    return done.stdout
