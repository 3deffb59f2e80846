"""The guard: a check runs beside the main work, and stops it when it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict, overload

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, Opinion
from ...nodes.costs import All, OneOf, cost_of
from ...nodes.node import Decider, Node, Update
from ...state.errors import GuardTripped
from ...state.schema import extended, restored, values_of
from ...state.serde import allow
from ..engine.branches import Branch, branch
from ..engine.deciding import answer_of, before_of, check_by
from ..engine.race import RACE, Race, Start, forget_race, race_of
from ..engine.ways import add_instead
from ..engine.workers import applied
from ..engine.workflow import NodeLike, SoFar, Workflow, name_of, state_of
from ..engine.writes import spread

V = TypeVar("V")

RESULTS = "stepgraph_held"
TRIPPED = "stepgraph_tripped"
MAIN, GUARD = range(2)


@dataclass(frozen=True)
class GuardResult:
    """The update of one of the two, kept back until the other is done, and why the guard does not pass."""

    who: int
    update: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


GuardResults = Annotated[list[GuardResult], Topic]

allow(GuardResult)


class GuardState(TypedDict):
    """What the edge behind both reads: why the guard tripped, empty if it did not."""

    stepgraph_tripped: str


@dataclass(eq=False)
class _Watch(Node[Any]):
    """Checks; ends the race if the check fails."""

    check: Check[Any]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return await self.by(input, config or {}, None)

    async def by(self, input: Any, config: RunnableConfig, work: Branch | None) -> Update:
        """Check by what a pattern writes, which runs first."""
        race = await race_of(input, config, GUARD, RESULTS, _note)
        state, written = restored(input, self.check.state), {}
        if work is not None:
            written = await work()
            state = applied(state, written)
        checked = await self.check.answer(state, config)
        self.check.record(config, "passed" if checked.passed else "tripped", checked)
        update = {**written, **self.check.update(checked)}
        result = GuardResult(GUARD, update, None if checked.passed else checked.reason)
        _note(race, result)
        return {RESULTS: result}


async def _guarded(state: Any, config: RunnableConfig, work: Branch) -> Update:
    race = await race_of(state, config, MAIN, RESULTS, _note)
    update = await race.run(MAIN, work)
    return {} if update is None else {RESULTS: GuardResult(MAIN, update)}


def _note(race: Race, result: GuardResult) -> int:
    if result.who == GUARD and result.reason is not None:
        race.call_off()
    return result.who


@dataclass(eq=False)
class _Settle(Node[Any]):
    """Lets the main work's result out if the guard passed it.

    Until here nothing of it is in the user's state, only in the private channel: a checkpoint, a stream
    or a crash between the two cannot show what the guard would have stopped.
    """

    guard: str
    main: str
    otherwise: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        forget_race(input, config)
        update, reason = _outcome(values_of(input)[RESULTS])
        if reason is not None and not self.otherwise:
            raise GuardTripped(f"Guard {self.guard!r} stopped {self.main!r}: {reason}", reason=reason)
        return spread({**update, TRIPPED: reason or ""})


def _outcome(results: Iterable[GuardResult]) -> tuple[Update, str | None]:
    """Return what may get out, and why the guard does not pass."""
    update: Update = {}
    reason = None
    for result in sorted(results, key=lambda result: result.who):
        if result.who == GUARD:
            reason = result.reason
            update = {**({} if reason is not None else update), **result.update}
        else:
            update = dict(result.update)
    return update, reason


@overload
def guard(
    main: NodeLike[StateT],
    check: Workflow[StateT, V],
    passes: Callable[[V], Opinion],
    *,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def guard(
    main: NodeLike[StateT],
    check: CompiledStateGraph[Any, Any, Any, Any],
    passes: Callable[[Any], Opinion],
    *,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def guard(
    main: NodeLike[StateT],
    check: Decider[StateT, V],
    passes: Callable[[V], Opinion],
    *,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def guard(
    main: NodeLike[StateT],
    check: Callable[[StateT], Opinion | Awaitable[Opinion]],
    *,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
def guard(
    main: NodeLike[Any],
    check: Any,
    passes: Callable[[Any], Opinion] | None = None,
    *,
    otherwise: NodeLike[Any] | None = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Run `main` and a safety check beside it; nothing that `main` wrote gets out unless the check passes.

    `check` and `passes` are those of a gate: a function of the state that returns True, or the reason
    not to pass; or a step, rule or pattern whose value `passes` judges. The check sees the state as it was
    before `main`. If it fails, `main` is cancelled at once, calls under way included, and what it wrote
    is dropped; `otherwise` runs, or GuardTripped is raised with the reason. A check that raises
    lets nothing out.

    If both take equally long, the guard adds no time. Costs what `main` and the check cost, with
    `otherwise` in place of what is left of `main` if the check fails.

        guard(answer, screen, lambda verdict: verdict.safe, otherwise=decline)
    """
    watch = check_by(check, passes, "guard", "guard")
    parts = [main, watch, *([otherwise] if otherwise is not None else [])]
    state = state_of(parts, "guard")
    graph: Workflow[Any] = Workflow(state, name or f"guard_{name_of(main)}")
    seen = extended(state, RACE, str)

    start = graph.add_part(Start(), "start")
    work = graph.add_part(main, runs_as=branch(main, graph, _guarded, ends=True), reads=seen)
    before, watching = before_of(watch), _Watch(watch)
    if before is None:
        beside = graph.add_part(watching, reads=seen, writes=[watch.writes], stands_for=watch)
    else:
        beside = graph.add_part(before, reads=seen, runs_as=branch(before, graph, watching.by))
    settling = _Settle(watch.name, work, otherwise=otherwise is not None)
    settle = graph.add_part(settling, "settle", reads=extended(seen, RESULTS, GuardResults))
    graph.held.add(work)
    graph.inlined.add(work)
    graph.ends_like(settle, main)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        results = values.get(RESULTS) or ()
        checked = any(result.who == GUARD for result in results)
        return SoFar(_outcome(results)[0] if checked else {})

    graph.so_far = so_far
    graph.writes = answer_of(main)
    graph.add_edge(START, start)
    for node in (work, beside):
        graph.add_edge(start, node)
        graph.add_edge(node, settle)
    if otherwise is None:
        graph.add_edge(settle, END)
    else:
        tripped = extended(state, TRIPPED, str)
        instead = add_instead(graph, otherwise, "otherwise", tripped, lambda values: str(values[TRIPPED]))

        def way(state: GuardState) -> str:
            return "tripped" if state["stepgraph_tripped"] else "passed"

        graph.add_conditional_edges(settle, way, {"passed": END, "tripped": instead})
        graph.add_edge(instead, END)
    graph.cost = All(
        (watch.cost, cost_of(main), *([OneOf((All(), cost_of(otherwise)))] if otherwise is not None else []))
    )
    return graph
