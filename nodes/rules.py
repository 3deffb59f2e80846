"""A rule: code that answers what a step would ask a model."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, overload

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..state.errors import DefinitionError
from ..state.event_loops import outcome_of, run_sync
from ..state.fitting import fitted
from ..state.schema import StateType, caller_names, signature_types
from .decisions import is_decision
from .node import AnswerNode, Decider, Update
from .steps import check_writes

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class Rule(AnswerNode[StateT, T], Generic[StateT, T]):
    """One graph node that computes a value and, if it has a field, writes it there.

    Made by `rule`, or from a plain function that a route or refine loop is given.
    """

    function: Callable[[StateT], T | Awaitable[T]]
    writes: str | None
    state: StateType
    answer_type: Any

    def __post_init__(self) -> None:
        self.__doc__ = self.function.__doc__
        self.name = getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, state: StateT) -> T:
        """Return the value for a state: for tests."""
        value = self.function(state)
        return run_sync(_awaited(value)) if inspect.isawaitable(value) else value

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> T:
        """Return the value; plain code runs in a thread, so that slow code holds nothing else up."""
        value: T = await outcome_of(self.function, state)
        if self.writes is None and isinstance(value, dict) and not is_decision(value):
            raise DefinitionError(
                f"{self.name} returned a dict, but it decides by its value and writes nothing. To keep a "
                f'value in the state, make it a rule: @rule("field") over a function that returns the value.'
            )
        return value

    def update(self, value: T) -> Update:
        if self.writes is not None:
            value = fitted(self.state, self.writes, value, f"Rule {self.name!r}")
        return super().update(value)

    def invoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return self.update(self(input))


async def _awaited(value: Awaitable[T]) -> T:
    return await value


class RuleMaker(Protocol):
    """What `rule` returns: it makes a rule of a function, plain or async."""

    @overload
    def __call__(self, function: Callable[[StateT], Coroutine[Any, Any, T]], /) -> Rule[StateT, T]: ...
    @overload
    def __call__(self, function: Callable[[StateT], T], /) -> Rule[StateT, T]: ...


def rule(writes: str) -> RuleMaker:
    """Make a rule of a function from state to a value; `writes` is the field that takes the value.

    The function is plain code, or async where it waits for something.

    @rule("problems")
    def check(post: Post) -> list[str]:
        return [] if len(post.draft) < 2000 else ["Too long: at most 2000 characters."]
    """
    if callable(writes):
        raise DefinitionError('rule needs the field it writes: @rule("problems"), not @rule.')
    namespace = caller_names()

    def decorate(function: Any) -> Any:
        state, returns = signature_types(function, namespace)
        check_writes(function.__name__, state, writes, Any if returns is None else returns)
        return Rule(function, writes, state, returns)

    return decorate


def decider_of(part: Any, where: str) -> Decider[Any, Any]:
    """Return what decides: the part, or a plain function of the state as a rule that writes nothing."""
    if isinstance(part, Decider):
        return part
    if not callable(part):
        raise DefinitionError(f"{where}: {part!r} is no step, no rule and no function of the state.")
    state, returns = signature_types(part)
    return Rule(part, None, state, returns)
