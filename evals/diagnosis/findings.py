"""What blame finds: grafts, the verdict, and what finding out can cost at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ...state.cost import NOTHING, Cost
from ..statistics.compare import Comparison
from .screen import ScreenedNode

Verdict = Literal["blamed", "suspected", "undecided"]
GraftKind = Literal["alone", "onward", "back"]


WHAT: dict[GraftKind, str] = {
    "alone": "single nodes on recorded inputs",
    "onward": "B from states of A on",
    "back": "B from states of B on, with A's node and with its own",
}


@dataclass(frozen=True)
class GraftPlan:
    """What the next grafts run at most, told before the first one: most of them end much earlier.

    `runs` counts executions of single nodes, or runs of the graph from a recorded state on.
    """

    kind: GraftKind
    nodes: tuple[str, ...]
    runs: int

    def __str__(self) -> str:
        return f"Grafts run {WHAT[self.kind]}, {self.runs} times at most: {', '.join(self.nodes)}."


Announce = Callable[[GraftPlan], None]


@dataclass(frozen=True)
class Graft:
    """What B's part does on recorded states, beside what A's did from there; `change` is B minus A.

    alone: the node by itself, by its own score, on A's states; with the old version at hand, A's node on B's
    states too. onward: all of B from the state before the node, beside all of B from the state after it, by
    a score of the whole run. back: all of B from B's states before the node, where `a` is with A's node in
    the place of B's. `rounds` is how often each state was run; `corrected` is the p-value after a
    correction for all nodes that might be blamed.
    """

    node: str
    metric: str
    kind: GraftKind
    cases: int
    a: float
    b: float
    change: float
    interval: tuple[float, float]
    p: float
    corrected: float
    worse: bool
    rounds: int = 1

    def as_worse(self) -> Graft:
        """Return the same with the verdict that it is worse."""
        return replace(self, worse=True)


@dataclass(frozen=True)
class Blame:
    """The first node that got worse from A to B.

    blamed: a graft reproduces the loss. suspected: the scores say so, but no graft was run, or the
    budget ended before. undecided: nobody can tell; `among` then names the nodes that grafts point to,
    if they do. `also` names nodes behind the first one of which a graft says the same. `left_out` counts
    what could not be grafted, by reason. `repaired` says whether the old node, put back into B, makes up for
    the loss; None if that was not tried.
    """

    a: str
    b: str
    level: float
    verdict: Verdict
    node: str | None
    why: str
    comparison: Comparison
    screened: tuple[ScreenedNode, ...]
    grafts: tuple[Graft, ...]
    also: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    repaired: bool | None = None
    cost: Cost = NOTHING
    complete: bool = True
