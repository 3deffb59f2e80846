"""What a trial did, read back from the run's record: nodes, routes, rounds, votes, cost and time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.cost import NOTHING, Cost
from ...state.journal.journal import Journal
from ...state.names import without_private
from ...tracing.record.tree import Row

APPROVED = "approved"
UNCHANGED = "unchanged"
AGAIN = "again"


@dataclass(frozen=True)
class Passage:
    """One execution of a node. `output` is what it wrote; `cut` says that the record holds only a part."""

    path: str
    status: str
    output: Any
    cut: bool = False


@dataclass(frozen=True)
class Route:
    """Which branch a route took; `confidence` is 0 to 1."""

    path: str
    choice: str
    confidence: float | None = None


@dataclass(frozen=True)
class Loop:
    """How a refine loop went: its rounds, and "approved", "rounds used up", "unchanged" or "again".

    "again" means that something else ended it.
    """

    path: str
    rounds: int
    ended: str


@dataclass(frozen=True)
class VoteResult:
    """What a vote said, and which share agreed (0 to 1)."""

    path: str
    choice: str
    agreement: float | None


@dataclass(frozen=True)
class Record:
    """What one thread did."""

    passages: tuple[Passage, ...] = ()
    routes: tuple[Route, ...] = ()
    loops: tuple[Loop, ...] = ()
    votes: tuple[VoteResult, ...] = ()
    cost: Cost = NOTHING
    seconds: float = 0.0

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes in the order in which they began, graphs before what is in them."""
        return tuple(passage.path for passage in self.passages)


def read_record(journal: Journal, thread_id: str) -> Record:
    """Return what a thread did. A node that ran again after a resume counts once."""
    node_runs = journal.query("SELECT * FROM node_runs WHERE thread_id = ? ORDER BY id", (thread_id,))
    decisions = journal.query(
        "SELECT task, path, kind, choice, confidence FROM decisions WHERE thread_id = ? ORDER BY id",
        (thread_id,),
    )
    return Record(
        passages=tuple(_passages(node_runs)),
        routes=tuple(
            Route(d["path"], d["choice"], d["confidence"]) for d in decisions if d["kind"] == "route"
        ),
        loops=tuple(_loops(d for d in decisions if d["kind"] == "refine")),
        votes=tuple(
            VoteResult(d["path"], d["choice"], d["confidence"]) for d in decisions if d["kind"] == "vote"
        ),
        cost=cost_of(journal, [thread_id]),
        seconds=_seconds(node_runs),
    )


def cost_of(journal: Journal, threads: Sequence[str]) -> Cost:
    """Return what the calls of threads cost together."""
    return sum((journal.spent(thread) for thread in threads), NOTHING)


def _passages(node_runs: Sequence[Row]) -> Iterable[Passage]:
    last = {node_run["task"]: node_run for node_run in node_runs}
    began: dict[str, float] = {}
    for node_run in node_runs:
        # A graph that a resume entered again began when the first node in it did.
        parts = node_run["task"].split("|")
        for depth in range(1, len(parts) + 1):
            task = "|".join(parts[:depth])
            began[task] = min(node_run["started_at"], began.get(task, node_run["started_at"]))
    for task in sorted(last, key=lambda name: (began[name], name.count("|"))):
        node_run = last[task]
        output, cut = _output(node_run["output"])
        yield Passage(node_run["path"], node_run["status"], output, cut)


def _output(text: str | None) -> tuple[Any, bool]:
    data = json.loads(text) if text else None
    if isinstance(data, dict) and set(data) == {"cut", "start"}:
        return data["start"], True
    if isinstance(data, dict):
        data = without_private(data)
    return data, False


def _loops(decisions: Iterable[Row]) -> Iterable[Loop]:
    """Group the judges' decisions by the execution of the loop's graph that they were made in."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for decision in decisions:
        grouped[decision["task"].rpartition("|")[0]].append(decision)
    for found in grouped.values():
        path = found[-1]["path"].rpartition("/")[0]
        yield Loop(path, sum(d["choice"] != UNCHANGED for d in found), found[-1]["choice"])


def _seconds(node_runs: Sequence[Row]) -> float:
    """Return how long the nodes ran: the sum over supersteps of the slowest one, pauses left out."""
    took: dict[tuple[int, str], float] = defaultdict(float)
    for node_run in node_runs:
        if "|" not in node_run["task"]:
            took[node_run["superstep"], node_run["task"]] += node_run["ended_at"] - node_run["started_at"]
    slowest: dict[int, float] = defaultdict(float)
    for (superstep, _), seconds in took.items():
        slowest[superstep] = max(slowest[superstep], seconds)
    return sum(slowest.values())
