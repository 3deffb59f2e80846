"""What a trial of an eval suite costs beside the workflow itself: stepgraph, and pydantic-evals alone.

    python -m benchmarks.eval_overhead [--trials 1000] [--rounds 3] [--at-once 8]

Every contender runs the same graph of two steps on a model that answers at once, and scores each trial
with one exact comparison. They are processes that take turns. Prints CPU and wall-clock milliseconds a
trial, and how much memory the second half of the trials added.
"""

from __future__ import annotations

import asyncio
import json
import resource
import tempfile
import time
from argparse import SUPPRESS
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stepgraph import Ask, ScriptedModel, Session, chain, step, using

from .processes import Rounds, options_of, run_apart


@dataclass
class Sum:
    question: str
    plan: str = ""
    answer: str = ""


@step("plan")
def think(state: Sum) -> Ask[str]:
    return Ask(f"Plan: {state.question}")


@step("answer")
def say(state: Sum) -> Ask[str]:
    return Ask(f"Answer: {state.question} by {state.plan}")


graph = chain(think, say, name="sums")


def memory_kb() -> int:
    """Return the resident memory now; where that cannot be read, the most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Meter:
    """CPU, time and memory of the trials."""

    def __init__(self, trials: int) -> None:
        self._half = trials // 2
        self._done = 0
        self._at_half = 0
        self._cpu, self._began = time.process_time(), time.perf_counter()

    def tick(self) -> None:
        self._done += 1
        if self._done == self._half:
            self._at_half = memory_kb()

    def figures(self, trials: int) -> dict[str, float]:
        return {
            "cpu_ms": (time.process_time() - self._cpu) * 1000 / trials,
            "wall_ms": (time.perf_counter() - self._began) * 1000 / trials,
            "grown_kb": (memory_kb() - self._at_half) / (trials - self._half),
        }


async def at_once(trials: int, limit: int, one: Callable[[int], Any]) -> None:
    numbers = iter(range(trials))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(work() for _ in range(limit)))


async def bare(trials: int, limit: int, _: Path, meter: Meter, config: Any = lambda _: None) -> None:
    app = graph.compile()

    async def one(number: int) -> None:
        assert (await app.ainvoke(Sum(str(number)), config(f"t{number}")))["answer"] == "42"
        meter.tick()

    await at_once(trials, limit, one)


async def session(trials: int, limit: int, folder: Path, meter: Meter) -> None:
    with Session(folder / "runs.sqlite") as recording:
        await bare(trials, limit, folder, meter, recording.config)


async def pydantic_evals(trials: int, limit: int, _: Path, meter: Meter) -> None:
    from pydantic_evals import Case, Dataset
    from pydantic_evals.evaluators import EqualsExpected

    app = graph.compile()

    async def task(question: str) -> str:
        answer: str = (await app.ainvoke(Sum(question)))["answer"]
        meter.tick()
        return answer

    cases = [Case(name=str(n), inputs=str(n), expected_output="42") for n in range(trials)]
    data: Any = Dataset(name="sums", cases=cases, evaluators=[EqualsExpected()])
    report = await data.evaluate(task, max_concurrency=limit, progress=False)
    assert len(report.cases) == trials


async def stepgraph(trials: int, limit: int, folder: Path, meter: Meter) -> None:
    from stepgraph.evals import Case, Expected, Suite, arun_suite

    cases = [
        Case(str(n), {"question": str(n)}, Expected(output={"answer": "42"}, has_output=True))
        for n in range(trials)
    ]
    suite = Suite("sums", cases, concurrency=limit)
    with Session(folder / "runs.sqlite") as recording:
        results = await arun_suite(
            suite,
            graph.compile(),
            recording,
            results=folder / "results.jsonl",
            progress=lambda *_: meter.tick(),
        )
    assert all(trial.passed for trial in results.trials.values())
    assert results.complete


CONTENDERS = {"bare": bare, "pydantic-evals": pydantic_evals, "session": session, "stepgraph": stepgraph}


def measure(name: str, trials: int, limit: int) -> None:
    """Run one contender in this process and print its figures as JSON."""
    runner = CONTENDERS[name]
    model = ScriptedModel(lambda *_: "42")
    model.asks = Forgetful()
    with tempfile.TemporaryDirectory() as folder, using(model):
        (Path(folder) / "warm").mkdir()
        asyncio.run(runner(20, limit, Path(folder) / "warm", Meter(20)))
        meter = Meter(trials)
        asyncio.run(runner(trials, limit, Path(folder), meter))
        print(json.dumps(meter.figures(trials)))


class Forgetful(list[Any]):
    """What the scripted model was asked, forgotten at once: it would grow."""

    def append(self, item: Any) -> None:
        return None


def main() -> None:
    parser = options_of(__doc__, rounds=3)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--worker", choices=CONTENDERS, help=SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure(options.worker, options.trials, options.at_once)
        return
    counts = ("--trials", str(options.trials), "--at-once", str(options.at_once))
    times: Rounds = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name in CONTENDERS:
            times[name].append(run_apart("-m", "benchmarks.eval_overhead", "--worker", name, *counts))
    print(f"{options.trials} trials, {options.at_once} at once, median of {options.rounds} rounds")
    print(f"{'':<16}{'CPU ms':>10}{'wall ms':>10}{'grown kB a trial':>18}")
    for name, rounds in times.items():
        cells = [median(one[figure] for one in rounds) for figure in ("cpu_ms", "wall_ms", "grown_kb")]
        print(f"{name:<16}{cells[0]:>10.2f}{cells[1]:>10.2f}{cells[2]:>18.2f}")


if __name__ == "__main__":
    main()
