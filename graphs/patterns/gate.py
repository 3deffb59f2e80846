"""The gate: a check that lets the run pass, has the work repaired, sends it elsewhere, or stops it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, TypedDict, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, Opinion, StateCheck
from ...nodes.costs import All, Cost, OneOf, Times, cost_of
from ...nodes.gates import Gate, gate_failed
from ...nodes.node import Decider, Node, Update
from ...nodes.steps import Step
from ...state.schema import extended, restored, values_of
from ...state.serde import allow
from ..engine.deciding import answer_of, ask_first, before_of, check_by
from ..engine.options import check_counts
from ..engine.reset import Reset
from ..engine.ways import add_instead
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

V = TypeVar("V")

CHANNEL = "stepgraph_repairs"
PASSED, REPAIR, OTHERWISE = "passed", "repair", "otherwise"
TRIES = 2


@dataclass(frozen=True)
class Repairs:
    """The gate's private record: how often it had the work repaired, why, and where the run goes now."""

    number: int = 0
    reason: str = ""
    way: str = PASSED


allow(Repairs)


class GateState(TypedDict):
    """What the gate's edge reads."""

    stepgraph_repairs: Repairs


@dataclass(eq=False)
class _Decide(Node[Any]):
    """Checks, and decides what happens to work that fails."""

    check: Check[Any]
    repair: Any
    tries: int
    otherwise: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        values = values_of(input)
        past: Repairs = values.get(CHANNEL) or Repairs()
        result = await self.check.answer(restored(input, self.check.state), config)
        if result.passed:
            way = PASSED
        elif self.repair is not None and past.number < self.tries:
            way = REPAIR
        elif self.otherwise:
            way = OTHERWISE
        else:
            self.check.record(config, "stopped", result)
            field = getattr(self.repair, "writes", None)
            step = self.check.name if self.repair is None else name_of(self.repair)
            raise gate_failed(self.check.name, result, values, step=step, field=field, repairs=past.number)
        self.check.record(config, way, result)
        number = past.number + (way == REPAIR)
        return {**self.check.update(result), CHANNEL: Repairs(number, result.reason, way)}


@dataclass(eq=False)
class _Repair(Node[Any]):
    """Asks a step once more, naming what is wrong with the answer that it gave."""

    step: Step[Any, Any]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        reason = values_of(input)[CHANNEL].reason
        return self.step.update(await self.step.again(restored(input, self.step.state), reason, config))


@overload
def gate(
    check: Decider[StateT, V], passes: Callable[[V], Opinion], *, name: str | None = None
) -> Gate[StateT]: ...
@overload
def gate(check: StateCheck[StateT], *, name: str | None = None) -> Gate[StateT]: ...
@overload
def gate(
    check: Workflow[StateT, V],
    passes: Callable[[V], Opinion],
    *,
    repair: NodeLike[StateT] | None = None,
    tries: int = TRIES,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def gate(
    check: CompiledStateGraph[Any, Any, Any, Any],
    passes: Callable[[Any], Opinion],
    *,
    repair: NodeLike[StateT] | None = None,
    tries: int = TRIES,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def gate(
    check: Decider[StateT, V],
    passes: Callable[[V], Opinion],
    *,
    repair: NodeLike[StateT] | None = None,
    tries: int = TRIES,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def gate(
    check: StateCheck[StateT],
    *,
    repair: NodeLike[StateT] | None = None,
    tries: int = TRIES,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
def gate(
    check: Any,
    passes: Callable[[Any], Opinion] | None = None,
    *,
    repair: NodeLike[Any] | None = None,
    tries: int = TRIES,
    otherwise: NodeLike[Any] | None = None,
    name: str | None = None,
) -> Gate[Any] | Workflow[Any]:
    """Let the run pass if a check passes; else repair, go elsewhere, or stop.

    `check` is a function of the state that returns True or None to pass, False or the reason (text)
    not to, plain or async; or a step, rule or pattern, whose value `passes` judges: True to pass, False or
    the reason not to. A pattern's value is the field that it answers with, such as a vote's.

    With `repair`, what fails is repaired and checked again, at most `tries` times. A step is asked
    again: it sees its answer and the reason, as it does when an answer does not fit its type; so its
    prompt needs to know nothing of gates. Any other part runs as it is, and may read what the check
    wrote. What still fails goes to `otherwise`, and the run goes on behind the gate (or ends, if that
    is an `end`); without one, GateFailed is raised with the step, the reason and the intermediate state.

    Costs what the check costs, nothing if it is code; with `repair`, at most `tries` x (repair + check)
    more; with `otherwise`, at most what that part costs more.

        chain(plan, gate(has_five_points, repair=plan), write)
    """
    checking = check_by(check, passes, "gate")
    if repair is None and otherwise is None and before_of(checking) is None:
        return Gate(checking if name is None else replace(checking, name=name))
    return gated(checking, repair=repair, tries=tries, otherwise=otherwise, name=name)


def gated(
    check: Check[Any],
    *,
    repair: Any = None,
    tries: int = TRIES,
    otherwise: Any = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Return a gate that does not stop at once, as a graph."""
    check_counts("gate", tries=tries)
    parts = [part for part in (repair, otherwise) if part is not None]
    state = state_of([check, *parts], "gate")
    graph: Workflow[Any] = Workflow(state, name or f"gate_{check.name}")
    private = extended(state, CHANNEL, Repairs)
    deciding = _Decide(check, repair, tries, otherwise=otherwise is not None)
    title = None if before_of(check) is None else "decide"
    decide = graph.add_part(deciding, title, reads=private, writes=[check.writes], stands_for=check)

    asked = ask_first(graph, check)
    first = decide if asked is None else asked
    if asked is not None:
        graph.connect(asked, decide)
    ways: dict[Hashable, str] = {PASSED: END}
    cost: list[Cost] = [check.cost]
    if repair is None:
        graph.add_edge(START, first)
    else:
        begin = graph.add_part(Reset(CHANNEL, Repairs()), "begin")
        graph.add_edge(START, begin)
        graph.add_edge(begin, first)
        if isinstance(repair, Step):
            ways[REPAIR] = graph.add_part(
                _Repair(repair), reads=private, writes=[repair.writes], stands_for=repair
            )
        else:
            ways[REPAIR] = graph.add_part(repair)
        graph.connect(ways[REPAIR], first)
        cost.append(Times(All((cost_of(repair), check.cost)), 0, tries))
    if otherwise is not None:
        ways[OTHERWISE] = add_instead(graph, otherwise, None, private, lambda values: values[CHANNEL].reason)
        graph.add_edge(ways[OTHERWISE], END)
        cost.append(OneOf((All(), cost_of(otherwise))))

    def way(state: GateState) -> str:
        return state["stepgraph_repairs"].way

    graph.add_conditional_edges(decide, way, ways)
    graph.cost = All(tuple(cost))
    graph.writes = answer_of(repair)
    return graph
