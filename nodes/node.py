"""What all of stepgraph's nodes have in common: written async, callable either way."""

from __future__ import annotations

import time
from abc import abstractmethod
from types import CodeType
from typing import Any, Generic, Protocol, TypeAlias, runtime_checkable

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..state.event_loops import run_sync
from ..state.journal.records import Decision
from ..state.run_context import RunContext
from ..state.schema import StateType
from ..state.statuses import DecisionKind

S_contra = TypeVar("S_contra", contravariant=True)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

Update: TypeAlias = dict[str, Any]
"""What a node writes: values by the fields of the state."""


class Node(Runnable[StateT, dict[str, Any]], Generic[StateT]):
    """One graph node: `ainvoke` takes the state and returns the update; sync callers get the same.

    A LangChain Runnable, so it is a node of any LangGraph graph over the same state.
    """

    name: str
    state: StateType

    @abstractmethod
    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update: ...

    def invoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        return run_sync(self.ainvoke(input, config, **kwargs))

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


@runtime_checkable
class Decider(Protocol[S_contra, V]):
    """What can decide: a node with a typed value, by which loops, routes and gates go on.

    Steps, rules, reviews and `nearest` are deciders; so is any object of yours with these members.
    """

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> StateType: ...

    @property
    def writes(self) -> str | None: ...

    async def answer(self, state: S_contra, config: RunnableConfig | None = None) -> V:
        """Return the value for a state."""
        ...

    def update(self, value: V) -> Update:
        """Return the state update that keeps a value."""
        ...


class PlainFunction(Protocol[S_contra, V_co]):
    """A plain function of the state, by whose value a pattern decides.

    As a `Callable`, type checkers could not tell it from a rule, which can be called too, and would infer
    neither's value. Its code tells them apart.
    """

    @property
    def __code__(self) -> CodeType: ...

    def __call__(self, state: S_contra, /) -> V_co: ...


class AnswerNode(Node[StateT], Generic[StateT, V]):
    """A node that answers with a typed value and writes it to a field, if it has one: a `Decider`."""

    writes: str | None

    @abstractmethod
    async def answer(self, state: StateT, config: RunnableConfig | None = None) -> V: ...

    def update(self, value: V) -> Update:
        return {} if self.writes is None else {self.writes: value}

    async def ainvoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        return self.update(await self.answer(input, config))


def record_decision(
    config: RunnableConfig | None,
    kind: DecisionKind,
    choice: str,
    *,
    confidence: float | None = None,
    reason: str | None = None,
    decided: bool | None = None,
) -> None:
    """Put a decision on the record of the run, if it keeps one; `decided` says of a vote if an answer won."""
    here = RunContext.of(config)
    session = here.session
    if session is None:
        return
    session.journal.add(
        Decision(
            thread_id=here.thread_id,
            task=here.task,
            path=here.path,
            kind=kind,
            choice=choice,
            confidence=confidence,
            reason=reason and session.journal.mask.text(reason),
            decided_at=time.time(),
            decided=decided,
        )
    )
