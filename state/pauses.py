"""A budget's end as a LangGraph interrupt: the branches beside it finish, and the run can be resumed.

An exception would cancel the branches that are under way, and with them answers that are paid for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from .errors import BudgetEnded

KIND = "stepgraph_budget_ended"


def paused(ended: BudgetEnded, task: str) -> GraphInterrupt:
    """Return the interrupt that stands for a budget's end in one node execution."""
    value = {
        "kind": KIND,
        "message": str(ended),
        "limit": ended.limit,
        "scope": ended.scope,
        "budget": ended.budget,
        "spent": ended.spent,
    }
    return GraphInterrupt([Interrupt(value=value, id=f"budget:{task}")])


def budget_end(interrupts: Iterable[Interrupt]) -> dict[str, Any] | None:
    """Return what the first budget's end among interrupts says, None if there is none."""
    for interrupt in interrupts:
        if isinstance(interrupt.value, dict) and interrupt.value.get("kind") == KIND:
            return interrupt.value
    return None
