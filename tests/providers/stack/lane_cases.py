"""What the tests of the batch lane share: a server, a session, and two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Session, arun, chain, step

from ...batch_apis import BatchServer

USD = (100 * 2 + 20 * 8) / 1e6


PATIENT = {"quiet_s": 0.5}  # calls meet also on a busy machine


@dataclass
class Word:
    text: str
    meaning: str = ""
    example: str = ""


@step("meaning")
def meaning(word: Word) -> Ask[str]:
    return Ask(f"What is {word.text}?")


@step("example", model="large")
def example(word: Word) -> Ask[str]:
    return Ask(f"Use {word.text}: {word.meaning}")


app = chain(meaning, example).compile()


one = chain(meaning).compile()


@pytest.fixture(params=["openai", "anthropic"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite") as session:
        yield session


def rows(session: Session, table: str = "calls") -> list[dict[str, Any]]:
    return session.journal.query(f"SELECT * FROM {table} ORDER BY rowid")


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not come to that.")


async def stopped(
    session: Session, server: BatchServer, thread: str = "t", graph: Any = one, given: Any = None
) -> None:
    """Begin a run, and stop it while its batch is under way."""
    begun = len(server.batches)
    server.hold = True
    run = asyncio.create_task(arun(graph, given or Word("tea"), session, thread, lane="batch"))
    await until(lambda: len(server.batches) > begun and rows(session, "batches")[-1]["status"] == "waiting")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    server.hold = False
