"""Map-reduce: a worker for each piece of something large, and the results combined level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import All, Times, cost_of
from ...nodes.node import Decider, Node, PlainFunction, Update, record_decision
from ...nodes.sizes import PromptSizes
from ...nodes.splitting import Count, estimate_tokens
from ...state.errors import DefinitionError, InputError
from ...state.schema import StateType, extended, values_of
from ...state.serde import allow
from ..engine.deciding import begin_with, reader_of
from ..engine.options import check_counts, check_field
from ..engine.sharing import SHARING, SharedPart, check_spread, share_items, times
from ..engine.workers import (
    DONE,
    ITEMS,
    MAX_ITEMS,
    SHARED,
    SplitItems,
    WorkerJob,
    WorkerResults,
    check_items,
    check_limits,
    finished,
    left_out,
    send_items,
    worker_node,
)
from ..engine.workflow import NodeLike, Pattern, SoFar, Workflow, name_of, state_of

W = TypeVar("W")

CHANNEL = "stepgraph_level"
LEVELS = 10


@dataclass(frozen=True)
class Level:
    """How far the reduction is: the level under way, and the results that it passes on as they are."""

    number: int = 0
    kept: dict[int, Any] = field(default_factory=dict)


allow(Level)


class _SplitPieces(SplitItems):
    """Makes the pieces, and checks that each fits into the worker's prompt."""

    items = "pieces"

    def __init__(
        self, split: Decider[Any, Any], worker: Any, state: StateType, max_items: int, sizes: PromptSizes
    ) -> None:
        super().__init__("map_reduce", split, state, max_items)
        self._worker = worker
        self._sizes = sizes

    def begin(self, items: list[Any]) -> Update:
        if not items:
            raise InputError(f"{self.name!r} gave no pieces, so there is nothing to map. Is the input empty?")
        for number, item in enumerate(items):
            size = self._sizes.of(self._worker, item)
            if size > self._sizes.tokens:
                raise InputError(
                    f"{self.name!r}: piece {number} makes {size} tokens for {name_of(self._worker)!r}, more "
                    f"than {self._sizes.tokens}. Split finer: split_text(text, tokens=…), and leave room for "
                    "the prompt's own words."
                )
        return {CHANNEL: Level()}


@dataclass(eq=False)
class _Gather(Node[Any]):
    """Groups the results so far for one more level, or writes the last one to the user's field."""

    reduce: Any
    join: Callable[[list[Any]], Any]
    worker_state: StateType
    into: str
    parts: str | None
    missing: str | None
    levels: int
    sizes: PromptSizes
    is_shared: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        level: Level = values_of(input)[CHANNEL]
        results = finished(input)
        update: dict[str, Any] = {SHARED: [], SHARING: ""} if self.is_shared else {}
        if level.number == 0:
            items = [result.item for result in results if result.failure is None]
            if self.parts is not None:
                update[self.parts] = items
            if self.missing is not None:
                update[self.missing] = left_out(results)
            if not items:
                raise InputError(
                    f"None of the {len(results)} pieces gave a result, so there is nothing to reduce. The "
                    f"first one: {results[0].failure}"
                )
        else:
            items = _merged([result.item for result in results], level.kept)
        first, *others = items
        if not others:
            record_decision(config, "map_reduce", "done", reason=f"{level.number} levels of reduction")
            return {**update, self.into: first, ITEMS: [], CHANNEL: Level()}
        return {**update, **self._next(items, level.number + 1, config)}

    def _next(self, items: list[Any], number: int, config: RunnableConfig | None) -> dict[str, Any]:
        groups = self._groups(items)
        if len(groups) == len(items):
            raise InputError(
                f"map_reduce, level {number}: no two of the {len(items)} results fit into "
                f"{self.sizes.tokens} tokens together. Let the worker answer shorter (max_tokens), or raise "
                "tokens."
            )
        if number > self.levels:
            raise InputError(
                f"map_reduce: {len(items)} results are left after {self.levels} levels. Let the worker "
                "answer shorter (max_tokens), or raise tokens or levels."
            )
        record_decision(
            config,
            "map_reduce",
            f"level {number}",
            reason=f"{len(items)} results in {len(groups)} groups: {', '.join(str(len(g)) for g in groups)}",
        )
        singles = {place: first for place, (first, *others) in enumerate(groups) if not others}
        joined = [self._joined(group) for place, group in enumerate(groups) if place not in singles]
        return {ITEMS: joined, CHANNEL: Level(number, singles)}

    def _groups(self, items: list[Any]) -> list[list[Any]]:
        """Return neighbours in groups, each as large as fits."""
        groups = [[items[0]]]
        for item in items[1:]:
            if self.sizes.fits(self.reduce, self._joined([*groups[-1], item])):
                groups[-1].append(item)
            else:
                groups.append([item])
        return groups

    def _joined(self, group: list[Any]) -> Any:
        name = getattr(self.join, "__name__", "join")
        (joined,) = check_items(name, [self.join(list(group))], self.worker_state)
        return joined


