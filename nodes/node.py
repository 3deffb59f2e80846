"""What all of stepgraph's nodes have in common: written async, callable either way."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any, Generic, Protocol

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ..state.event_loops import run_sync
from ..state.journal.journal import Decision
from ..state.run_context import RunContext
from ..state.schema import StateType

S_contra = TypeVar("S_contra", contravariant=True)
V = TypeVar("V")


class Node(Runnable[StateT, dict[str, Any]], Generic[StateT]):
    """One graph node: `ainvoke` takes the state and returns the update; sync callers get the same.

    A LangChain Runnable, so it is a node of any LangGraph graph over the same state.
    """

    name: str
    state: StateType

    @abstractmethod
    async def ainvoke(
        self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]: ...

    def invoke(self, input: StateT, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        return run_sync(self.ainvoke(input, config, **kwargs))

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


class Decider(Protocol[S_contra, V]):
    """A node with a typed value, which loops, routes and gates decide by."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> StateType: ...

    @property
    def writes(self) -> str | None: ...

    async def answer(self, state: S_contra, config: RunnableConfig | None = None) -> V:
        """Return the value for a state."""
        ...

    def update(self, value: V) -> dict[str, Any]:
        """Return the state update that keeps a value."""
        ...


def record_decision(
    config: RunnableConfig | None,
    kind: str,
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
