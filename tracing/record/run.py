"""One run, read back: its spans in their places, and what follows from them."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...state.budget import ThreadBudgets
from ...state.cost import Cost
from ...state.journal.batches import Awaited, awaited
from ...state.journal.budget_reads import BudgetAccount, accounts_of
from ...state.money import rounded
from ...state.names import PRIVATE
from ...state.session.session import Session
from ...state.statuses import RUNNING, UNFINISHED, RunState
from .read_spans import read_spans
from .reads import read_rows, read_shape
from .spans import REPLAYED, Row, Span, outer_task
from .threads import Thread, find_thread
from .timeline import Timeline
from .tree import SpanNode, tree_of
from .values import changed_fields, cut_text

_NEWEST = {
    "runs": "max(updated_at)",
    "node_runs": "max(id)",
    "calls": "max(rowid)",
    "replays": "max(id)",
    "decisions": "max(id)",
    "scores": "count(*)",
    "invocations": "max(id)",
}
_VERSION = "SELECT " + ", ".join(
    f"(SELECT {newest} FROM {table} WHERE thread_id = ?) AS {table}" for table, newest in _NEWEST.items()
)


@dataclass(frozen=True)
class Limit:
    """One limit of a run's budget; `left` is None where an unknown cost makes it unknown.

    Of a budget that threads share, `account` says how it stands.
    """

    resource: str
    allowed: float
    spent: float
    left: float | None
    account: BudgetAccount | None = None


@dataclass(frozen=True)
class OutputField:
    """A field of what the run returned, and the step that first gave it that value for good."""

    name: str
    value: Any
    by: Span | None


@dataclass(frozen=True)
class Run:
    """One thread, with its spans in their places. `state` is its status, "unfinished" if it died.

    run = read_run(session, "post-1")
    for node in run.steps:
        print(node.span.path, node.span.seconds, node.cost_usd)
    """

    thread: Thread
    state: RunState
    live: bool
    spans: Sequence[Span]
    shape: Row | None = None
    limits: Sequence[Limit] = ()
    scores: Mapping[str | None, Sequence[Row]] = field(default_factory=dict)
    awaits: Sequence[Awaited] = ()

    @cached_property
    def roots(self) -> list[SpanNode]:
        """The tree of spans: invocations, in them node executions, in them calls."""
        return tree_of(self.spans)

    @cached_property
    def by_id(self) -> dict[str, SpanNode]:
        return {node.span.id: node for root in self.roots for node in root.walk()}

    @cached_property
    def steps(self) -> list[SpanNode]:
        """The node executions, outer ones before those in them."""
        return [node for node in self.by_id.values() if node.span.kind == "node"]

    @cached_property
    def timeline(self) -> Timeline:
        return Timeline([span for span in self.spans if span.kind == "run"])

    @cached_property
    def calls(self) -> list[Row]:
        """The rows of the model calls, oldest first; replays are none."""
        return [span.row for span in self.spans if span.kind == "call" and span.source != REPLAYED]

    @property
    def cost(self) -> Cost:
        return self.thread.cost

    @property
    def cached_share(self) -> float | None:
        """The part of the input that was read from the providers' caches; None where no provider says."""
        paid = [
            s.row for s in self.spans if s.kind == "call" and s.source == "model" and s.status != "failed"
        ]
        rows = [row for row in paid if row["cached_tokens"] is not None]
        input_tokens = sum(row["input_tokens"] or 0 for row in rows)
        return sum(row["cached_tokens"] for row in rows) / input_tokens if input_tokens else None

    @cached_property
    def output(self) -> list[OutputField]:
        """The run's last output, field by field."""
        outputs = [json.loads(s.row["output"]) for s in self.spans if s.kind == "run" and s.row.get("output")]
        if not outputs or not isinstance(outputs[-1], dict) or cut_text(outputs[-1]):
            return [OutputField("output", outputs[-1], None)] if outputs else []
        values = {n: v for n, v in outputs[-1].items() if not n.startswith((PRIVATE, "__"))}
        by: dict[str, Span | None] = {}
        leaves = [step.span for step in self.steps if not step.holds_nodes]
        for span in sorted(leaves, key=lambda span: span.ended_at):
            changed = changed_fields(span.row)
            output = json.loads(span.row["output"]) if changed else {}
            for name in changed or ():
                same = name in values and output[name] == values[name]
                by[name] = (by.get(name) or span) if same else None
        return [OutputField(name, value, by.get(name)) for name, value in values.items()]


