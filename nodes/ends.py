"""An end: the run is done here, with what it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels import EphemeralValue

from ..state.errors import DefinitionError
from ..state.event_loops import in_thread, run_sync
from ..state.run_context import RunContext
from ..state.schema import StateType, restored, values_of
from .node import Update, record_decision

ENDED = "stepgraph_ended"
NO_REASON = "no reason given"

Ended = Annotated[str, EphemeralValue]
"""Why the part that has just run ended the run; the channel is empty again one superstep later."""


class EndState(TypedDict, total=False):
    """What an edge behind a part that may end the run reads."""

    stepgraph_ended: Ended


@dataclass(eq=False, repr=False)
class End(Runnable[Any, Update]):
    """One graph node that ends the run, of whatever state. Made by `end`.

    Where a pattern leads here for a reason of its own, `reason_of` reads it from what the node gets.
    """

    reason: str | Callable[[Any], str] = ""
    over: StateType | None = None
    reason_of: Callable[[Mapping[str, Any]], str] | None = None
    name = "end"

    def on(self, state: StateType, reason: Callable[[Mapping[str, Any]], str] | None = None) -> End:
        """Return this end over a state, with the reason that a pattern has for it."""
        return replace(self, over=state, reason_of=reason)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return run_sync(self.ainvoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        reason = await self._why(input)
        record_decision(config, "end", "ended", reason=reason or None)
        session = RunContext.of(config).session
        shown = session.journal.mask.text(reason) if session is not None else reason
        return {ENDED: shown or NO_REASON}

    async def _why(self, input: Any) -> str:
        if callable(self.reason):
            return str(await in_thread(self.reason, restored(input, self.over) if self.over else input))
        return self.reason or (self.reason_of(values_of(input)) if self.reason_of else "")


def end(reason: str | Callable[[Any], str] = "") -> End:
    """Make a part that ends the run: it is done, with the state as it is, and nothing behind this part runs.

    It stands wherever a part does: as a branch of `route`, or as the `otherwise` of a gate, guard or
    attempt, whose reason it takes over if it has none of its own. `reason` is text, or a function from the
    state to text; it is on record, and in `RunResult.ended_early`.

    The whole run ends, however deep this part is nested. But a part that runs beside others (a branch of a
    section, a voter, a candidate, a worker) ends alone, and the others go on; and a graph that was
    compiled before it became a part is a run of its own. In a graph written by hand, use LangGraph's END.
    Costs no model call.

        chain(classify, gate(is_ours, otherwise=end()), answer)
    """
    if inspect.iscoroutinefunction(reason) or not (callable(reason) or isinstance(reason, str)):
        raise DefinitionError(f"end({reason!r}): expected text, or a plain function from the state to text.")
    return End(reason)


def has_ended(state: Mapping[str, Any]) -> bool:
    """Tell whether the part that has just run ended the run."""
    return bool(state.get(ENDED))
