"""The fan-out: one worker for each of many items, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import All, cost_of
from ...nodes.node import Decider, Node, PlainFunction, Update
from ...state.schema import extended
from ..engine.deciding import begin_with, reader_of
from ..engine.options import check_field
from ..engine.sharing import SHARING, SharedPart, check_spread, share_items, times
from ..engine.workers import (
    DONE,
    ITEMS,
    MAX_ITEMS,
    SHARED,
    SplitItems,
    WorkerJob,
    WorkerResults,
    check_limits,
    finished,
    left_out,
    send_items,
    worker_node,
)
from ..engine.workflow import NodeLike, Pattern, SoFar, Workflow, name_of, state_of

W = TypeVar("W")


@dataclass(eq=False)
class _Collect(Node[Any]):
    """Writes the results to the user's field, in the order of their items."""

    into: str
    missing: str | None
    is_shared: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        results = finished(input)
        update: Update = {self.into: [r.item for r in results if r.failure is None], ITEMS: []}
        if self.missing is not None:
            update[self.missing] = left_out(results)
        return {**update, SHARED: [], SHARING: ""} if self.is_shared else update


def fan_out(
    split: Decider[StateT, list[W]] | PlainFunction[StateT, Sequence[W]] | Pattern[StateT],
    worker: NodeLike[W],  # type: ignore[type-var]
    *,
    into: str,
    max_items: int = MAX_ITEMS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    spread: int | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Run a worker on every item of a list, all at once, and collect the results.

    `split` is a step, a rule, a function of the state or a pattern; it gives a list of worker states,
    `max_items` of them at most. The worker is any part over that state type. The field `into`, a list of
    that type, takes the worker states as they are in the end, in the order of the list.

    An item whose worker raises, or takes longer than `timeout_s` seconds, fails the whole
    (`failed="fail"`) or is left out (`failed="skip"`). `missing` names a field of type `dict[str, str]`
    for those: their number in the list, from 0, and the reason.

    With `spread`, a run at workers shares the items over so many jobs, which any of them take, and waits
    without a process: for branches that burn CPU. Everywhere else it runs them as without.

    Costs what `split` costs, and what the worker costs for each item: N items make N model calls.
    """
    check_limits("fan_out", max_items, timeout_s, failed)
    check_spread("fan_out", spread)
    decider = reader_of(split, "fan_out")
    state, worker_state = decider.state, state_of([worker], "fan_out")
    check_field("fan_out", state, list[worker_state], into=into)  # type: ignore[valid-type]
    check_field("fan_out", state, dict[str, str], missing=missing)
    graph: Workflow[StateT] = Workflow(state, name or f"fan_out_{name_of(worker)}")

    splitting = SplitItems("fan_out", decider, worker_state, max_items)
    first, begin = begin_with(graph, decider, splitting, writes=[decider.writes])
    node = worker_node(worker, worker_state, timeout_s, failed)
    work = graph.add_part(worker, reads=WorkerJob, writes=(), runs_as=node)
    seen = extended(state, DONE, WorkerResults)
    plan = None if spread is None else SharedPart(worker, worker_state, timeout_s, failed, spread)
    if plan is not None:
        seen = extended(extended(seen, SHARED, list), SHARING, str)
    collect = _Collect(into, missing, plan is not None)
    end = graph.add_part(collect, "collect", reads=seen, writes=[into, missing])

    def so_far(values: Mapping[str, Any]) -> SoFar:
        done = [result.item for result in finished(values) if result.failure is None]
        return SoFar({into: done} if done else {})

    graph.so_far = so_far
    graph.writes = into
    graph.add_edge(START, first)
    if plan is None:
        send_items(graph, begin, work, end)
    else:
        share_items(graph, begin, work, end, plan)
    graph.add_edge(work, end)
    graph.add_edge(end, END)
    graph.cost = All((cost_of(decider), times(cost_of(worker), 0, max_items, plan)))
    return graph
