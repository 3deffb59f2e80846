"""A gate: a check between the steps of a chain that lets the run pass or stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, overload

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..state.errors import DefinitionError, GateFailed
from ..state.recorder import json_text
from ..state.schema import StateType, signature_types, values_of
from .node import Node, Valued, record_decision

V = TypeVar("V")
MAX_SHOWN = 400


class Gate(Node[StateT], Generic[StateT]):
    """One graph node that raises GateFailed unless its check passes. Made by `gate`."""

    def __init__(
        self,
        name: str,
        judge: Callable[[StateT, RunnableConfig | None], Any],
        *,
        state: StateType,
        after: Any = None,
    ) -> None:
        self.name = name
        self.state = state
        self._judge = judge
        self._after = after

    def behind(self, part: Any, name: str) -> Gate[StateT]:
        """Return this gate, placed behind a part of a chain, for its error to name."""
        return Gate(self.name, self._judge, state=self.state, after=(part, name))

    async def ainvoke(
        self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        reason, update = await self._judge(input, config)
        if reason is None:
            record_decision(config, "gate", "passed")
            return dict(update)
        record_decision(config, "gate", "stopped", reason=reason)
        part, step = self._after or (None, "the input")
        output = {**values_of(input), **update}
        field = getattr(part, "writes", None)
        shown = json_text(output.get(field, output))
        if len(shown) > MAX_SHOWN:
            shown = shown[:MAX_SHOWN] + "…"
        raise GateFailed(
            f"Gate {self.name!r} stopped the chain after {step!r}: {reason} "
            f"Intermediate {f'{field} ' if field else 'state '}was: {shown}",
            step=step,
            reason=reason,
            output=output,
        )


@overload
def gate(check: Valued[StateT, V], passes: Callable[[V], bool]) -> Gate[StateT]: ...
@overload
def gate(check: Callable[[StateT], bool | str | None]) -> Gate[StateT]: ...
def gate(check: Any, passes: Callable[[Any], bool] | None = None) -> Gate[Any]:
    """Make a gate for a chain.

    `check` is a function of the state that returns True or None to pass, False or the reason (text)
    to stop; or a step or rule, whose value `passes` judges. The gate raises GateFailed, with the step
    before it, the reason and the intermediate state.

        chain(plan, gate(has_five_points), write)
    """
    if passes is None:
        if not callable(check) or isinstance(check, Node):
            raise DefinitionError(
                "gate(step) needs `passes`, which judges the step's value: gate(judge, lambda g: g.ok)."
            )
        return Gate(getattr(check, "__name__", "gate"), _plain(check), state=signature_types(check)[0])
    if not hasattr(check, "answer"):
        raise DefinitionError("gate(check, passes) needs a step or a rule as its check.")
    return Gate(check.name, _valued(check, passes), state=check.state)


def _plain(check: Callable[[Any], bool | str | None]) -> Any:
    async def judge(state: Any, _: RunnableConfig | None) -> tuple[str | None, dict[str, Any]]:
        verdict = check(state)
        if verdict is None or verdict is True or verdict == "":
            return None, {}
        return (verdict if isinstance(verdict, str) else "the check failed."), {}

    return judge


def _valued(check: Valued[Any, Any], passes: Callable[[Any], bool]) -> Any:
    async def judge(state: Any, config: RunnableConfig | None) -> tuple[str | None, dict[str, Any]]:
        value = await check.answer(state, config)
        shown = json_text(value)
        return (None if passes(value) else f"{check.name} said {shown}."), check.update(value)

    return judge
