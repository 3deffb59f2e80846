"""A gate: a check between the steps of a chain that lets the run pass or stops it. Made by `gate`."""

from __future__ import annotations

from typing import Any, Generic

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT

from ..state.errors import GateFailed
from ..state.json_text import json_text
from ..state.names import without_private
from ..state.schema import values_of
from .checks import Check, CheckResult
from .node import Node, Update

MAX_SHOWN = 400


class Gate(Node[StateT], Generic[StateT]):
    """One graph node that raises GateFailed unless its check passes."""

    def __init__(self, check: Check[StateT], *, after: Any = None) -> None:
        self.name = check.name
        self.state = check.state
        self.writes = check.writes
        self.cost = check.cost
        self.function = check.function
        self._check = check
        self._after = after

    def behind(self, part: Any, name: str) -> Gate[StateT]:
        """Return this gate, placed behind a part of a chain, for its error to name."""
        return Gate(self._check, after=(part, name))

    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        result = await self._check.answer(input, config)
        if result.passed:
            self._check.record(config, "passed", result)
            return self._check.update(result)
        self._check.record(config, "stopped", result)
        part, step = self._after or (None, "the input")
        raise gate_failed(self.name, result, values_of(input), step=step, field=getattr(part, "writes", None))


def gate_failed(
    gate: str, result: CheckResult, state: dict[str, Any], *, step: str, field: str | None, repairs: int = 0
) -> GateFailed:
    """Return the error that names the gate, the step before it, the reason and the intermediate output."""
    output, shown = shown_output({**state, **result.written}, field)
    tried = f", repaired {repairs} x" if repairs else ""
    return GateFailed(
        f"Gate {gate!r} stopped the chain after {step!r}{tried}: {result.reason} "
        f"Intermediate {f'{field} ' if field else 'state '}was: {shown}",
        step=step,
        reason=result.reason,
        output=output,
    )


def shown_output(state: dict[str, Any], field: str | None) -> tuple[dict[str, Any], str]:
    """Return a state without the patterns' bookkeeping, and one field of it, or all, for a message."""
    output = without_private(state)
    shown = json_text(output.get(field, output) if field else output)
    return output, shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "…"
