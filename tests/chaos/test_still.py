"""What a process of the kill matrix says of itself when it stands still."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from stepgraph import Session

from .cluster.still import note_made, tell


async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def outer() -> None:
    await waits_for_ever()


async def test_it_says_where_each_task_stands_and_what_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = note_made(monkeypatch.setattr)
    made.add(asyncio.get_running_loop())
    told = tmp_path / "told"
    task = asyncio.create_task(outer(), name="the-one-that-waits")
    with Session(tmp_path / "runs.sqlite") as session, told.open("w") as file:
        session.claims.acquire("t")
        await asyncio.sleep(0)
        tell(tmp_path, made, file)
    task.cancel()
    (line,) = [line for line in told.read_text().splitlines() if line.startswith("the-one-that-waits")]
    assert "outer > test_still.py" in line
    assert "waits_for_ever > <Future pending" in line
    assert "claims: held {'t': Claim(" in told.read_text()
    assert "most recent call first" in told.read_text()


async def test_what_is_being_built_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = note_made(monkeypatch.setattr)
    begun, goes_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(40):  # a tuple grows on the way
            yield number
            if number == 5:
                begun.set()
                goes_on.wait(60)

    class File(io.StringIO):
        def write(self, text: str) -> int:
            goes_on.set()
            built.result(60)
            return super().write(text)

    with ThreadPoolExecutor(1) as pool, Session(tmp_path / "runs.sqlite"):
        built = pool.submit(lambda: tuple(numbers()))
        begun.wait(60)
        with suppress(io.UnsupportedOperation):  # it has no number, for the stacks of all threads
            tell(tmp_path, made, File())
        goes_on.set()
        assert built.result(60) == tuple(range(40))
