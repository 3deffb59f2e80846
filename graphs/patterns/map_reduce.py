"""Map-reduce: a worker for each piece of something large, and the results combined level by level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import All, Times, cost_of
from ...nodes.node import Decider, Node, record_decision
from ...nodes.rules import as_rule
from ...nodes.sizes import Sizes
from ...nodes.splitting import Count, estimate_tokens
from ...state.errors import DefinitionError, InputError
from ...state.schema import StateType, extended, values_of
from ...state.serde import allow
from ..engine.options import check_counts, check_field
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

CHANNEL = "stepgraph_level"
LEVELS = 10


@dataclass(frozen=True)
class Level:
    """How far the reduction is: the level under way, and the results that it passes on as they are."""

    number: int = 0
    kept: dict[int, Any] = field(default_factory=dict)


allow(Level)


class _Split(Node[Any]):
    """Makes the pieces, and sees that each fits."""

    def __init__(
        self, split: Decider[Any, Any], worker: Any, state: StateType, max_items: int, sizes: Sizes
    ) -> None:
        self.name = split.name
        self.state = split.state
        self._split = split
        self._worker = worker
        self._worker_state = state
        self._max_items = max_items
        self._sizes = sizes

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        value = await self._split.answer(input, config)
        items = check_items(self.name, value, self._worker_state)
        if not items:
            raise InputError(f"{self.name!r} gave no pieces, so there is nothing to map. Is the input empty?")
        if len(items) > self._max_items:
            raise InputError(
                f"{self.name!r} gave {len(items)} pieces, more than the {self._max_items} that are allowed. "
                "Make them larger, or raise the limit: map_reduce(…, max_items=…)."
            )
        for number, item in enumerate(items):
            size = self._sizes.of(self._worker, item)
            if size > self._sizes.tokens:
                raise InputError(
                    f"{self.name!r}: piece {number} makes {size} tokens for {name_of(self._worker)!r}, more "
                    f"than {self._sizes.tokens}. Split finer: split_text(text, tokens=…), and leave room for "
                    "the prompt's own words."
                )
        record_decision(config, "map_reduce", f"{len(items)} pieces")
        return {**self._split.update(value), ITEMS: items, CHANNEL: Level()}


class _Gather(Node[Any]):
    """Groups the results so far for one more level, or writes the last one to the user's field."""

    name = "gather"

    def __init__(
        self,
        reduce: Any,
        join: Callable[[list[Any]], Any],
        state: StateType,
        into: str,
        parts: str | None,
        missing: str | None,
        levels: int,
        sizes: Sizes,
    ) -> None:
        self._reduce = reduce
        self._join = join
        self._worker_state = state
        self._into = into
        self._parts = parts
        self._missing = missing
        self._levels = levels
        self._sizes = sizes

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        level: Level = values_of(input)[CHANNEL]
        results = finished(input)
        update: dict[str, Any] = {}
        if level.number == 0:
            items = [result.item for result in results if result.failure is None]
            if self._parts is not None:
                update[self._parts] = items
            if self._missing is not None:
                update[self._missing] = left_out(results)
            if not items:
                raise InputError(
                    f"None of the {len(results)} pieces gave a result, so there is nothing to reduce. The "
                    f"first one: {results[0].failure}"
                )
        else:
            items = _merged([result.item for result in results], level.kept)
        if len(items) == 1:
            record_decision(config, "map_reduce", "done", reason=f"{level.number} levels of reduction")
            return {**update, self._into: items[0], ITEMS: [], CHANNEL: Level()}
        return {**update, **self._next(items, level.number + 1, config)}

    def _next(self, items: list[Any], number: int, config: RunnableConfig | None) -> dict[str, Any]:
        groups = self._groups(items)
        if len(groups) == len(items):
            raise InputError(
                f"map_reduce, level {number}: no two of the {len(items)} results fit into "
                f"{self._sizes.tokens} tokens together. Let the worker answer shorter (max_tokens), or raise "
                "tokens."
            )
        if number > self._levels:
            raise InputError(
                f"map_reduce: {len(items)} results are left after {self._levels} levels. Let the worker "
                "answer shorter (max_tokens), or raise tokens or levels."
            )
        record_decision(
            config,
            "map_reduce",
            f"level {number}",
            reason=f"{len(items)} results in {len(groups)} groups: {', '.join(str(len(g)) for g in groups)}",
        )
        kept = {place: group[0] for place, group in enumerate(groups) if len(group) == 1}
        joined = [self._joined(group) for group in groups if len(group) > 1]
        return {ITEMS: joined, CHANNEL: Level(number, kept)}

    def _groups(self, items: list[Any]) -> list[list[Any]]:
        """Return neighbours in groups, each as large as fits."""
        groups = [[items[0]]]
        for item in items[1:]:
            if self._sizes.fits(self._reduce, self._joined([*groups[-1], item])):
                groups[-1].append(item)
            else:
                groups.append([item])
        return groups

    def _joined(self, group: list[Any]) -> Any:
        joined = self._join(list(group))
        return check_items(getattr(self._join, "__name__", "join"), [joined], self._worker_state)[0]


