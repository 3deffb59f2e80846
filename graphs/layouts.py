"""Places for the nodes of a graph, in layers from top to bottom, and ways for its edges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

ACROSS = 28.0  # between two nodes of one layer
DOWN = 34.0  # between two layers
LANE = 26.0  # what an edge that leads back needs beside the nodes
SWEEPS = 4

Edge = tuple[str, str]
Size = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Where a node is: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True)
class Layout:
    """Boxes by node, edges as SVG paths, and the size of it all."""

    width: float
    height: float
    boxes: Mapping[str, Box]
    paths: Mapping[Edge, str]


def lay_out(sizes: Mapping[str, Size], edges: Sequence[Edge]) -> Layout:
    """Return a layout of nodes of these sizes. Edges that close a loop lead back at the right."""
    edges = [e for e in dict.fromkeys(edges) if e[0] in sizes and e[1] in sizes]
    back = _closing(list(sizes), edges)
    layer_of = _layers(list(sizes), [e for e in edges if e not in back])
    rows, links, chains, all_sizes = _with_stops(sizes, edges, back, layer_of)
    _untangle(rows, links)
    centers = _centers(rows, links, all_sizes)
    boxes: dict[str, Box] = {}
    top = 0.0
    for row in rows:
        height = max((all_sizes[node][1] for node in row), default=0.0)
        for node in row:
            wide, tall = all_sizes[node]
            boxes[node] = Box(centers[node] - wide / 2, top + (height - tall) / 2, wide, tall)
        top += height + DOWN
    right = max((box.x + box.width for box in boxes.values()), default=0.0)
    paths = {edge: _down([boxes[node] for node in chain]) for edge, chain in chains.items()}
    for number, edge in enumerate(sorted(back)):
        paths[edge] = _up(boxes[edge[0]], boxes[edge[1]], right + LANE + 8 * (number % 4))
    width = right + (LANE + 8 * min(len(back), 4) if back else 0.0)
    return Layout(width, max(0.0, top - DOWN), {node: boxes[node] for node in sizes}, paths)


def _closing(nodes: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """Return the edges that lead back to where a walk from the first node came from."""
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        after[source].append(target)
    closing: set[Edge] = set()
    done: set[str] = set()
    for first in nodes:
        open_nodes: dict[str, None] = {}
        todo: list[tuple[str, bool]] = [(first, False)]
        while todo:
            node, leaving = todo.pop()
            if leaving:
                open_nodes.pop(node, None)
                done.add(node)
                continue
            if node in done or node in open_nodes:
                continue
            open_nodes[node] = None
            todo.append((node, True))
            for target in reversed(after[node]):
                if target in open_nodes:
                    closing.add((node, target))
                elif target not in done:
                    todo.append((target, False))
    return closing


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return each node's layer: one below the lowest node that leads to it."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
    layer_of: dict[str, int] = {}
    for node in TopologicalSorter(before).static_order():
        layer_of[node] = max((layer_of[source] + 1 for source in before[node]), default=0)
    return layer_of


def _with_stops(
    sizes: Mapping[str, Size], edges: Sequence[Edge], back: set[Edge], layer_of: Mapping[str, int]
) -> tuple[list[list[str]], dict[str, list[str]], dict[Edge, list[str]], dict[str, Size]]:
    """Return the rows with a thin stop wherever an edge passes one, and who is linked to whom."""
    rows: list[list[str]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node in sizes:
        rows[layer_of[node]].append(node)
    links: dict[str, list[str]] = defaultdict(list)
    chains: dict[Edge, list[str]] = {}
    all_sizes = dict(sizes)
    for source, target in edges:
        if (source, target) in back:
            continue
        chain = [source]
        for layer in range(layer_of[source] + 1, layer_of[target]):
            stop = f"\0{source}\0{target}\0{layer}"
            all_sizes[stop] = (6.0, 0.0)
            rows[layer].append(stop)
            chain.append(stop)
        chain.append(target)
        chains[source, target] = chain
        for upper, lower in pairwise(chain):
            links[upper].append(lower)
            links[lower].append(upper)
    return rows, links, chains, all_sizes


def _untangle(rows: list[list[str]], links: Mapping[str, list[str]]) -> None:
    """Order each row by where its neighbours are, a few times down and up."""
    for sweep in range(SWEEPS):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for number in order:
            beside = rows[number - 1 if sweep % 2 == 0 else number + 1]
            place = {node: position / max(1, len(beside) - 1) for position, node in enumerate(beside)}
            row = rows[number]
            own = {node: position / max(1, len(row) - 1) for position, node in enumerate(row)}
            wanted = {}
            for node in row:
                near = [place[other] for other in links.get(node, ()) if other in place]
                wanted[node] = sum(near) / len(near) if near else own[node]
            row.sort(key=wanted.__getitem__)


def _centers(
    rows: Sequence[Sequence[str]], links: Mapping[str, list[str]], sizes: Mapping[str, Size]
) -> dict[str, float]:
    """Return where each node's middle is: near its neighbours, and beside the others of its row."""
    centers: dict[str, float] = {}
    for row in rows:
        at = 0.0
        for node in row:
            centers[node] = at + sizes[node][0] / 2
            at += sizes[node][0] + ACROSS
        for node in row:
            centers[node] -= (at - ACROSS) / 2
    for turn in range(2 * SWEEPS):
        for row in rows if turn % 2 == 0 else reversed(rows):
            wanted = []
            for node in row:
                near = [centers[other] for other in links.get(node, ())]
                wanted.append(sum(near) / len(near) if near else centers[node])
            placed: list[float] = []
            for node, want in zip(row, wanted, strict=True):
                left = placed[-1] + sizes[row[len(placed) - 1]][0] / 2 + ACROSS if placed else None
                least = want if left is None else left + sizes[node][0] / 2
                placed.append(max(want, least))
            shift = sum(p - w for p, w in zip(placed, wanted, strict=True)) / max(1, len(row))
            for node, at in zip(row, placed, strict=True):
                centers[node] = at - shift
    leftmost = min((centers[node] - sizes[node][0] / 2 for node in centers), default=0.0)
    return {node: center - leftmost for node, center in centers.items()}


def _down(boxes: Sequence[Box]) -> str:
    """Return the way through the boxes: out of the first below, into the last above."""
    x, y = boxes[0].middle, boxes[0].bottom
    parts = [f"M{x:.1f} {y:.1f}"]
    for box in boxes[1:]:
        half = (y + box.y) / 2
        parts.append(f"C{x:.1f} {half:.1f} {box.middle:.1f} {half:.1f} {box.middle:.1f} {box.y:.1f}")
        x, y = box.middle, box.bottom
        if box is not boxes[-1] and box.height:
            parts.append(f"V{y:.1f}")
    return "".join(parts)


def _up(source: Box, target: Box, lane: float) -> str:
    """Return the way back, around at the right."""
    x, y = source.x + source.width, source.y + source.height / 2
    to_x, to_y = target.x + target.width, target.y + target.height / 2
    if source == target:
        y, to_y = y - 8, y + 8
    return f"M{x:.1f} {y:.1f}C{lane:.1f} {y:.1f} {lane:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
