"""Runs every pattern in one process, on as many threads as it makes calls.

Called as python -m tests.patterns.living URL FILE [on]. With "on" it goes on with the threads that a
process before it left behind, and prints how they ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from langgraph.types import Command

from stepgraph import Session, chain, using

from .cases import CASES, Task, answer_to, note, write


def threads() -> list[tuple[str, int]]:
    """Return the patterns with the number of the call that is under way when the process dies."""
    return [(name, number) for name, case in CASES.items() for number in range(1, case.calls() + 1)]


def label(name: str, number: int) -> str:
    return f"{name.replace(' ', '-')}@{number}"


async def live(session: Session, name: str, thread: str, *, on: bool) -> None:
    app = CASES[name].build(chain(write, note)).compile()
    config = session.config(thread)
    result: dict[str, Any] = await app.ainvoke(None if on else Task(thread), config)
    while waiting := result.get("__interrupt__"):
        result = await app.ainvoke(
            Command(resume={each.id: answer_to(each.value) for each in waiting}), config
        )
    print(json.dumps([thread, result["draft"], result["log"].count("written")]))


async def main(url: str, file: str, *, on: bool) -> None:
    served = {"model": "m", "base_url": url, "retries": 0, "max_concurrency": 500}
    async with Session(file) as session:
        with using(served):
            await asyncio.gather(*(live(session, name, label(name, n), on=on) for name, n in threads()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], on="on" in sys.argv[3:]))
