"""The fan-out: one worker for each of many items, all at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypedDict, overload

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.types import Send
from langgraph.typing import StateT
from pydantic import BaseModel
from typing_extensions import TypeVar, is_typeddict

from ..nodes.costs import All, Times, cost_of
from ..nodes.node import Node, Valued, record_decision
from ..nodes.rules import as_rule
from ..providers.loops import run_sync
from ..state.errors import DefinitionError, InputError
from ..state.internals import node_of
from ..state.schema import StateType, accepts, check_fields, extended, fields_of, values_of
from ..state.serde import allow
from .chaining import chain
from .lanes import FATAL, invoke_for_sync, timed
from .workflow import Part, Workflow, as_runnable, name_of, state_of

W = TypeVar("W")

ITEMS = "stepgraph_items"
DONE = "stepgraph_done"
MOST = 1000

Items = list[Any]
Results = Annotated[list[Any], Topic]


@dataclass(frozen=True)
class Result:
    """What became of an item: the worker's state in the end, or why there is none."""

    index: int
    item: Any = None
    failure: str | None = None


class Job(TypedDict):
    """What a worker's node is sent."""

    stepgraph_index: int
    stepgraph_item: Any


class Listed(TypedDict, total=False):
    """What the edge behind the split reads."""

    stepgraph_items: Items


allow(Result)


class _Split(Node[Any]):
    """Makes the list of items and keeps it in the private channel."""

    def __init__(self, split: Valued[Any, Any], worker_state: StateType, most: int) -> None:
        self.name = split.name
        self.state = split.state
        self._split = split
        self._worker_state = worker_state
        self._most = most

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        value = await self._split.answer(input, config)
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise InputError(f"{self.name!r} gave {type(value).__name__}; expected a list of items.")
        for number, item in enumerate(value):
            self._check(number, item)
        if len(value) > self._most:
            raise InputError(
                f"{self.name!r} gave {len(value)} items, more than the {self._most} that are allowed. "
                "Make fewer, or raise the limit: fan_out(…, most=…)."
            )
        record_decision(config, "fan_out", f"{len(value)} items")
        return {**self._split.update(value), ITEMS: list(value)}

    def _check(self, number: int, item: Any) -> None:
        expected = dict if is_typeddict(self._worker_state) else self._worker_state
        if not isinstance(item, expected):
            raise InputError(
                f"{self.name!r}: item {number} is {type(item).__name__}; the worker works on "
                f"{self._worker_state.__name__}."
            )


class _Collect(Node[Any]):
    """Writes the finished items to the user's field, in their order."""

    name = "collect"

    def __init__(self, into: str, missing: str | None) -> None:
        self._into = into
        self._missing = missing

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        found: list[Result] = sorted(values_of(input).get(DONE) or (), key=lambda result: result.index)
        update: dict[str, Any] = {self._into: [r.item for r in found if r.failure is None], ITEMS: []}
        if self._missing is not None:
            update[self._missing] = {str(r.index): r.failure for r in found if r.failure is not None}
        return update