def _merged(results: list[Any], singles: dict[int, Any]) -> list[Any]:
    """Return a level's outcome in the order of its groups: the group's result, or what it kept."""
    queue = iter(results)
    places = range(len(results) + len(singles))
    return [singles[place] if place in singles else next(queue) for place in places]


def map_reduce(
    split: Decider[StateT, list[W]] | PlainFunction[StateT, Sequence[W]] | Pattern[StateT],
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
    spread: int | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Run a worker on each piece at once, and reduce the results in levels until one is left.

    `split` gives the pieces, a list of worker states, as in `fan_out`. `join` makes one worker state of
    several neighbouring results, and `reduce` runs on that: any part over the worker's state, by
    default the worker itself. A level takes as many neighbours into a group as fit into `tokens`, the
    size of the whole prompt if the part is a step; it is repeated until one result is left, at most
    `levels` times. `into` is a field of the worker's type, which takes that result; `parts`, a list of
    it, takes those of the single pieces. A single piece needs no reduction.

    `timeout_s`, `failed` and `missing` are as in `fan_out` and concern the pieces; a reduction that
    fails, fails the whole. Raises InputError where a piece, or two results together, do not fit.
    `spread` is as in `fan_out`, and shares the pieces.
    `count` counts tokens; by default they are estimated on the high side, see `estimate_tokens`.

    Costs N calls for N pieces, and one for each group of a level: N - 1 at most.

        map_reduce(passages, sum_up, join=together, into="digest", tokens=1500)
    """
    check_limits("map_reduce", max_items, timeout_s, failed)
    check_spread("map_reduce", spread)
    check_counts("map_reduce", tokens=tokens, levels=levels)
    if not callable(join):
        raise DefinitionError("map_reduce(join=…): expected a function that makes one state of several.")
    decider = reader_of(split, "map_reduce")
    reducer: Any = worker if reduce is None else reduce
    state, worker_state = decider.state, state_of([worker, reducer], "map_reduce")
    check_field("map_reduce", state, worker_state, into=into)
    check_field("map_reduce", state, list[worker_state], parts=parts)  # type: ignore[valid-type]
    check_field("map_reduce", state, dict[str, str], missing=missing)
    graph: Workflow[StateT] = Workflow(state, name or f"map_reduce_{name_of(worker)}")

    sizes = PromptSizes(tokens, count)
    seen = extended(extended(state, DONE, WorkerResults), CHANNEL, Level)
    splitting = _SplitPieces(decider, worker, worker_state, max_items, sizes)
    first, begin = begin_with(graph, decider, splitting, writes=[decider.writes])
    node = worker_node(worker, worker_state, timeout_s, failed)
    work = graph.add_part(worker, reads=WorkerJob, writes=(), runs_as=node)
    plan = None if spread is None else SharedPart(worker, worker_state, timeout_s, failed, spread)
    if plan is not None:
        seen = extended(extended(seen, SHARED, list), SHARING, str)
    gathering = _Gather(reducer, join, worker_state, into, parts, missing, levels, sizes, plan is not None)
    gather = graph.add_part(gathering, "gather", reads=seen, writes=[into, parts, missing])
    title = "reduce" if reducer is worker else None
    node = worker_node(reducer, worker_state, timeout_s, "fail")
    combine = graph.add_part(reducer, title, reads=WorkerJob, writes=(), runs_as=node)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        level = values.get(CHANNEL)
        if not isinstance(level, Level) or not values.get(ITEMS):
            return SoFar()
        hidden = {combine} if level.number else set()
        if parts is None:
            return SoFar(hidden=frozenset({work, *hidden}))
        done = [result.item for result in finished(values) if result.failure is None]
        return SoFar({parts: done} if done and not level.number else {}, frozenset(hidden))

    graph.so_far = so_far
    graph.writes = into
    graph.add_edge(START, first)
    if plan is None:
        send_items(graph, begin, work)
    else:
        share_items(graph, begin, work, gather, plan)
    graph.add_edge(work, gather)
    send_items(graph, gather, combine, END)
    graph.add_edge(combine, gather)
    graph.cost = All(
        (
            cost_of(decider),
            times(cost_of(worker), 1, max_items, plan),
            Times(cost_of(reducer), 0, max_items - 1),
        )
    )
    return graph
