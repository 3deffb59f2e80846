"""What a trial did, read back from the run's record: nodes, routes, rounds, votes, cost and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.cost import NOTHING, Cost
from ...state.journal.journal import Journal
from ...tracing.record.attributes import cut_text, public
from ...tracing.record.read_spans import read_spans
from ...tracing.record.run import last_runs
from ...tracing.record.spans import Row, Span, outer_task

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
    return record_of(read_spans(journal.query, thread_id))


def record_of(spans: Sequence[Span]) -> Record:
    """Return what the spans of a thread tell of it."""
    nodes = [span for span in spans if span.kind == "node" and span.row]  # those that ended
    decided = {span.task: span.decision for span in nodes if span.decision}
    decisions = sorted(decided.values(), key=lambda row: int(row["id"]))
    paid = [span for span in spans if span.kind == "call" and span.source == "model"]
    return Record(
        passages=tuple(_passages(nodes)),
        routes=tuple(
            Route(d["path"], d["choice"], d["confidence"]) for d in decisions if d["kind"] == "route"
        ),
        loops=tuple(_loops(d for d in decisions if d["kind"] == "refine")),
        votes=tuple(
            VoteResult(d["path"], d["choice"], d["confidence"]) for d in decisions if d["kind"] == "vote"
        ),
        cost=sum((span.cost for span in paid), NOTHING),
        seconds=_seconds(nodes),
    )


def cost_of(journal: Journal, threads: Sequence[str]) -> Cost:
    """Return what the calls of threads cost together."""
    return sum((journal.spent(thread) for thread in threads), NOTHING)


def _passages(nodes: Sequence[Span]) -> Iterable[Passage]:
    began: dict[str, float] = {}
    for span in nodes:
        # A graph that a resume entered again began when the first node in it did.
        parts = span.task.split("|")
        for depth in range(1, len(parts) + 1):
            task = "|".join(parts[:depth])
            began[task] = min(span.started_at, began.get(task, span.started_at))
    for span in sorted(last_runs(nodes), key=lambda span: (began[span.task], span.task.count("|"))):
        output = public(span.row["output"])
        cut = cut_text(output)
        yield Passage(span.path, span.status, cut[0] if cut else output, cut is not None)


def _loops(decisions: Iterable[Row]) -> Iterable[Loop]:
    """Group the judges' decisions by the execution of the loop's graph that they were made in."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for decision in decisions:
        grouped[outer_task(decision["task"])].append(decision)
    for rows in grouped.values():
        path = rows[-1]["path"].rpartition("/")[0]
        yield Loop(path, sum(d["choice"] != UNCHANGED for d in rows), rows[-1]["choice"])


def _seconds(nodes: Sequence[Span]) -> float:
    """Return how long the nodes ran: the sum over supersteps of the slowest one, pauses left out."""
    took: dict[tuple[int, str], float] = defaultdict(float)
    for span in nodes:
        if not outer_task(span.task):
            took[span.row["superstep"], span.task] += span.seconds
    slowest: dict[int, float] = defaultdict(float)
    for (superstep, _), seconds in took.items():
        slowest[superstep] = max(slowest[superstep], seconds)
    return sum(slowest.values())
