"""A suite in a process of its own, which may be killed: `python -m tests.evals.living FOLDER TRIALS DELAY`.

Every call that the model serves is noted in FOLDER/asked, so that whoever killed it can count.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from stepgraph import Session, using
from stepgraph.evals.files.results import Results
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.model import Case, Expected, Gate, Suite
from stepgraph.providers.model import Reply, Usage

from .conftest import graph, mood_of

REPEATS = 2


class Counting:
    """A model that notes every call it serves before it answers."""

    name = "counting"

    def __init__(self, folder: Path, delay_s: float) -> None:
        self._file = os.open(folder / "asked", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._delay = delay_s

    async def complete(self, request: Any, context: Any) -> Reply:
        await asyncio.sleep(self._delay)
        os.write(
            self._file,
            f"{context.thread_id} {context.step} {len(request.messages[-1]['content'])}\n".encode(),
        )
        answer = mood_of(request, context)
        text = f'{{"answer": "{answer}"}}' if context.step == "classify" else answer
        return Reply(text=text, model="counting", usage=Usage(input=10, output=2), cost_usd=0.001)


def suite_of(trials: int) -> Suite:
    cases = [
        Case(
            f"case-{n}",
            {"text": f"{'I love' if n % 3 else 'I hate'} number {n}"},
            Expected(route="good" if n % 3 else "bad"),
        )
        for n in range(trials // REPEATS)
    ]
    return Suite("living", cases, repeats=REPEATS, concurrency=8, gates=[Gate("route", at_least=1.0)])


def run(folder: Path, trials: int, delay_s: float) -> Results:
    with Session(folder / "runs.sqlite") as session, using(Counting(folder, delay_s)):
        return run_suite(
            suite_of(trials), graph.compile(), session, run="living", results=folder / "living.jsonl"
        )


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
