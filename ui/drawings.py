"""The drawing of a graph, with what a run did laid over it.

The graph's shape is on record with each run, so nothing of the user's code is loaded. A graph that left
no shape is drawn from the nodes that ran.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ..graphs.layouts import Box, Edge, lay_out
from ..state.cost import NOTHING, Cost
from ..tracing.record.run import Run
from ..tracing.record.spans import outer_task
from ..tracing.record.text import duration, money, one_line
from ..tracing.record.tree import SpanNode

START, END = "__start__", "__end__"
MOST_NODES = 150
FEW_NODES = 20  # up to which nested graphs that did not run are drawn with what is in them
LONGEST, LONGEST_FACTS = 60, 36
PAD, HEAD = 14.0, 26.0
NODE_HEIGHT = 46.0
_WORST = ("failed", "running", "interrupted", "partial", "unfinished", "done")

Shape = Mapping[str, Any]


@dataclass
class NodeSummary:
    """What a run did in one node: all its executions together."""

    executions: int = 0
    seconds: float = 0.0
    cost: Cost = NOTHING
    status: str = "done"
    critical: bool = False
    span_id: str = ""

    @property
    def facts(self) -> str:
        """How often, how long, what it cost."""
        often = f"{self.executions}× " if self.executions > 1 else ""
        cost = f" · {money(self.cost)}" if self.cost.calls else ""
        return f"{often}{duration(self.seconds)}{cost}"


@dataclass(frozen=True)
class DrawnNode:
    """A node in its place; `inner` says that it holds others. `share` is its part of the run's cost."""

    path: str
    name: str
    box: Box
    inner: bool
    passed: NodeSummary | None
    share: float = 0.0


@dataclass(frozen=True)
class DrawnEdge:
    """An edge: its SVG path, where that is moved to, and how often it was taken."""

    d: str
    x: float
    y: float
    choice: bool
    taken: int


@dataclass
class Drawing:
    """Nodes, outer ones before inner ones, and edges."""

    width: float = 0.0
    height: float = 0.0
    nodes: list[DrawnNode] = field(default_factory=list)
    lines: list[DrawnEdge] = field(default_factory=list)

    def put(self, inner: Drawing, x: float, y: float) -> None:
        """Add another drawing, with its left upper corner at this place."""
        for node in inner.nodes:
            box = replace(node.box, x=node.box.x + x, y=node.box.y + y)
            self.nodes.append(replace(node, box=box))
        self.lines += [replace(line, x=line.x + x, y=line.y + y) for line in inner.lines]


@dataclass(frozen=True)
class _Passage:
    """What a run did in each node and along each edge; `deep` and `whole` say how far graphs are unfolded."""

    nodes: Mapping[str, NodeSummary]
    edges: Mapping[tuple[str, str, str], int]
    usd: float
    deep: bool
    whole: bool
    ended: bool


def draw(run: Run) -> Drawing | None:
    """Return the drawing of a run's graph, None if there is nothing to draw or far too much.

    In a large graph, nested graphs are folded: first those that did not run, then all.
    """
    taken = _taken(run.steps, ended=run.state == "done")
    shape = _with_seen(run.shape, "", run.steps, taken)
    if not shape["nodes"] or len(shape["nodes"]) > MOST_NODES:
        return None
    number = _count(shape)
    deep, whole = number <= MOST_NODES, number <= FEW_NODES
    passage = _Passage(_passed(run.steps), taken, run.cost.known_usd, deep, whole, run.state == "done")
    return _drawn(shape, "", passage, outermost=True)


def _passed(steps: Sequence[SpanNode]) -> dict[str, NodeSummary]:
    by_path: dict[str, NodeSummary] = defaultdict(NodeSummary)
    for bar in steps:
        span, item = bar.span, by_path[bar.span.path]
        item.executions += 1
        item.seconds += span.seconds
        item.cost += bar.cost
        item.critical = item.critical or bar.critical
        item.status = min(item.status, span.status, key=_rank) if item.span_id else span.status
        item.span_id = span.id
    return by_path


def _rank(status: str) -> int:
    return _WORST.index(status) if status in _WORST else len(_WORST)


