"""A session: one SQLite file that holds the checkpoints and the journal of many threads."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from .budget import Budget, Ledger, Spent
from .checkpoints import SqliteCheckpointer
from .claims import Claims
from .fingerprint import GRAPH_KEY, GraphMark
from .internals import CONFIG_KEY_CHECKPOINTER, CONFIG_KEY_DURABILITY
from .journal import Journal
from .recorder import Recorder
from .serde import allow as declare

SESSION_KEY = "__stepgraph_session"
CACHE_KEY = "__stepgraph_cache_s"
LEDGERS_KEY = "__stepgraph_ledgers"


class Session:
    """Keeps what a graph does: pass `session.config(thread_id)` to any LangGraph call.

    The file is created where it is missing. `allow` names types that checkpoints may revive, beyond
    those that steps and patterns declare themselves. Raises StoreError if the file cannot be used.

        with Session("runs.sqlite") as session:
            app.invoke(Post("tea"), session.config("post-1"))
    """

    def __init__(self, path: str | Path = "stepgraph.sqlite", *, allow: Iterable[Any] = ()) -> None:
        self.path = Path(path)
        declare(*allow)
        self.journal = Journal(self.path)
        self.claims = Claims(self.journal)
        try:
            self.checkpointer = SqliteCheckpointer(self.path)
        except BaseException:
            self.journal.close()
            raise

    def config(
        self,
        thread_id: str | None = None,
        *,
        budget: Budget | None = None,
        cache_s: float | None = None,
        graph: CompiledStateGraph[Any, Any, Any, Any] | None = None,
        insist: bool = False,
        **configurable: Any,
    ) -> RunnableConfig:
        """Return the config that makes a LangGraph call keep its thread here.

        Without a `thread_id` a new thread begins. `budget` limits the thread as a whole, what it spent
        before included; a resume without one goes on under the limits it had, `Budget()` lifts them.
        `cache_s` lets answers of other runs serve that are at most so many seconds old.

        A thread goes on only with a graph of the same shape, else GraphChanged is raised, unless you
        `insist`. Patterns tell their shape themselves; for a hand-written graph, pass it as `graph`.
        Further keywords go into `configurable`.
        """
        thread = thread_id or new_thread_id()
        config: RunnableConfig = {
            "configurable": {
                "thread_id": thread,
                "checkpoint_ns": "",
                CONFIG_KEY_CHECKPOINTER: self.checkpointer,
                # A call is found again by its task, which takes its id from the checkpoint before it.
                CONFIG_KEY_DURABILITY: "sync",
                SESSION_KEY: self,
                CACHE_KEY: cache_s,
                **configurable,
            },
            "callbacks": [Recorder(self.journal, self.claims, thread, insist=insist)],
        }
        if graph is not None:
            config["metadata"] = {GRAPH_KEY: GraphMark(graph)}
        if budget is not None:
            self.journal.set_budget(thread, budget.to_json())
        elif thread_id is not None and (recorded := self.journal.budget_of(thread)):
            budget = Budget.from_json(recorded)
        if budget is not None:
            config["configurable"][LEDGERS_KEY] = (Ledger(budget, self.spent(thread)),)
            if budget.supersteps is not None:
                config["recursion_limit"] = budget.supersteps
        return config

    def spent(self, thread_id: str, task: str | None = None) -> Spent:
        """Return what a thread's calls, or those below one node execution, have cost."""
        return Spent(*self.journal.spent(thread_id, task))

    def close(self) -> None:
        """Write what waits and close the file."""
        self.claims.close()
        self.journal.close()
        self.checkpointer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def new_thread_id(prefix: str = "thread") -> str:
    """Return a thread id that nobody else has."""
    return f"{prefix}-{secrets.token_hex(4)}"
