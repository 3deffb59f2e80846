"""Graphs of many forms to plant faults in: chains, branches, nodes side by side, workers, graphs in graphs.

Every leaf asks about the case and about what the leaves before it wrote, and writes one field of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Any, Literal

from stepgraph import Ask, chain, fan_out, route, section, step
from stepgraph.evals.suite.topology import Compiled, topology_of


@dataclass(frozen=True)
class Chain:
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Route:
    """The decider is a leaf; the branches are named after it, and each case has a right one."""

    decider: str
    branches: tuple[Any, ...]


@dataclass(frozen=True)
class Section:
    """Parts side by side; `merge` is the leaf that reads them all."""

    branches: tuple[Any, ...]
    merge: str


@dataclass(frozen=True)
class Fan:
    """Three workers on what the leaf before wrote, and the leaf that joins them."""

    worker: str
    merge: str


def steps(*names: str) -> Chain:
    return Chain(names)


FORMS: dict[str, Any] = {
    **{f"chain{n}": steps(*(f"s{i}" for i in range(1, n + 1))) for n in (3, 4, 6, 7)},
    "chain5": steps("sort", "find", "check", "draft", "polish"),
    "route2": Chain((Route("kind", (steps("a1", "a2"), steps("b1", "b2"))), "last")),
    "section2": Chain(("first", Section(("left", "right"), "merge"), "last")),
    "desk": Chain(
        (Route("topic", (steps("find", "refund"), Chain((Section(("facts", "mood"), "advise"),)))), "reply")
    ),
    "route3": Chain((Route("kind", (steps("a1", "a2"), steps("b1", "b2", "b3"), "c1")), "last")),
    # Kept out when the rules were made: only looked at with the finished ones.
    "section3": Chain(("first", Section(("one", "two", "three"), "merge"))),
    "fan": Chain(("plan", Fan("work", "join"), "last")),
    "nested": Chain(
        ("first", Chain(("inner1", Chain(("deep1", "deep2")), Route("turn", ("x1", "y1")))), "last")
    ),
}
HELD_OUT = ("section3", "fan", "nested")
PIECES = 3


@dataclass
class Piece:
    """What a worker gets: the case, what the leaf before wrote, and its own answer."""

    text: str
    before: str = ""
    work: str = ""


@dataclass
class Form:
    """A graph, its leaves with their paths, and which leaves are routes with which branches."""

    name: str
    graph: Compiled
    paths: dict[str, str]
    routes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    workers: tuple[str, ...] = ()
    branch_of: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    before: dict[str, list[str]] = field(default_factory=dict)
    last: str = ""

    @property
    def leaves(self) -> list[str]:
        return list(self.paths)

    def takes(self, case: int, leaf: str) -> bool:
        """Tell whether a case should come by a leaf."""
        return all(self.right_branch(case, decider) == number for decider, number in self.branch_of[leaf])

    def right_branch(self, case: int, decider: str) -> int:
        return case % len(self.routes[decider])


class _Builder:
    def __init__(self) -> None:
        self.routes: dict[str, tuple[str, ...]] = {}
        self.workers: list[str] = []
        self.branch_of: dict[str, tuple[tuple[str, int], ...]] = {}
        self.before: dict[str, list[str]] = {}

    def leaf(self, name: str, before: Sequence[str], where: tuple[tuple[str, int], ...], kind: Any) -> Any:
        self.branch_of[name] = where
        self.before[name] = [] if list(before) == ["text"] else list(before)

        def ask(work: Any) -> Any:
            given = ",".join(text for field in before if (text := _text(getattr(work, field))))
            return Ask(f"{work.text}|{name}|{given}")  # equal prompts would share one answer

        ask.__name__ = name
        ask.__annotations__ = {"work": self.state, "return": Ask[kind]}
        return step(name)(ask)

    def build(
        self, form: Any, before: Sequence[str], where: tuple[tuple[str, int], ...]
    ) -> tuple[Any, list[str]]:
        """Return a part, and the fields in which its result stands."""
        if isinstance(form, str):
            return self.leaf(form, before, where, str), [form]
        if isinstance(form, Chain):
            parts = []
            for one in form.parts:
                part, before = self.build(one, before, where)
                parts.extend(part if isinstance(part, list) else [part])
            return chain(*parts, name=f"chain_{_first(form)}"), list(before)
        if isinstance(form, Route):
            labels = _labels(form)
            self.routes[form.decider] = labels
            decider = self.leaf(form.decider, before, where, Literal[labels])
            built = [
                self.build(one, before, (*where, (form.decider, number)))
                for number, one in enumerate(form.branches)
            ]
            ways = {label: part for label, (part, _) in zip(labels, built, strict=True)}
            return route(decider, ways, name=f"route_{form.decider}"), [f for _, out in built for f in out]
        if isinstance(form, Section):
            built = [self.build(one, before, where) for one in form.branches]
            fields = [f for _, out in built for f in out]
            merge = self.leaf(form.merge, fields, where, str)
            sides = {_first(one): part for one, (part, _) in zip(form.branches, built, strict=True)}
            return section(sides, merge=merge, name=f"section_{form.merge}"), [form.merge]
        self.workers.append(form.worker)
        self.branch_of[form.worker], self.before[form.worker] = where, list(before)
        merge = self.leaf(form.merge, ["pieces"], where, str)
        self.before[form.merge] = [form.worker]
        return [self._fan(form, before), merge], [form.merge]

    def _fan(self, form: Fan, before: Sequence[str]) -> Any:
        def split(work: Any) -> list[Piece]:
            return [Piece(f"{work.text}.{n}", getattr(work, before[0])) for n in range(PIECES)]

        def ask(piece: Piece) -> Ask[str]:
            return Ask(f"{piece.text}|{form.worker}|{piece.before}")

        split.__annotations__ = {"work": self.state, "return": list[Piece]}
        ask.__annotations__ = {"piece": Piece, "return": Ask[str]}
        ask.__name__ = form.worker
        return fan_out(
            split, chain(step("work")(ask), name="worker"), into="pieces", name=f"fan_{form.worker}"
        )

    state: Any = None


def _first(form: Any) -> str:
    if isinstance(form, str):
        return form
    if isinstance(form, (Chain, Section)):
        return _first((form.parts if isinstance(form, Chain) else form.branches)[0])
    return form.decider if isinstance(form, Route) else form.worker


def _text(value: Any) -> str:
    return ",".join(piece.work for piece in value) if isinstance(value, list) else value or ""


def _labels(form: Route) -> tuple[str, ...]:
    return tuple(one if isinstance(one, str) else f"way{n}" for n, one in enumerate(form.branches))


def _path(nodes: Sequence[str], leaf: str) -> str:
    """Return the path of a leaf's node; that of a section's last part is called `merge`."""
    ends = (f"/{leaf}", f"/section_{leaf}/merge")
    return next(path for path in nodes if f"/{path}".endswith(ends))


def _names(form: Any) -> list[tuple[str, Any]]:
    if isinstance(form, str):
        return [(form, str)]
    if isinstance(form, Chain):
        return [found for part in form.parts for found in _names(part)]
    if isinstance(form, Fan):
        return [("pieces", list[Piece]), (form.merge, str)]
    inner = [found for part in form.branches for found in _names(part)]
    if isinstance(form, Section):
        return [*inner, (form.merge, str)]
    kind: Any = Literal[_labels(form)]
    return [(form.decider, kind | None), *inner]


@cache
def form_of(name: str) -> Form:
    """Return the graph of a form; nothing is built twice in a process."""
    form = FORMS[name]
    builder = _Builder()
    fields = [
        (
            leaf,
            kind,
            field(default_factory=list) if leaf == "pieces" else field(default="" if kind is str else None),
        )
        for leaf, kind in _names(form)
    ]
    builder.state = make_dataclass(
        f"Work_{name}", [("text", str), *fields], namespace={"__module__": __name__}
    )
    globals()[f"Work_{name}"] = builder.state  # where a checkpoint's reader looks for it
    built, last = builder.build(form, ["text"], ())
    graph = built.compile()
    nodes = topology_of(graph).nodes
    paths = {leaf: _path(nodes, leaf) for leaf in builder.branch_of}
    return Form(
        name,
        graph,
        paths,
        builder.routes,
        tuple(builder.workers),
        builder.branch_of,
        builder.before,
        last[-1],
    )
