"""What a process of the kill matrix says of itself when it stands still."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from stepgraph import Session

from .cluster.still import tell


async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def outer() -> None:
    await waits_for_ever()


async def test_it_says_where_each_task_stands_and_what_is_claimed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    task = asyncio.create_task(outer(), name="the-one-that-waits")
    with Session(tmp_path / "runs.sqlite") as session, told.open("w") as file:
        session.claims.acquire("t")
        await asyncio.sleep(0)
        tell(tmp_path, file)
    task.cancel()
    (line,) = [line for line in told.read_text().splitlines() if line.startswith("the-one-that-waits")]
    assert "outer > test_still.py" in line
    assert "waits_for_ever > <Future pending" in line
    assert "claims: held {'t': Claim(" in told.read_text()
    assert "most recent call first" in told.read_text()
