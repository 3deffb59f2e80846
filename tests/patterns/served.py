"""A worker for every pattern: python -m tests.patterns.served URL DATABASE ENGINE."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from stepgraph import aworker, chain
from stepgraph.runners.loading import Loaded

from .cases import CASES, note, pause, write
from .told import FOREVER_S

PARTS: dict[str, Any] = {
    "killed": chain(write, note),
    "asked": chain(write, pause),
    "poor": chain(write, note),
    "failing": write,
}


def graphs() -> dict[str, Loaded]:
    """Return every pattern around each part, by "part/pattern"."""
    built = {f"{part}/{name}": (CASES[name], PARTS[part]) for part in PARTS for name in CASES}
    return {name: Loaded(case.build(part).compile(), name) for name, (case, part) in built.items()}


async def serve(url: str, database: str, on: str) -> None:
    served = {"model": "m", "base_url": url, "retries": 0, "max_concurrency": 500, "timeout_s": FOREVER_S}
    await aworker(graphs(), db=database, on=on, models=served, at_once=500)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
