"""A step's calls are found again by its task id, which comes from the checkpoint before the step."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig

from stepgraph import Session, chain
from stepgraph.state.session.checkpoints import SqliteCheckpointer


@dataclass
class Seen:
    first: int = -2
    second: int = -2


def app(session: Session) -> Any:
    """Return a graph whose nodes note the superstep of the last checkpoint that is kept."""

    def kept(config: RunnableConfig) -> int:
        thread = config.get("configurable", {})["thread_id"]
        last = session.checkpointer.get_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
        return last.metadata.get("step", -2) if last else -2

    def first(_: Seen, config: RunnableConfig) -> dict[str, int]:
        return {"first": kept(config)}

    def second(_: Seen, config: RunnableConfig) -> dict[str, int]:
        return {"second": kept(config)}

    return chain(first, second).compile()


@pytest.mark.parametrize("sync", [True, False])
def test_no_superstep_begins_before_its_checkpoint_is_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    put = SqliteCheckpointer.put

    def late(*arguments: Any) -> RunnableConfig:
        time.sleep(0.1)
        return put(*arguments)

    async def alate(*arguments: Any) -> RunnableConfig:
        return await asyncio.to_thread(late, *arguments)

    monkeypatch.setattr(SqliteCheckpointer, "put", late)
    monkeypatch.setattr(SqliteCheckpointer, "aput", alate)
    graph, config = app(session), session.config("t")
    values = graph.invoke(Seen(), config) if sync else asyncio.run(graph.ainvoke(Seen(), config))
    assert values == {"first": 0, "second": 1}
