"""Verification: a second, different model checks the first one's answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, CheckResult, Opinion
from ...nodes.costs import Cost, asks_in, cost_of
from ...nodes.gates import Gate
from ...nodes.node import Decider
from ...nodes.steps import Step
from ...state.errors import DefinitionError
from ..engine.deciding import answer_of, before_of, check_by
from ..engine.workflow import NodeLike, Workflow, name_of
from .chain import chain
from .gate import gated

V = TypeVar("V")


@overload
def verify(
    produce: NodeLike[StateT],
    check: Decider[StateT, V],
    *,
    agrees: Callable[[V], Opinion],
    tries: int = 0,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def verify(
    produce: NodeLike[StateT],
    check: Workflow[StateT, V],
    *,
    agrees: Callable[[V], Opinion],
    tries: int = 0,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def verify(
    produce: NodeLike[StateT],
    check: CompiledStateGraph[Any, Any, Any, Any],
    *,
    agrees: Callable[[Any], Opinion],
    tries: int = 0,
    otherwise: NodeLike[StateT] | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
def verify(
    produce: NodeLike[Any],
    check: Any,
    *,
    agrees: Callable[[Any], Opinion],
    tries: int = 0,
    otherwise: NodeLike[Any] | None = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Produce an answer and let another model check it; `agrees` judges the checker's value.

    On disagreement the producer is asked again at most `tries` times, with its answer and the reason
    before it; what is still disputed goes to `otherwise`, a stronger model or a person, or else stops
    the run with GateFailed. The reason is what `agrees` returns as text, else the checker's value.

    A model that checks itself repeats its mistakes, so a checker on the producer's own role is refused
    (DefinitionError); where two roles turn out to be bound to one model, the decision on record says so.

    Costs (1 + tries) x (producer + checker) at most, and then what `otherwise` costs: two steps make two
    model calls if they agree at once.

        verify(solve, check.on("judge"), agrees=lambda review: review.correct or review.why, tries=1)
    """
    if not isinstance(tries, int) or tries < 0:
        raise DefinitionError(f"verify(tries={tries!r}): expected a whole number, 0 or more.")
    checking = check_by(check, agrees, "verify", "verify")
    makers, checkers = _steps_in(cost_of(produce)), _steps_in(checking.cost)
    if not checkers:
        raise DefinitionError(
            f"verify: {checking.name!r} asks no model. For a check in code: chain(produce, gate(check))."
        )
    _refuse_self(makers, checkers)
    second = _noting_self(checking, makers, checkers)
    gate: NodeLike[Any] = Gate(second)
    if tries or otherwise is not None or before_of(second) is not None:
        gate = gated(second, repair=produce if tries else None, tries=tries or 1, otherwise=otherwise)
    graph = chain(produce, gate, name=name or f"verify_{name_of(produce)}")
    graph.writes = answer_of(produce)
    return graph


def _steps_in(cost: Cost) -> list[Step[Any, Any]]:
    return [asks.step for asks in asks_in(cost) if isinstance(asks.step, Step)]


def _refuse_self(makers: list[Step[Any, Any]], checkers: list[Step[Any, Any]]) -> None:
    models, checked = ({step.model_label for step in steps} for steps in (makers, checkers))
    if models and models <= checked:
        first = next(step for step in checkers if step.model_label in models)
        raise DefinitionError(
            f"verify: {first.name!r} would ask the model that gave the answer ({', '.join(sorted(models))}), "
            f'which repeats its own mistakes. Give it a role of its own: {first.name}.on("judge").'
        )


def _noting_self(
    check: Check[Any], makers: list[Step[Any, Any]], checkers: list[Step[Any, Any]]
) -> Check[Any]:
    """Return a check that notes when its model turns out to be the one that gave the answer."""

    async def judge(state: Any, config: RunnableConfig | None) -> CheckResult:
        result = await check.answer(state, config)
        answered = {(await step.bound_model(config)).name for step in makers}
        checked = {(await step.bound_model(config)).name for step in checkers}
        if answered and answered <= checked:
            note = f"checked by the model that gave the answer, {', '.join(sorted(answered))}"
            return result.model_copy(update={"note": note})
        return result

    return replace(check, judge=judge)
