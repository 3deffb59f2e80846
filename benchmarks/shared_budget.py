"""CPU time per call that a budget adds: a thread's own, and one that threads share. See the README here.

As in client_overhead.py: a step is asked outside a graph, with a journal. The contenders take turns in one
run; what is compared is the difference between them within each round, for it is far smaller than what rounds
differ by. `--postgres URL` keeps the record there.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import question, using_stub
from .cpu_per_call import CALLS, Shapes, measured, shapes
from .processes import Contender, Rounds, compare, table_of

DATABASE = "STEPGRAPH_BENCHMARK_DB"  # for the workers
NONE, OWN, SHARED = "no budget", "a budget of its own", "a budget that threads share"
ENDLESS = 10**12


def asking(**limits: Any) -> Contender[Shapes]:
    """Return the contender whose calls count against these limits."""

    @asynccontextmanager
    async def contender(url: str, folder: Path) -> AsyncIterator[Shapes]:
        from stepgraph import Budget, Session

        budget = Budget(**limits) if limits else None
        with using_stub(url), Session(os.environ.get(DATABASE) or folder / "session.sqlite") as session:
            step, config = question(), session.config("benchmark", budget=budget)

            async def ask(number: int) -> str:
                answer: str = await step.answer({"number": number, "text": ""}, config)
                return answer

            yield shapes(ask)

    return contender


CONTENDERS: dict[str, Contender[Shapes]] = {
    NONE: asking(),
    OWN: asking(calls=ENDLESS),
    SHARED: asking(calls=ENDLESS, scope="user:ada", per="day"),
}


async def settled(shapes: Shapes) -> dict[str, float]:
    """Measure without the collector's looking through what is imported: one such look is 0.3 ms a call."""
    gc.freeze()
    return await measured(shapes)


def within(differences: Sequence[float]) -> tuple[float, float]:
    """Return between which of some values their median is, with 95 % confidence, whatever they are like."""
    ordered, number = sorted(differences), len(differences)
    below, outside = -1, 1 / 2**number  # how likely so few of them are below it
    while outside <= 0.025:
        below += 1
        outside += comb(number, below + 1) / 2**number
    below = max(below, 0)
    return ordered[below], ordered[number - 1 - below]


def table(times: Rounds) -> str:
    """Return the medians, and how much of them the budget adds."""
    titles = {shape: f"{shape} of {calls}: CPU ms per call" for shape, calls in CALLS.items()}
    lines = [
        table_of(times, titles, {}),
        "",
        "Shared, compared with its own, CPU ms per call, median (95 %):",
    ]
    for shape in CALLS:
        pairs = zip(times[OWN], times[SHARED], strict=True)
        added = [shared[shape] - own[shape] for own, shared in pairs]
        low, high = within(added)
        lines.append(f"  {shape:8} {median(added):+.3f} ({low:+.3f} to {high:+.3f}) in {len(added)} rounds")
    return "\n".join(lines)


def main() -> None:
    if "--postgres" in sys.argv:
        at = sys.argv.index("--postgres")
        os.environ[DATABASE] = sys.argv[at + 1]
        del sys.argv[at : at + 2]
    compare("benchmarks.shared_budget", __doc__, CONTENDERS, settled, table, rounds=25)


if __name__ == "__main__":
    main()
