"""A budget's end as a LangGraph interrupt: the branches beside it finish, and the run can be resumed.

An exception would cancel the branches that are under way, and with them answers that are paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.types import Interrupt

from ..errors import BudgetExceeded, StepgraphError
from ..names import BUDGET_ENDED


def budget_interrupt(ended: BudgetExceeded, task: str) -> GraphInterrupt:
    """Return the interrupt that stands for a budget's end in one node execution."""
    value = {
        "kind": BUDGET_ENDED,
        "message": str(ended),
        "limit": ended.limit,
        "scope": ended.scope,
        "budget": ended.budget,
        "spent": ended.spent,
        "is_shared": ended.is_shared,
        "per": ended.per,
        "ends_at": ended.ends_at,
    }
    return GraphInterrupt([Interrupt(value=value, id=f"budget:{task}")])


def is_budget_end(interrupt: Interrupt) -> bool:
    """Tell whether an interrupt stands for a budget's end, so that nobody is asked anything."""
    return isinstance(interrupt.value, dict) and interrupt.value.get("kind") == BUDGET_ENDED


def budget_end(interrupts: Iterable[Interrupt]) -> dict[str, Any] | None:
    """Return what the first budget's end among interrupts says, None if there is none."""
    for interrupt in interrupts:
        if is_budget_end(interrupt):
            value: dict[str, Any] = interrupt.value
            return value
    return None


def leader_of(group: ExceptionGroup[Exception]) -> Exception | None:
    """Return the one error of a task group that says what becomes of the run, None for any others.

    A budget's end or an interrupt must pause the run, and a full disk must stop it, also from inside.
    """
    leaves = list(_leaves(group))
    if all(isinstance(leaf, GraphBubbleUp) for leaf in leaves):
        return leaves[0]
    return next((leaf for leaf in leaves if isinstance(leaf, StepgraphError)), None)


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