def _taken(steps: Sequence[SpanNode], *, ended: bool) -> Counter[tuple[str, str, str]]:
    """Count, by the path of the graph, from which node the run went on to which.

    A run went to its end only if it has `ended`: one that waits or failed stands where it stopped.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    runs: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    paths: dict[str, str] = {}
    for bar in steps:
        outer = outer_task(bar.span.task)
        paths[outer] = bar.span.path.rpartition("/")[0]
        runs[outer][int(bar.span.row.get("superstep") or 0)][bar.span.name] += 1
    for outer, supersteps in runs.items():
        order = [supersteps[number] for number in sorted(supersteps)]
        for before, after in pairwise([Counter({START: 1}), *order, Counter({END: 1})]):
            for source in before:
                for target, number in after.items():
                    if target == END and not outer and not ended:
                        continue
                    counts[paths[outer], source, target] += number
    return counts


def _with_seen(
    shape: Shape | None, path: str, steps: Sequence[SpanNode], taken: Mapping[tuple[str, str, str], int]
) -> dict[str, Any]:
    """Return a shape with the nodes and edges that it does not tell, but the spans do."""
    shape = shape or {"nodes": {}, "edges": [], "choices": []}
    below = f"{path}/" if path else ""
    names = dict.fromkeys(
        step.span.path.removeprefix(below).partition("/")[0]
        for step in steps
        if step.span.path.startswith(below)
    )
    nodes: dict[str, Any] = {name: shape["nodes"].get(name) for name in (*shape["nodes"], *names)}
    edges = {edge: False for text in shape["edges"] for edge in _edges(text, nodes)}
    anywhere: set[str] = set()
    for text in shape["choices"]:
        source, _, target = text.rpartition(" -> ")
        if target == "anywhere":
            anywhere.add(source)
        else:
            edges.setdefault((source, target), True)
    unknown = {name for name in names if name not in shape["nodes"]}
    for where, source, target in taken:
        if where == path and (source in anywhere or source in unknown or target in unknown):
            edges.setdefault((source, target), source in anywhere)
    inner = {}
    for name, nested in nodes.items():
        mine = [step for step in steps if step.span.path.startswith(f"{below}{name}/")]
        if nested is not None or mine:
            inner[name] = _with_seen(nested, below + name, mine, taken)
    return {"nodes": {name: inner.get(name) for name in nodes}, "edges": edges}


def _edges(text: str, nodes: Mapping[str, Any]) -> Iterator[Edge]:
    """Yield the edges of "a + b -> c"."""
    sources, _, target = text.rpartition(" -> ")
    for source in [sources] if sources in nodes else sources.split(" + "):
        yield source, target


def _count(shape: Mapping[str, Any]) -> int:
    return sum(1 + (_count(inner) if inner else 0) for inner in shape["nodes"].values())


def _drawn(shape: Shape, path: str, passage: _Passage, *, outermost: bool = False) -> Drawing:
    """Draw one graph, with those nested in it."""
    below = f"{path}/" if path else ""
    inner = {
        name: _drawn(nested, below + name, passage)
        for name, nested in shape["nodes"].items()
        if nested and nested["nodes"] and passage.deep and (passage.whole or below + name in passage.nodes)
    }
    sizes: dict[str, tuple[float, float]] = {START: (14.0, 14.0)} if outermost else {}
    first = [target for source, target in shape["edges"] if source == START and target in shape["nodes"]]
    for name in dict.fromkeys((*first, *shape["nodes"])):
        done = passage.nodes.get(below + name)
        facts_width = len(one_line(done.facts, LONGEST_FACTS)) if done else 0
        wide = max(116.0, 7.4 * len(one_line(name, LONGEST)) + 28, 6.2 * facts_width + 18)
        if name in inner:
            title = 7.8 * len(one_line(name, LONGEST)) + 6.2 * max(facts_width, 11) + 40
            sizes[name] = (max(title, inner[name].width + 2 * PAD), inner[name].height + HEAD + PAD)
        else:
            sizes[name] = (wide, NODE_HEIGHT)
    if outermost:
        sizes[END] = (14.0, 14.0)
    layout = lay_out(sizes, list(shape["edges"]))
    drawing = Drawing(layout.width, layout.height)
    for edge, d in layout.paths.items():
        choice = shape["edges"][edge]
        drawing.lines.append(DrawnEdge(d, 0.0, 0.0, choice, _times(edge, path, choice, passage)))
    for name, box in layout.boxes.items():
        done = passage.nodes.get(below + name)
        share = done.cost.known_usd / passage.usd if done and passage.usd else 0.0
        drawing.nodes.append(DrawnNode(below + name, name, box, name in inner, done, share))
        if name in inner:
            drawing.put(inner[name], box.x + (box.width - inner[name].width) / 2, box.y + HEAD)
    return drawing


def _times(edge: Edge, path: str, choice: bool, passage: _Passage) -> int:
    """Return how often an edge was taken. A branch that others waited for goes on later than at once."""
    times = passage.edges.get((path, *edge), 0)
    if times or choice or (edge[1] == END and not passage.ended):
        return times
    below = f"{path}/" if path else ""
    ends = [passage.nodes.get(below + name) for name in edge if name not in (START, END)]
    return min((item.executions if item else 0 for item in ends), default=0)
