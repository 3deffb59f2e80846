"""A fan-out whose items are shared over workers: jobs of their own, with the results as if it ran here."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START
from langgraph.types import Interrupt, Send

from ...nodes.costs import All, Asks, Cost, OneOf, Times, Unbounded
from ...nodes.node import Node, Update
from ...state.errors import BudgetExceeded, DefinitionError, InputError
from ...state.journal.jobs import JobStatus
from ...state.journal.parts import parts_of
from ...state.names import PARTS, SPREAD_KEY
from ...state.run_context import RunContext, fields_in
from ...state.schema import StateType, extended, values_of
from ...state.session.pauses import budget_interrupt
from .workers import (
    DONE,
    ITEMS,
    SHARED,
    WorkerJob,
    WorkerResult,
    WorkerResults,
    finished,
    send_items,
    worker_node,
)
from .workflow import NodeLike, SoFar, Workflow, name_of

SHARING: Final = "stepgraph_sharing"  # the node execution that has shared the items out


class PartItems(TypedDict, total=False):
    """The state of a part: its items, and their results."""

    items: list[Any]
    results: list[WorkerResult]


@dataclass(eq=False)
class _BeginPart(Node[Any]):
    name: str = "begin"

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return {ITEMS: list(input["items"])}


@dataclass(eq=False)
class _EndPart(Node[Any]):
    name: str = "results"

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return {"results": finished(input)}


@dataclass(eq=False)
class SharedPart:
    """How a fan-out's items are run by workers: at most `parts` jobs, each with some of them."""

    worker: NodeLike[Any]
    worker_state: StateType
    timeout_s: float | None
    failed: str
    parts: int

    @cached_property
    def graph(self) -> Any:
        """The compiled graph of one part."""
        graph: Workflow[Any] = Workflow(PartItems, f"part_{name_of(self.worker)}")
        begin = graph.add_part(_BeginPart(), "begin", writes=[])
        node = worker_node(self.worker, self.worker_state, self.timeout_s, self.failed)
        work = graph.add_part(self.worker, reads=WorkerJob, writes=(), runs_as=node)
        seen = extended(PartItems, DONE, WorkerResults)
        end = graph.add_part(_EndPart(), "results", reads=seen, writes=["results"])

        def so_far(values: Mapping[str, Any]) -> SoFar:
            done = finished(values)
            return SoFar({"results": done} if done else {})

        graph.so_far = so_far
        graph.writes = "results"
        graph.add_edge(START, begin)
        send_items(graph, begin, work, end)
        graph.add_edge(work, end)
        graph.add_edge(end, END)
        return graph.compile()


@dataclass(frozen=True)
class Shared(Times):
    """What the worker of a shared fan-out costs; `plan` is how it is shared."""

    plan: SharedPart | None = field(default=None, compare=False, hash=False)


def times(cost: Cost, least: float, most: float, plan: SharedPart | None) -> Times:
    """Return what a worker costs that runs so often, with how its items may be shared."""
    return Times(cost, least, most) if plan is None else Shared(cost, least, most, plan)


def plans_in(cost: Cost) -> Iterator[SharedPart]:
    """Yield how each fan-out of a graph is shared that may be, always in the same order."""
    match cost:
        case Asks():
            return
        case All(parts) | OneOf(parts):
            for part in parts:
                yield from plans_in(part)
        case Times(part, _, _) | Unbounded(_, part):
            if isinstance(cost, Shared) and cost.plan is not None:
                yield cost.plan
            yield from plans_in(part)


@dataclass(frozen=True)
class PartOutcome:
    """How a part of a fan-out stands, with what it has of results, by the numbers of all items."""

    thread: str
    status: JobStatus
    is_told: bool = False
    results: Sequence[WorkerResult] = ()
    ended: BudgetExceeded | None = None
    problem: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "partial", "failed", "canceled")


