"""A thread's record as spans: its traces, the node executions in them, and every model call.

Nothing is kept twice: the journal is the local store, and spans are made of its rows. Their ids follow
from what they stand for, so that the same span always has the same id, however often it is made or sent,
and what a resume adds joins the trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ...state.cost import NOTHING, Cost
from ...state.money import dollars
from ...state.statuses import CallSource, RunState
from .lineage import levels

Row = dict[str, Any]
Query = Callable[[str, Sequence[Any]], list[Row]]
Kind = Literal["run", "node", "call", "retrieval"]
SpanSource = CallSource | Literal["replayed"]

REPLAYED: Final = "replayed"


@dataclass(frozen=True)
class Trace:
    """What all spans of one trace have in common. A thread's new input begins a new trace."""

    id: str
    thread_id: str
    number: int
    name: str
    user: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Row = field(default_factory=dict)
    environment: str | None = None
    version: str | None = None
    parent_thread: str | None = None


@dataclass(frozen=True)
class Span:
    """One invocation of the graph, one node execution, one attempt at a model call or one retrieval.

    `row` is the journal's record of it. `source` says where a call's answer came from. The status is
    "unfinished" where the process died in it. Times are Unix seconds. `is_agent` says that it is the run
    of a whole agent. `revision` tells a span that says more than before from what was said under its id.
    """

    trace: Trace
    kind: Kind
    id: str
    parent_id: str | None
    name: str
    path: str
    task: str
    status: RunState
    started_at: float
    ended_at: float
    row: Row
    error: str | None = None
    decision: Row | None = None
    checkpoint_id: str | None = None
    source: SpanSource = "model"
    is_agent: bool = False
    revision: str | None = None

    def but(self, **values: Any) -> Span:
        """Return this span with some values changed: as `replace` does, which is slow for so many fields."""
        other = object.__new__(Span)
        other.__dict__.update(self.__dict__, **values)
        return other

    @property
    def place(self) -> str | None:
        """The id of the node or run in which a reader finds it: its own, or that around a call."""
        return self.parent_id if self.kind in ("call", "retrieval") else self.id

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended_at - self.started_at)

    @property
    def model(self) -> str:
        """The model that answered a call, or was asked."""
        return str(self.row["model_answered"] or self.row["model_asked"])

    @property
    def cost_usd(self) -> float | None:
        """What the call cost here: nothing, if the answer was there already; None if nobody knows."""
        if self.source != "model":
            return 0.0
        usd: float | None = self.row.get("cost_usd")
        return 0.0 if usd is None and self.row.get("status") == "failed" else usd

    @property
    def cost(self) -> Cost:
        """The cost of a call here; nothing for a run or a node, whose calls are spans of their own."""
        if self.kind != "call":
            return NOTHING
        return cost_of_call(self.row) if self.source == "model" else Cost(calls=1)


def cost_of_call(row: Row) -> Cost:
    """Return what one call cost, as its row says."""
    usd = row.get("cost_usd")
    return Cost(
        calls=1,
        input_tokens=row.get("input_tokens") or 0,
        output_tokens=row.get("output_tokens") or 0,
        known_usd=usd or 0.0,
        unknown=int(usd is None and row.get("status") != "failed"),
        estimated_tokens=row.get("estimated_tokens") or 0,
        estimated_usd=dollars(row.get("estimated_picos") or 0),
    )


def trace_id(thread_id: str, created_at: float, number: int) -> str:
    """Return the id of a thread's trace: that which Langfuse makes of the seed."""
    seed = f"{thread_id} {created_at!r} {number}"
    return hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:16].hex()


def span_id(trace: Trace, *parts: object) -> str:
    seed = "\0".join(map(str, (trace.id, *parts)))
    return hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:8].hex()


def outer_task(task: str) -> str:
    """Return the node execution around one, "" for one of the outermost graph."""
    inner = list(levels(task))
    return inner[-2].task if len(inner) > 1 else ""
