"""Workers: one part that runs on each of many items, all at once; what the fan-outs are made of."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import is_typeddict

from ...nodes.node import Decider, Node, Update, record_decision
from ...state.errors import InputError
from ...state.event_loops import run_sync
from ...state.schema import StateType, fields_of, values_of
from ...state.serde import allow
from ...state.session.internals import node_of
from ...state.statuses import DecisionKind
from .branches import FATAL, counted, invoke_for_sync, timed
from .options import check_counts, check_failed, check_timeout
from .workflow import Workflow, as_runnable, as_workflow, name_of

ITEMS = "stepgraph_items"
DONE = "stepgraph_done"
SHARED = "stepgraph_shared"  # the results of items that jobs of their own have run
MAX_ITEMS = 1000

Items = list[Any]
WorkerResults = Annotated[list[Any], Topic]


@dataclass(frozen=True)
class WorkerResult:
    """The result of an item: the worker's state in the end, or why there is none."""

    index: int
    item: Any = None
    failure: str | None = None


class WorkerJob(TypedDict):
    """What a worker's node is sent."""

    stepgraph_index: int
    stepgraph_item: Any


class WorkerItems(TypedDict):
    """What the edge behind the split reads."""

    stepgraph_items: Items


allow(WorkerResult)


def send_items(graph: Workflow[Any], source: str, work: str, otherwise: str | None = None) -> None:
    """Have a node's items go to the workers, one each; where there are none the run goes on otherwise."""

    def send(listed: WorkerItems) -> list[Send] | str:
        items = listed["stepgraph_items"]
        sent = [Send(work, WorkerJob(stepgraph_index=n, stepgraph_item=item)) for n, item in enumerate(items)]
        return sent or otherwise or END

    targets: dict[Hashable, str] = {work: work}
    if otherwise is not None:
        targets[otherwise] = otherwise
    graph.add_conditional_edges(source, send, targets)


def finished(state: Any) -> list[WorkerResult]:
    """Return the results of the workers that have just run, in the order of their items."""
    values = values_of(state)
    return sorted(values.get(SHARED) or values.get(DONE) or (), key=lambda result: result.index)


def left_out(results: Iterable[WorkerResult]) -> dict[str, str]:
    """Return the items that have no result, with the reasons: what a field `missing` takes."""
    return {str(result.index): result.failure for result in results if result.failure is not None}


def check_items(name: str, items: Any, worker_state: StateType) -> list[Any]:
    """Return the items as a list. Raises InputError unless each is a state of the worker."""
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)):
        raise InputError(f"{name!r} gave {type(items).__name__}; expected a list of items.")
    expected = dict if is_typeddict(worker_state) else worker_state
    for number, item in enumerate(items):
        if not isinstance(item, expected):
            raise InputError(
                f"{name!r}: item {number} is {type(item).__name__}; the worker works on "
                f"{worker_state.__name__}."
            )
    return list(items)


class SplitItems(Node[Any]):
    """Makes the list of items and puts it into the private channel."""

    items = "items"

    def __init__(
        self, pattern: DecisionKind, split: Decider[Any, Any], worker_state: StateType, max_items: int
    ) -> None:
        self.name = split.name
        self._pattern = pattern
        self._split = split
        self._worker_state = worker_state
        self._max_items = max_items

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        value = await self._split.answer(input, config)
        items = check_items(self.name, value, self._worker_state)
        if len(items) > self._max_items:
            raise InputError(
                f"{self.name!r} gave {len(items)} {self.items}, more than the {self._max_items} that are "
                f"allowed. Make fewer, or raise the limit: {self._pattern}(…, max_items=…)."
            )
        own = self.begin(items)
        record_decision(config, self._pattern, f"{len(items)} {self.items}")
        return {**self._split.update(value), ITEMS: items, **own}

    def begin(self, items: list[Any]) -> Update:
        """Return what else the pattern keeps when the workers begin. May raise InputError for the items."""
        return {}


def check_limits(pattern: str, max_items: int, timeout_s: float | None, failed: str) -> None:
    """Raise DefinitionError for a limit that no fan-out can keep."""
    check_counts(pattern, max_items=max_items)
    check_timeout(pattern, timeout_s)
    check_failed(pattern, failed)


def worker_node(part: Any, state: StateType, timeout_s: float | None, failed: str) -> Any:
    """Return the node that runs the worker on one item."""
    allow(state)
    name = name_of(part)
    own: Workflow[Any] = Workflow(state, name)
    single = isinstance(part, Node) or not isinstance(part, (Workflow, Runnable))
    direct = single and own.plain_fields() == set(fields_of(state))
    inner: Any = as_runnable(part, own) if direct else as_workflow(part, name).compile()

    async def controlled(job: WorkerJob, config: RunnableConfig, call: Any) -> dict[str, Any]:
        index, item = job["stepgraph_index"], job["stepgraph_item"]

        async def work() -> dict[str, Any]:
            return dict(await counted(call(item, config), config) or {})

        try:
            update = await timed(work, timeout_s, f"Item {index} of {name!r}")
        except FATAL:
            raise
        except Exception as error:
            if failed == "fail":
                raise
            reason = f"{type(error).__name__}: {error}"
            record_decision(config, "fan_out", "left out", reason=f"item {index}: {reason}")
            return {DONE: WorkerResult(index, failure=reason)}
        return {DONE: WorkerResult(index, applied(item, update))}

    async def arun(job: WorkerJob, config: RunnableConfig) -> dict[str, Any]:
        return await controlled(job, config, inner.ainvoke)

    def run(job: WorkerJob, config: RunnableConfig) -> dict[str, Any]:
        call = inner.ainvoke if direct else partial(invoke_for_sync, inner)
        return run_sync(controlled(job, config, call))

    return node_of(run, arun)


def applied(item: Any, update: Mapping[str, Any]) -> Any:
    """Return a state with an update in it. No constructor runs again."""
    if isinstance(item, BaseModel):
        return item.model_copy(update=dict(update))
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        # Not rebuilt: its constructor may do more than take the fields, or not take them all.
        item = copy.copy(item)
        for name, value in update.items():
            object.__setattr__(item, name, value)
        return item
    return {**values_of(item), **update}
