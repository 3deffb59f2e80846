"""What a trial did, read back from the run's record: nodes, routes, rounds, votes, cost and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...state.cost import NOTHING, Cost
from ...state.journal.journal import Journal
from ...tracing.record.read_spans import read_spans
from ...tracing.record.run import busy_seconds, by_beginning
from ...tracing.record.spans import Row, outer_task
from ...tracing.record.values import cut_text, public
from ..suite.model import ToolUse
from .tool_calls import read_tool_calls

APPROVED = "approved"
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class NodeVisit:
    """One execution of a node. `output` is what it wrote; `cut` says that the record holds only a part."""

    path: str
    status: str
    output: Any
    cut: bool = False
    task: str = field(default="", compare=False, repr=False)


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
    """What a vote said, which share agreed (0 to 1), and whether an answer won.

    `decided` is None where a file of an earlier version does not say.
    """

    path: str
    choice: str
    agreement: float | None
    decided: bool | None = None


@dataclass(frozen=True)
class Record:
    """What one thread did."""

    passages: tuple[NodeVisit, ...] = ()
    routes: tuple[Route, ...] = ()
    loops: tuple[Loop, ...] = ()
    votes: tuple[VoteResult, ...] = ()
    tool_calls: tuple[ToolUse, ...] = ()
    cost: Cost = NOTHING
    roles: Mapping[str, Cost] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes in the order in which they began, graphs before what is in them."""
        return tuple(passage.path for passage in self.passages)

    def tool_calls_in(self, passage: NodeVisit) -> tuple[ToolUse, ...]:
        """Return the tool calls that were made in one execution of a node."""
        return tuple(
            call
            for call in self.tool_calls
            if call.task == passage.task or call.task.startswith(f"{passage.task}|")
        )

    def is_leaf(self, passage: NodeVisit) -> bool:
        """Tell whether no other node ran inside of this one."""
        return not any(path.startswith(f"{passage.path}/") for path in self.path)


def read_record(journal: Journal, thread_id: str) -> Record:
    """Return what a thread did. A node that ran again after a resume counts once."""
    spans = read_spans(journal.query, thread_id)
    nodes = [span for span in spans if span.kind == "node" and span.row]  # those that ended
    last = {span.task: span.decision for span in nodes if span.decision}
    decisions = sorted(last.values(), key=lambda row: int(row["id"]))
    judged = [row for row in decisions if row["kind"] == "refine"]
    written = [(span, public(span.row["output"])) for span in by_beginning(nodes)]
    calls = [span for span in spans if span.kind == "call" and span.source == "model"]
    called = any(span.kind == "call" and span.row["tool_calls"] for span in spans)
    outputs = [(span, output, cut_text(output)) for span, output in written]
    roles: dict[str, Cost] = {}  # steps with a model of their own by their names
    for span in calls:
        role = str(span.row.get("role") or span.row.get("step") or "")
        roles[role] = roles.get(role, NOTHING) + span.cost
    return Record(
        passages=tuple(
            NodeVisit(span.path, span.status, output if cut is None else cut[0], cut is not None, span.task)
            for span, output, cut in outputs
        ),
        routes=tuple(
            Route(d["path"], d["choice"], d["confidence"]) for d in decisions if d["kind"] == "route"
        ),
        loops=tuple(_loops(judged)) if judged else (),
        votes=tuple(
            VoteResult(
                d["path"], d["choice"], d["confidence"], None if d["decided"] is None else bool(d["decided"])
            )
            for d in decisions
            if d["kind"] == "vote"
        ),
        tool_calls=read_tool_calls(spans) if called else (),
        cost=sum((span.cost for span in calls), NOTHING),
        roles=roles,
        seconds=busy_seconds(nodes),
    )


def cost_of(journal: Journal, threads: Sequence[str]) -> Cost:
    """Return what the calls of threads cost together."""
    return sum((journal.spent(thread) for thread in threads), NOTHING)


def _loops(decisions: Iterable[Row]) -> Iterable[Loop]:
    """Group the judges' decisions by the execution of the loop's graph that they were made in."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for decision in decisions:
        grouped[outer_task(decision["task"])].append(decision)
    for rows in grouped.values():
        path = rows[-1]["path"].rpartition("/")[0]
        yield Loop(path, sum(d["choice"] != UNCHANGED for d in rows), rows[-1]["choice"])
