"""A graph as an SVG picture, made by plain code: what a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from langchain_core.runnables.graph import Graph

from .drawing import ENDS, tree_of
from .layouts import lay_out

PAD, HEAD, HEIGHT, DOT, LETTER = 14.0, 24.0, 34.0, 14.0, 7.4
NODE = 'rx="7" fill="#eef2ff" stroke="#6272a4"'
NESTED = 'rx="9" fill="none" stroke="#9aa5b1"'
ARROW = (
    '<defs><marker id="stepgraph-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>'
)

Ways = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class _Picture:
    width: float
    height: float
    marks: str


def to_svg(graph: Graph) -> str:
    """Return the graph as SVG, nested graphs as boxes around their nodes; choices are dashed."""
    whole = _drawn(tree_of(graph), "", graph)
    width, height = whole.width + 2 * PAD, whole.height + 2 * PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12">'
        f'{ARROW}<rect width="100%" height="100%" fill="white"/>'
        f'<g transform="translate({PAD:g} {PAD:g})">{whole.marks}</g></svg>'
    )


def _drawn(tree: Mapping[str, Any], prefix: str, graph: Graph) -> _Picture:
    inner = {n: _drawn(sub, f"{prefix}{n}:", graph) for n, sub in tree.items() if isinstance(sub, dict)}
    sizes = {name: _size(name, inner.get(name)) for name in tree}
    ways = _ways(tree, prefix, graph)
    layout = lay_out(sizes, list(ways))
    marks: list[str] = []
    for name, box in layout.boxes.items():
        place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
        text, picture = escape(name), inner.get(name)
        if name in ENDS:
            marks.append(
                f'<circle cx="{box.middle:.1f}" cy="{box.y + DOT / 2:.1f}" r="{DOT / 2}" fill="#6272a4"/>'
            )
        elif picture is None:
            middle = f'x="{box.middle:.1f}" y="{box.y + HEIGHT / 2 + 4:.1f}" text-anchor="middle"'
            marks.append(f"<rect {place} {NODE}/><text {middle}>{text}</text>")
        else:
            corner = f'x="{box.x + 9:.1f}" y="{box.y + 16:.1f}"'
            x = box.x + (box.width - picture.width) / 2
            marks.append(
                f'<rect {place} {NESTED}/><text {corner} fill="#555">{text}</text>'
                f'<g transform="translate({x:.1f} {box.y + HEAD:.1f})">{picture.marks}</g>'
            )
    for way, path in layout.paths.items():
        dashes = ' stroke-dasharray="4 3"' if ways[way] == "choice" else ""
        marks.append(
            f'<path d="{path}" fill="none" stroke="#555"{dashes} marker-end="url(#stepgraph-arrow)"/>'
        )
    return _Picture(layout.width, layout.height, "".join(marks))


def _size(name: str, inner: _Picture | None) -> tuple[float, float]:
    if name in ENDS:
        return DOT, DOT
    text = len(name) * LETTER + 2 * PAD
    if inner is None:
        return text, HEIGHT
    return max(text, inner.width + 2 * PAD), inner.height + HEAD + PAD


def _ways(tree: Mapping[str, Any], prefix: str, graph: Graph) -> Ways:
    """Return the edges between the nodes of one graph; one that goes into a nested graph goes to its box."""
    ways: dict[tuple[str, str], str] = {}
    for edge in graph.edges:
        if edge.source.startswith(prefix) and edge.target.startswith(prefix):
            source, target = (end.removeprefix(prefix).split(":")[0] for end in (edge.source, edge.target))
            inside = source == target and edge.source != edge.target
            if not inside and source in tree and target in tree:
                ways.setdefault((source, target), "choice" if edge.conditional else "")
    return ways
