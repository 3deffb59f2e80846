"""Turns of calls on one session: those that only read run beside each other, any other runs alone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from stepgraph import mcp
from stepgraph.nodes.mcp_sessions import ServerSession

PASSES = 20  # of the event loop, more than a turn needs to change hands


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [("r", "r", True), ("r", "w", False), ("w", "r", False), ("w", "w", False)],
)
async def test_what_runs_beside_what(first: str, second: str, together: bool) -> None:
    session = ServerSession(mcp("a"), cast("Any", None))
    log: list[str] = []
    go_on = asyncio.Event()

    async def call(name: str, kind: str) -> None:
        async with session.turn(reads=kind == "r"):
            log.append(f"{name} begins")
            await go_on.wait()
        log.append(f"{name} ends")

    calls = [asyncio.create_task(call("first", first)), asyncio.create_task(call("second", second))]
    for _ in range(PASSES):
        await asyncio.sleep(0)
    assert log == ["first begins", *(["second begins"] if together else [])]
    go_on.set()
    await asyncio.gather(*calls)
    assert sorted(log) == ["first begins", "first ends", "second begins", "second ends"]
    async with session.turn(reads=False):  # nothing is left behind
        pass
