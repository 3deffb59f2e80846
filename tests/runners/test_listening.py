"""What a client tells the database while it listens to many threads."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stepgraph import Session
from stepgraph.runners.streams import hearing
from stepgraph.state.journal import streams
from stepgraph.state.journal.journal import Journal

THREADS = [f"thread {number}" for number in range(5)]


async def test_all_that_a_client_listens_to_is_renewed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[list[str]] = asyncio.Queue()

    async def noted(journal: Journal, listeners: Iterable[tuple[str, str]]) -> None:
        pairs = list(listeners)
        await streams.listen(journal, pairs)
        told.put_nowait([thread for thread, _ in pairs])

    monkeypatch.setattr(hearing, "listen", noted)
    monkeypatch.setattr(hearing, "LISTENS_S", 0.0)  # each look renews
    with Session(tmp_path / "runs.sqlite") as session:
        hub = hearing.Hub(session.journal)
        async with AsyncExitStack() as stack:
            for thread in THREADS:
                await stack.enter_async_context(hub.listening(thread))
            async with asyncio.timeout(60):
                while await told.get() != THREADS:
                    pass
            assert sorted(await streams.listeners(session.journal)) == THREADS
        assert not await streams.listeners(session.journal)
