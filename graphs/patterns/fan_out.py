"""The fan-out: one worker for each of many items, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import All, Times, cost_of
from ...nodes.node import Decider, Node, record_decision
from ...nodes.rules import as_rule
from ...state.errors import InputError
from ...state.schema import StateType, extended
from ...state.serde import allow
from ..engine.options import check_field
from ..engine.workers import (
    DONE,
    ITEMS,
    MAX_ITEMS,
    WorkerJob,
    WorkerResults,
    check_items,
    check_limits,
    finished,
    left_out,
    send_items,
    worker_node,
)
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

W = TypeVar("W")


class _Split(Node[Any]):
    """Makes the list of items and keeps it in the private channel."""

    def __init__(self, split: Decider[Any, Any], worker_state: StateType, max_items: int) -> None:
        self.name = split.name
        self.state = split.state
        self._split = split
        self._worker_state = worker_state
        self._max_items = max_items

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        value = await self._split.answer(input, config)
        items = check_items(self.name, value, self._worker_state)
        if len(items) > self._max_items:
            raise InputError(
                f"{self.name!r} gave {len(items)} items, more than the {self._max_items} that are allowed. "
                "Make fewer, or raise the limit: fan_out(…, max_items=…)."
            )
        record_decision(config, "fan_out", f"{len(items)} items")
        return {**self._split.update(value), ITEMS: items}


class _Collect(Node[Any]):
    """Writes the finished items to the user's field, in their order."""

    name = "collect"

    def __init__(self, into: str, missing: str | None) -> None:
        self._into = into
        self._missing = missing

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        results = finished(input)
        update: dict[str, Any] = {self._into: [r.item for r in results if r.failure is None], ITEMS: []}
        if self._missing is not None:
            update[self._missing] = left_out(results)
        return update


@overload
def fan_out(
    split: Decider[StateT, list[W]],
    worker: NodeLike[W],  # type: ignore[type-var]
    *,
    into: str,
    max_items: int = MAX_ITEMS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def fan_out(
    split: Callable[[StateT], Sequence[W]],
    worker: NodeLike[W],  # type: ignore[type-var]
    *,
    into: str,
    max_items: int = MAX_ITEMS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
def fan_out(
    split: Any,
    worker: Any,
    *,
    into: str,
    max_items: int = MAX_ITEMS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Run a worker on every item of a list, all at once, and collect the results.

    `split` is a step, a rule, or a function of the state; it gives a list of worker states, `max_items` of
    them at most. The worker is any part over that state type. The field `into`, a list of that type,
    takes the worker states as they are in the end, in the order of the list.

    An item whose worker raises, or takes longer than `timeout_s` seconds, fails the whole
    (`failed="fail"`) or is left out (`failed="skip"`). `missing` names a field of type `dict[str, str]`
    for those: their number in the list, from 0, and the reason.

    Costs what `split` costs, and what the worker costs for each item: N items make N model calls.
    """
    check_limits("fan_out", max_items, timeout_s, failed)
    decider = split if hasattr(split, "answer") else as_rule(split, "fan_out")
    state, worker_state = decider.state, state_of([worker], "fan_out")
    check_field(state, into, list[worker_state], f"fan_out(into={into!r})")  # type: ignore[valid-type]
    if missing is not None:
        check_field(state, missing, dict[str, str], f"fan_out(missing={missing!r})")
    allow(worker_state)
    graph: Workflow[Any] = Workflow(state, name or f"fan_out_{name_of(worker)}")
    graph.note_writes(into, missing, decider.writes)

    begin = graph.take_node(_Split(decider, worker_state, max_items), state)
    work = graph.take_node(worker_node(worker, worker_state, timeout_s, failed), WorkerJob, name_of(worker))
    end = graph.take_node(_Collect(into, missing), extended(state, DONE, WorkerResults))
    graph.add_edge(START, begin)
    send_items(graph, begin, work, end)
    graph.add_edge(work, end)
    graph.add_edge(end, END)
    graph.cost = All((cost_of(decider), Times(cost_of(worker), 0, max_items)))
    return graph