def last_runs(spans: Iterable[Span]) -> list[Span]:
    """Return the last execution of each node: one that a resume entered again counts once."""
    return list({span.task: span for span in spans if span.kind == "node"}.values())


def by_beginning(spans: Iterable[Span]) -> list[Span]:
    """Return the last execution of each node in the order in which they began, outer nodes first."""
    nodes = [span for span in spans if span.kind == "node"]
    began: dict[str, float] = {}
    for span in nodes:
        # A graph that a resume entered again began when the first node in it did.
        parts = span.task.split("|")
        for depth in range(1, len(parts) + 1):
            task = "|".join(parts[:depth])
            began[task] = min(span.started_at, began.get(task, span.started_at))
    return sorted(last_runs(nodes), key=lambda span: (began[span.task], span.task.count("|")))


def busy_seconds(nodes: Iterable[Span]) -> float:
    """Return how long the nodes ran: the sum over supersteps of the slowest one, pauses left out."""
    took: dict[tuple[int, str], float] = defaultdict(float)
    for span in nodes:
        if not outer_task(span.task):
            took[span.row["superstep"], span.task] += span.seconds
    slowest: dict[int, float] = defaultdict(float)
    for (superstep, _), seconds in took.items():
        slowest[superstep] = max(slowest[superstep], seconds)
    return sum(slowest.values())


def innermost(spans: Iterable[Span]) -> list[Span]:
    """Return the last execution of each node that holds no others."""
    nodes = last_runs(spans)
    outer = {outer_task(span.task) for span in nodes}
    return [span for span in nodes if span.task not in outer]


def read_run(session: Session, thread_id: str) -> Run:
    """Return a run as it is now. Raises InputError for an unknown thread."""
    journal = session.journal
    thread = find_thread(journal, thread_id)
    # What is about to begin is claimed before its status says that it runs.
    live = thread.status == RUNNING or (thread.status == "queued" and session.claims.is_run(thread.thread_id))
    spans = read_spans(journal.query, thread_id)
    scores: dict[str | None, list[Row]] = defaultdict(list)
    for row in read_rows(journal.query, "scores", thread_id):
        scores[row["span"]].append(row)
    return Run(
        thread=thread,
        state=thread.status,
        live=live,
        spans=list(_under_way(spans, time.time())) if live else spans,
        shape=read_shape(journal, thread_id),
        limits=list(_limits(session, thread_id)),
        scores=scores,
        awaits=awaited(journal, [thread_id])[thread_id],
    )


def run_version(session: Session, thread_id: str) -> str:
    """Return what changes whenever something is added to a run."""
    (row,) = session.journal.query(_VERSION, [thread_id] * len(_NEWEST))
    return json.dumps([*row.values(), session.claims.is_run(thread_id)])


def _limits(session: Session, thread_id: str) -> Iterator[Limit]:
    recorded = session.journal.budget_of(thread_id)
    if not recorded:
        return
    allowed = json.loads(recorded)
    cost = session.journal.spent(thread_id)
    seconds = session.ran_s(thread_id) if "seconds" in allowed else 0.0
    spent = {**cost.charged(), "seconds": seconds}
    for resource, limit in allowed.items():
        if resource in spent and isinstance(limit, (int, float)):
            left = None if resource == "usd" and cost.unknown else limit - spent[resource]
            yield Limit(
                resource, limit, spent[resource], rounded(left) if resource == "usd" and left else left
            )
    for account in accounts_of(session.journal, ThreadBudgets.from_json(recorded)):
        for resource, limit in account.limits.items():
            yield Limit(resource, limit, account.spent[resource], account.left[resource], account)


def _under_way(spans: Sequence[Span], now: float) -> Iterator[Span]:
    """Yield the spans of a run that is going on; what is not finished in its last invocation runs."""
    began = max((span.started_at for span in spans if span.kind == "run"), default=0.0)
    for span in spans:
        if span.status == UNFINISHED and span.started_at >= began:
            yield replace(span, status=RUNNING, ended_at=now)
        else:
            yield span