class Spreader(Protocol):
    """Gives items to workers, as jobs of their own; a run at a worker has one."""

    async def find(self, task: str) -> Sequence[PartOutcome]:
        """Return the parts of a node execution, with their results where all of them are over."""
        ...

    async def begin(self, task: str, plan: SharedPart, items: Sequence[Any]) -> bool:
        """Give items to workers; False where that cannot be, so that they run here."""
        ...

    async def go_on(self, parts: Sequence[PartOutcome]) -> None:
        """Have parts that have stopped go on, with what the run's budget has left."""
        ...


class ShareState(TypedDict, total=False):
    """What the edge behind the sharing reads."""

    stepgraph_items: list[Any]
    stepgraph_shared: list[Any]


class _Share(Node[Any]):
    """Gives the items to workers, if the run has some, and waits for the results without a process."""

    def __init__(self, name: str, plan: SharedPart) -> None:
        self.name = name
        self._plan = plan

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        run, values = RunContext.of(config), values_of(input)
        items, had = values.get(ITEMS) or [], list(values.get(SHARED) or ())
        task = values.get(SHARING) or run.task
        spreader: Spreader | None = fields_in(config or {}).get(SPREAD_KEY)
        if spreader is None:
            journal = None if run.session is None else run.session.journal
            if journal is not None and run.thread_id and parts_of(journal, run.thread_id, task):
                raise InputError(
                    f"The items of {self.name!r} were given to workers, as jobs of their own, so the thread "
                    f"{run.thread_id!r} goes on there: start a worker, and leave out --here."
                )
            return {}
        parts = await spreader.find(task)
        if not parts:
            alone = len(items) < 2 or run.draw or sum(not ledger.is_shared for ledger in run.ledgers) > 1
            if alone or not await spreader.begin(task, self._plan, items):
                return {}
            raise _waiting(run.task, self._plan.parts)
        if not all(part.is_over for part in parts):
            raise _waiting(run.task, len(parts))
        known = {result.index for result in had}
        fresh = [result for part in parts for result in part.results if result.index not in known]
        if fresh:
            return {SHARED: sorted([*had, *fresh], key=lambda result: result.index), SHARING: task}
        stopped = [part for part in parts if part.status != "done"]
        if all(part.is_told for part in stopped):
            await spreader.go_on(stopped)
            raise _waiting(run.task, len(parts))
        for part in stopped:
            if part.problem is not None:
                raise part.problem
        ended = next(part.ended for part in stopped if part.ended is not None)
        raise budget_interrupt(ended, run.task)


def _waiting(task: str, parts: int) -> GraphInterrupt:
    """Return the interrupt of a run that waits for its parts: nobody is asked anything."""
    return GraphInterrupt([Interrupt(value={"kind": PARTS, "parts": parts}, id=f"parts:{task}")])


def share_items(
    graph: Workflow[Any], source: str, work: str, otherwise: str, plan: SharedPart, *, name: str = "share"
) -> None:
    """Have a node's items go to workers as jobs, where the run has some; else as `send_items` does."""
    seen = extended(extended(extended(graph.state, ITEMS, list), SHARED, list), SHARING, str)
    share = graph.add_part(_Share(name, plan), name, reads=seen, writes=[])

    def way(state: ShareState) -> list[Send] | str:
        items, shared = state["stepgraph_items"], state.get("stepgraph_shared")
        if shared:
            return otherwise if len(shared) == len(items) else share
        sent = [Send(work, WorkerJob(stepgraph_index=n, stepgraph_item=item)) for n, item in enumerate(items)]
        return sent or otherwise

    targets: dict[Hashable, str] = {work: work, otherwise: otherwise, share: share}
    graph.add_edge(source, share)
    graph.add_conditional_edges(share, way, targets)


def check_spread(pattern: str, spread: int | None) -> None:
    """Raise DefinitionError unless it says into how many parts to share."""
    if spread is not None and (not isinstance(spread, int) or isinstance(spread, bool) or spread < 2):
        raise DefinitionError(
            f"{pattern}(spread={spread!r}): expected how many jobs share the items, 2 at least."
        )
