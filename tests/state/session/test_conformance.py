"""Our checkpointer does all that LangGraph's own suite asks of one, the extended operations included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import checkpointer_test

from stepgraph.state.session.checkpoints import SqliteCheckpointer
from stepgraph.state.session.session import Session


async def test_the_checkpointer_conforms(tmp_path: Path) -> None:
    made = iter(range(1000))

    @checkpointer_test(name="SqliteCheckpointer")
    async def saver() -> AsyncIterator[SqliteCheckpointer]:
        with Session(tmp_path / f"{next(made)}.sqlite") as session:
            yield session.checkpointer

    report = await validate(saver)
    failed = {name: result.failures for name, result in report.results.items() if not result.passed}
    assert not failed
    assert len(report.results) >= 8
