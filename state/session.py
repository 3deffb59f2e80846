"""A session: one SQLite file that holds the checkpoints and the journal of many threads."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig

from .checkpoints import SqliteCheckpointer
from .internals import CONFIG_KEY_CHECKPOINTER
from .journal import Journal
from .recorder import Recorder
from .serde import allow as declare

SESSION_KEY = "__stepgraph_session"


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
        try:
            self.checkpointer = SqliteCheckpointer(self.path)
        except BaseException:
            self.journal.close()
            raise

    def config(self, thread_id: str | None = None, **configurable: Any) -> RunnableConfig:
        """Return the config that makes a LangGraph call keep its thread here.

        Without a `thread_id` a new thread begins. Further keywords go into `configurable`.
        """
        thread = thread_id or new_thread_id()
        return {
            "configurable": {
                "thread_id": thread,
                "checkpoint_ns": "",
                CONFIG_KEY_CHECKPOINTER: self.checkpointer,
                SESSION_KEY: self,
                **configurable,
            },
            "callbacks": [Recorder(self.journal, thread)],
        }

    def close(self) -> None:
        """Write what waits and close the file."""
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
