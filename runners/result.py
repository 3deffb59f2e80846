"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal

from langgraph.types import Interrupt
from typing_extensions import TypeVar

from ..state.cost import Cost
from ..state.schema import state_of_values

ValueT = TypeVar("ValueT", covariant=True, default=Any)
RunStatus = Literal["done", "partial", "interrupted"]


@dataclass(frozen=True)
class BudgetEnd:
    """Which limit of a budget ended a run, and whose budget it was: "the run", or a part's.

    Of one that threads share (`is_shared`) it is their `scope`, with its period `per`, and when that ends, in
    Unix seconds.
    """

    message: str
    limit: str
    scope: str
    is_shared: bool = False
    per: str | None = None
    ends_at: int | None = None


@dataclass(frozen=True)
class RunResult(Generic[ValueT]):
    """How a run ended.

    `value` is the state as its own type, and `values` the same as a dict; unless the run is done, it is the
    best so far, with the work of branches and loops that did not finish. `partial` means that a budget
    ended: `missing` has the paths of the nodes that were still to run, `budget_end` the limit. `waiting`
    holds what interrupts ask. `unmerged` has the answers that were paid for and have no field yet, such as
    half of a vote, by the path of the node that asked. Go on with `resume(graph, session, thread_id)`, with
    an answer if the run waits for one. `cut` has the paths of the steps whose text was cut at its limit of
    tokens; `Ask(…, whole=True)` does not take such a text. `ended_early` is the reason of the `end` that made
    the run done before its last part.
    """

    thread_id: str
    status: RunStatus
    values: dict[str, Any]
    spent: Cost
    missing: tuple[str, ...] = ()
    budget_end: BudgetEnd | None = None
    waiting: tuple[Interrupt, ...] = ()
    unmerged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ended_early: str | None = None
    cut: tuple[str, ...] = ()
    state_type: type[Any] = field(default=dict, repr=False)

    @cached_property
    def value(self) -> ValueT:
        """The state as its own type: what LangGraph's v2 calls have as `value`.

        Raises InputError where the values make none, such as those of a thread that waits to begin.
        """
        value: ValueT = state_of_values(self.state_type, self.values)
        return value

    @property
    def limit(self) -> str | None:
        """The message that says which limit ended the run."""
        return None if self.budget_end is None else self.budget_end.message
