"""CPU time per call that a budget adds: a thread's own, and one that threads share. See the README here.

    python -m benchmarks.shared_budget [--rounds N] [--postgres URL]

As in client_overhead.py: a step is asked outside a graph, with a journal, and the model is a stub server in a
process of its own. What a shared budget adds is a hundredth of a call, and two processes differ by more than
that, as two minutes do. So there is one process, in which blocks of calls under each budget take turns, and
what is compared is the difference between two blocks of one round.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from math import comb
from pathlib import Path
from statistics import fmean, median
from typing import Any

from .contenders import question, using_stub
from .cpu_per_call import CALLS, Run, shapes
from .processes import options_of, stub_server

NONE, OWN, SHARED = "no budget", "a budget of its own", "a budget that threads share"
ENDLESS = 10**12
LIMITS: dict[str, dict[str, Any]] = {
    NONE: {},
    OWN: {"calls": ENDLESS},
    SHARED: {"calls": ENDLESS, "scope": "user:ada", "per": "day"},
}
REPEATS = {"chain": 5, "fan-out": 1}  # how often each shape runs in one block
ROUNDS = 150


def within(differences: Sequence[float]) -> tuple[float, float]:
    """Return between which of some values their median is, with 95 % confidence, whatever they are like."""
    ordered, number = sorted(differences), len(differences)
    below, outside = -1, 1 / 2**number  # how likely so few of them are below it
    while outside <= 0.025:
        below += 1
        outside += comb(number, below + 1) / 2**number
    below = max(below, 0)
    return ordered[below], ordered[number - 1 - below]


def runs_of(session: Any, limits: dict[str, Any], name: str) -> dict[str, Run]:
    """Return both shapes of calls that count against these limits."""
    from stepgraph import Budget

    step, config = question(), session.config(name, budget=Budget(**limits) if limits else None)

    async def ask(number: int) -> str:
        answer: str = await step.answer({"number": number, "text": ""}, config)
        return answer

    return shapes(ask)


async def measured(run: Run, shape: str) -> float:
    """Return the milliseconds of CPU that a call takes, of the whole process."""
    before = time.process_time()
    for _ in range(REPEATS[shape]):
        await run()
    return 1000 * (time.process_time() - before) / (REPEATS[shape] * CALLS[shape])


async def measure(url: str, place: Any, rounds: int) -> None:
    from stepgraph import Session

    with using_stub(url), Session(place) as session:
        contenders = {name: runs_of(session, limits, name) for name, limits in LIMITS.items()}
        for shape in CALLS:
            for runs in contenders.values():
                await runs[shape]()
            gc.collect()
            gc.freeze()  # the collector's looking through what is imported is 0.3 ms a call
            times: dict[str, list[float]] = {name: [] for name in contenders}
            order = list(contenders)
            for _ in range(rounds):
                order.append(order.pop(0))
                for name in order:
                    times[name].append(await measured(contenders[name][shape], shape))
            added = [shared - own for own, shared in zip(times[OWN], times[SHARED], strict=True)]
            low, high = within(added)
            print(f"{shape} of {CALLS[shape]}: CPU ms per call, medians of {rounds} rounds")
            for name, each in times.items():
                print(f"  {name:30} {median(each):6.3f}")
            print(
                f"  shared, compared with its own: {median(added):+.3f} ({low:+.3f} to {high:+.3f}), "
                f"in the mean {fmean(added):+.3f}",
                flush=True,
            )


def main() -> None:
    options = options_of(__doc__, rounds=ROUNDS)
    options.add_argument("--postgres", metavar="URL", help="keep the record there")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, stub_server() as url:
        asyncio.run(measure(url, asked.postgres or Path(folder) / "session.sqlite", asked.rounds))


if __name__ == "__main__":
    main()
