"""A rule: code that answers what a step would ask a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from langchain_core.runnables import RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..state.errors import DefinitionError
from ..state.event_loops import in_thread
from ..state.fitting import fitted
from ..state.schema import StateType, caller_names, signature_types
from .node import AnswerNode, Decider, Update
from .steps import check_writes

T = TypeVar("T")


@dataclass(eq=False, repr=False)
class Rule(AnswerNode[StateT, T], Generic[StateT, T]):
    """One graph node that computes a value and, if it has a field, writes it there.

    Made by `rule`, or from a plain function that a route or refine loop is given.
    """

    function: Callable[[StateT], T]
    writes: str | None
    state: StateType
    answer_type: Any

    def __post_init__(self) -> None:
        self.__doc__ = self.function.__doc__
        self.name = getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, state: StateT) -> T:
        """Return the value for a state: for tests."""
        return self.function(state)

    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> T:
        """Return the value; computed in a thread, so that slow code holds nothing else up."""
        value = await in_thread(self.function, state)
        if self.writes is None and isinstance(value, dict):
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
        return self.update(self.function(input))


def rule(
    writes: str,
) -> Callable[[Callable[[StateT], T]], Rule[StateT, T]]:
    """Make a rule of a function from state to a value; `writes` is the field that takes the value.

    @rule("problems")
    def check(post: Post) -> list[str]:
        return [] if len(post.draft) < 2000 else ["Too long: at most 2000 characters."]
    """
    if callable(writes):
        raise DefinitionError('rule needs the field it writes: @rule("problems"), not @rule.')
    namespace = caller_names()

    def decorate(function: Callable[[StateT], T]) -> Rule[StateT, T]:
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"Rule {function.__name__!r} is async; a rule is plain code.")
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
