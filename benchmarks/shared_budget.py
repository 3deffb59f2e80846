"""CPU time per call that a budget adds: a thread's own, and one that threads share. See the README here.

As in client_overhead.py: a step is asked outside a graph, with a journal. The contenders take turns in one
run; what is compared is the difference between them. `--postgres URL` keeps the record there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


def table(times: Rounds) -> str:
    """Return the medians, and how much of them the budget adds."""
    titles = {shape: f"{shape} of {calls}: CPU ms per call" for shape, calls in CALLS.items()}
    own = {shape: median(each[shape] for each in times[OWN]) for shape in CALLS}
    shared = {shape: median(each[shape] for each in times[SHARED]) for shape in CALLS}
    added = ", ".join(f"{shape} {shared[shape] - own[shape]:+.3f}" for shape in CALLS)
    return f"{table_of(times, titles, {})}\n\nShared, compared with its own, CPU ms per call: {added}"


def main() -> None:
    if "--postgres" in sys.argv:
        at = sys.argv.index("--postgres")
        os.environ[DATABASE] = sys.argv[at + 1]
        del sys.argv[at : at + 2]
    compare("benchmarks.shared_budget", __doc__, CONTENDERS, measured, table)


if __name__ == "__main__":
    main()