@overload
def fan_out(
    split: Valued[StateT, list[W]],
    worker: Part[W],  # type: ignore[type-var]
    *,
    into: str,
    most: int = MOST,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def fan_out(
    split: Callable[[StateT], Sequence[W]],
    worker: Part[W],  # type: ignore[type-var]
    *,
    into: str,
    most: int = MOST,
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
    most: int = MOST,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Run a worker on every item of a list, all at once, and collect the results.

    `split` is a step, a rule, or a function of the state; it gives a list of worker states, `most` of
    them at most. The worker is any part over that state type. The field `into`, a list of that type,
    takes the worker states as they are in the end, in the order of the list.

    An item whose worker raises, or takes longer than `timeout_s` seconds, fails the whole
    (`failed="fail"`) or is left out (`failed="skip"`). `missing` names a field of type `dict[str, str]`
    for those: their number in the list, from 0, and the reason.

    Costs what `split` costs, and what the worker costs for each item: N items make N model calls.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise DefinitionError(f"fan_out(timeout_s={timeout_s}): expected seconds above 0.")
    if failed not in ("fail", "skip"):
        raise DefinitionError(f"fan_out(failed={failed!r}): expected 'fail' or 'skip'.")
    if not isinstance(most, int) or most < 1:
        raise DefinitionError(f"fan_out(most={most!r}): expected a whole number, at least 1.")
    decider = split if hasattr(split, "answer") else as_rule(split, "fan_out")
    state, worker_state = decider.state, state_of([worker], "fan_out")
    _check_field(state, into, list[worker_state], "into")  # type: ignore[valid-type]
    if missing is not None:
        _check_field(state, missing, dict[str, str], "missing")
    allow(worker_state)
    graph: Workflow[Any] = Workflow(state, name or f"fan_out_{name_of(worker)}")
    graph.writes_all = {into, *([missing] if missing else []), *([decider.writes] if decider.writes else [])}

    begin = graph.take_node(_Split(decider, worker_state, most), state)
    work = graph.take_worker(name_of(worker), _worker(worker, worker_state, timeout_s, failed), Job)
    end = graph.take_node(_Collect(into, missing), extended(state, DONE, Results))

    def send(listed: Listed) -> list[Send] | str:
        items = listed["stepgraph_items"]
        return [
            Send(work, Job(stepgraph_index=n, stepgraph_item=item)) for n, item in enumerate(items)
        ] or end

    graph.add_edge(START, begin)
    graph.add_conditional_edges(begin, send, {work: work, end: end})
    graph.add_edge(work, end)
    graph.add_edge(end, END)
    graph.cost = All((cost_of(decider), Times(cost_of(worker), 0, most)))
    return graph


def _check_field(state: StateType, name: str, annotation: Any, option: str) -> None:
    check_fields(state, [name], f"fan_out({option}=…)")
    if not accepts(fields_of(state)[name], annotation):
        inner = ", ".join(argument.__name__ for argument in annotation.__args__)
        raise DefinitionError(
            f"fan_out({option}={name!r}): {state.__name__}.{name} is {fields_of(state)[name]}; expected "
            f"{annotation.__origin__.__name__}[{inner}]."
        )


def _worker(part: Any, state: StateType, timeout_s: float | None, failed: str) -> Any:
    """Return the node that runs the worker on one item."""
    name = name_of(part)
    own: Workflow[Any] = Workflow(state, name)
    single = isinstance(part, Node) or not isinstance(part, (Workflow, Runnable))
    direct = single and own.plain_fields() == set(fields_of(state))
    if not direct and not isinstance(part, Workflow):
        part = chain(part)
    inner: Any = as_runnable(part, own) if direct else part.compile()

    async def controlled(job: Job, config: RunnableConfig, call: Any) -> dict[str, Any]:
        index, item = job["stepgraph_index"], job["stepgraph_item"]

        async def work() -> dict[str, Any]:
            return dict(await call(item, config) or {})

        try:
            update = await timed(work, timeout_s, f"Item {index} of {name!r}")
        except FATAL:
            raise
        except Exception as error:
            if failed == "fail":
                raise
            reason = f"{type(error).__name__}: {error}"
            record_decision(config, "fan_out", "left out", reason=f"item {index}: {reason}")
            return {DONE: Result(index, failure=reason)}
        return {DONE: Result(index, _applied(item, update))}

    async def arun(job: Job, config: RunnableConfig) -> dict[str, Any]:
        return await controlled(job, config, inner.ainvoke)

    def run(job: Job, config: RunnableConfig) -> dict[str, Any]:
        call = inner.ainvoke if direct else partial(invoke_for_sync, inner)
        return run_sync(controlled(job, config, call))

    return node_of(run, arun)


def _applied(item: Any, update: Mapping[str, Any]) -> Any:
    if isinstance(item, BaseModel):
        return item.model_copy(update=dict(update))
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.replace(item, **update)
    return {**item, **update}