def _merged(results: list[Any], kept: dict[int, Any]) -> list[Any]:
    """Return a level's outcome in the order of its groups: the group's result, or what it kept."""
    queue = iter(results)
    places = range(len(results) + len(kept))
    return [kept[place] if place in kept else next(queue) for place in places]


@overload
def map_reduce(
    split: Decider[StateT, list[W]],
    worker: NodeLike[W],  # type: ignore[type-var]
    *,
    join: Callable[[list[W]], W],
    into: str,
    tokens: int,
    reduce: NodeLike[W] | None = None,  # type: ignore[type-var]
    parts: str | None = None,
    max_items: int = MAX_ITEMS,
    levels: int = LEVELS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    count: Count = estimate_tokens,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def map_reduce(
    split: Callable[[StateT], Sequence[W]],
    worker: NodeLike[W],  # type: ignore[type-var]
    *,
    join: Callable[[list[W]], W],
    into: str,
    tokens: int,
    reduce: NodeLike[W] | None = None,  # type: ignore[type-var]
    parts: str | None = None,
    max_items: int = MAX_ITEMS,
    levels: int = LEVELS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    count: Count = estimate_tokens,
    name: str | None = None,
) -> Workflow[StateT]: ...
def map_reduce(
    split: Any,
    worker: Any,
    *,
    join: Callable[[list[Any]], Any],
    into: str,
    tokens: int,
    reduce: Any = None,
    parts: str | None = None,
    max_items: int = MAX_ITEMS,
    levels: int = LEVELS,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    count: Count = estimate_tokens,
    name: str | None = None,
) -> Workflow[Any]:
    """Run a worker on each piece at once, and reduce the results in levels until one is left.

    `split` gives the pieces, a list of worker states, as in `fan_out`. `join` makes one worker state of
    several neighbouring results, and `reduce` runs on that: any part over the worker's state, by
    default the worker itself. A level takes as many neighbours into a group as fit into `tokens`, the
    size of the whole prompt if the part is a step; it is repeated until one result is left, at most
    `levels` times. `into` is a field of the worker's type, which takes that result; `parts`, a list of
    it, takes those of the single pieces. A single piece needs no reduction.

    `timeout_s`, `failed` and `missing` are as in `fan_out` and concern the pieces; a reduction that
    fails, fails the whole. Raises InputError where a piece, or two results together, do not fit.
    `count` counts tokens; by default they are estimated on the high side, see `estimate_tokens`.

    Costs N calls for N pieces, and one for each group of a level: N - 1 at most.

        map_reduce(passages, sum_up, join=together, into="digest", tokens=1500)
    """
    check_limits("map_reduce", max_items, timeout_s, failed)
    check_counts("map_reduce", tokens=tokens, levels=levels)
    if not callable(join):
        raise DefinitionError("map_reduce(join=…): expected a function that makes one state of several.")
    decider = split if hasattr(split, "answer") else as_rule(split, "map_reduce")
    reducer = worker if reduce is None else reduce
    state, worker_state = decider.state, state_of([worker, reducer], "map_reduce")
    fields: dict[str, tuple[str | None, Any]] = {
        "into": (into, worker_state),
        "parts": (parts, list[worker_state]),  # type: ignore[valid-type]
        "missing": (missing, dict[str, str]),
    }
    for option, (written, annotation) in fields.items():
        if written is not None:
            check_field(state, written, annotation, f"map_reduce({option}={written!r})")
    allow(worker_state)
    graph: Workflow[Any] = Workflow(state, name or f"map_reduce_{name_of(worker)}")
    graph.note_writes(into, parts, missing, decider.writes)

    sizes = Sizes(tokens, count)
    private = extended(extended(state, DONE, WorkerResults), CHANNEL, Level)
    begin = graph.take_node(_Split(decider, worker, worker_state, max_items, sizes), private)
    work = graph.take_node(worker_node(worker, worker_state, timeout_s, failed), WorkerJob, name_of(worker))
    gather = graph.take_node(
        _Gather(reducer, join, worker_state, into, parts, missing, levels, sizes), private
    )
    combine = graph.take_node(
        worker_node(reducer, worker_state, timeout_s, "fail"),
        WorkerJob,
        name_of(reducer) if reducer is not worker else "reduce",
    )
    graph.add_edge(START, begin)
    send_items(graph, begin, work)
    graph.add_edge(work, gather)
    send_items(graph, gather, combine, END)
    graph.add_edge(combine, gather)
    graph.cost = All(
        (cost_of(decider), Times(cost_of(worker), 1, max_items), Times(cost_of(reducer), 0, max_items - 1))
    )
    return graph
