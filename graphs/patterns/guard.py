"""The guard: a check runs beside the main work, and stops it when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict, overload

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, Opinion, check_of
from ...nodes.costs import All, OneOf, cost_of
from ...nodes.node import Decider, Node
from ...state.errors import GuardTripped
from ...state.schema import extended, values_of
from ...state.serde import allow
from ..engine.branches import Branch, branch
from ..engine.race import RACE, Race, Start, forget_race, race_of
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

V = TypeVar("V")

HELD = "stepgraph_held"
OPEN = "stepgraph_open"
MAIN, GUARD = 0, 1


@dataclass(frozen=True)
class Held:
    """What one of the two found: the update, held back until the other is done, and a verdict."""

    who: int
    update: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


Both = Annotated[list[Held], Topic]

allow(Held)


class Opened(TypedDict):
    """What the edge behind both reads."""

    stepgraph_open: bool


class _Watch(Node[Any]):
    """Checks; ends the race if the check fails."""

    def __init__(self, check: Check[Any]) -> None:
        self.name = check.name
        self._check = check

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        config = config or {}
        race = await race_of(input, config, GUARD, HELD, _note)
        finding = await self._check.answer(input, config)
        self._check.record(config, "passed" if finding.passed else "tripped", finding)
        held = Held(GUARD, self._check.update(finding), None if finding.passed else finding.reason)
        _note(race, held)
        return {HELD: held}


async def _guarded(state: Any, config: RunnableConfig, work: Branch) -> dict[str, Any]:
    race = await race_of(state, config, MAIN, HELD, _note)
    found = await race.run(MAIN, work)
    return {} if found is None else {HELD: Held(MAIN, found)}


def _note(race: Race, held: Held) -> int:
    if held.who == GUARD and held.reason is not None:
        race.call_off()
    return held.who


class _Settle(Node[Any]):
    """Lets the main work's result out if the guard passed it."""

    name = "settle"

    def __init__(self, guard: str, main: str, *, otherwise: bool) -> None:
        self._guard = guard
        self._main = main
        self._otherwise = otherwise

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        forget_race(input, config)
        update: dict[str, Any] = {}
        reason = None
        for held in sorted(values_of(input).get(HELD) or (), key=lambda held: held.who):
            if held.who == GUARD:
                reason = held.reason
                update = {**({} if reason is not None else update), **held.update}
            else:
                update = dict(held.update)
        if reason is not None and not self._otherwise:
            raise GuardTripped(f"Guard {self._guard!r} stopped {self._main!r}: {reason}", reason=reason)
        return {**update, OPEN: reason is None}


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
    check: Callable[[StateT], Opinion],
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
    not to pass; or a step or rule whose value `passes` judges. The check sees the state as it was
    before `main`. If it fails, `main` is cancelled at once, calls under way included, and what it wrote
    is dropped; `otherwise` runs, or GuardTripped is raised with the reason. A check that raises
    lets nothing out.

    If both take equally long, the guard adds no time. Costs what `main` and the check cost, with
    `otherwise` in place of what is left of `main` if the check fails.

        guard(answer, screen, lambda verdict: verdict.safe, otherwise=decline)
    """
    watch = check_of(check, passes, "guard", "guard")
    parts = [main, watch, *([otherwise] if otherwise is not None else [])]
    state = state_of(parts, "guard")
    graph: Workflow[Any] = Workflow(state, name or f"guard_{name_of(main)}")
    seen = extended(state, RACE, str)

    start = graph.take_node(Start(), state)
    work = graph.take_lane(main, name_of(main), branch(main, graph, _guarded), seen)
    beside = graph.take_node(_Watch(watch), seen)
    settle = graph.take_node(
        _Settle(watch.name, work, otherwise=otherwise is not None), extended(seen, HELD, Both)
    )
    graph.add_edge(START, start)
    for node in (work, beside):
        graph.add_edge(start, node)
        graph.add_edge(node, settle)
    graph.note_writes(watch.writes)
    if otherwise is None:
        graph.add_edge(settle, END)
    else:
        instead = graph.take(otherwise, "otherwise")

        def way(opened: Opened) -> str:
            return "passed" if opened["stepgraph_open"] else "tripped"

        graph.add_conditional_edges(settle, way, {"passed": END, "tripped": instead})
        graph.add_edge(instead, END)
    graph.cost = All(
        (watch.cost, cost_of(main), *([OneOf((All(), cost_of(otherwise)))] if otherwise else []))
    )
    return graph
