"""Worlds in which it is known whether a prompt can help: `python -m tests.evals.improving.worlds`.

In the one that can be mended, a case is of a kind, and its answer is seldom right unless the prompt has the
sentence for that kind. In the other one, no prompt changes anything. A stub reflects: it reads the kinds off
the examples that it is shown, and writes a sentence for one of them, or a useless one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, step, using
from stepgraph.evals.improving.improve import Improvement, aimprove
from stepgraph.evals.statistics.intervals import share_interval
from stepgraph.evals.suite.model import Case, Expected, Suite

KINDS = ("date", "name", "sum", "plain")
SENTENCES = {
    "date": "Write dates with the year first.",
    "name": "Write names with the family name first.",
    "sum": "Write sums with two digits.",
}
LEVEL = 0.05


@dataclass
class Note:
    text: str
    topic: str = ""
    reply: str = ""


@step("topic")
def sort(note: Note) -> Ask[str]:
    return Ask(f"Sort: {note.text}")


@step("reply")
def write(note: Note) -> Ask[str]:
    return Ask(f"Answer the note.\nNote: {note.text}\nTopic: {note.topic}")


def rest(note: Note) -> dict[str, str]:
    return {}


graph = chain(sort, write, rest, name="notes")


def suite_of(cases: int, repeats: int = 1) -> Suite:
    right = Expected(output={"reply": "right"}, has_output=True)
    return Suite(
        "notes",
        [Case(f"c{n}", {"text": f"{KINDS[n % len(KINDS)]} {n}"}, right) for n in range(cases)],
        concurrency=8,
        repeats=repeats,
    )


class World:
    """Answers for the steps and the reflector; what it is asked is kept."""

    def __init__(self, seed: int, *, mended: bool = True, refuse_after: int | None = None) -> None:
        self.seed, self.mended = seed, mended
        self.asked: list[tuple[str, str]] = []
        self.left = refuse_after

    def __call__(self, request: Any, context: Any) -> Any:
        prompt = "\n".join(str(message["content"]) for message in request.messages)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        self.asked.append((context.step, prompt))
        if context.step == "sort":
            return "a topic"
        if context.step == "reflect":
            return self._proposal(prompt)
        kind = prompt.partition("Note: ")[2].partition(" ")[0]
        draw = Random(f"{self.seed}/{prompt}/{context.thread_id if not self.mended else ''}")
        chance = 0.6
        if self.mended:
            chance = 0.95 if kind == "plain" or SENTENCES[kind] in prompt else 0.1
        return "right" if draw.random() < chance else f"wrong, it is a {kind}"

    def _proposal(self, prompt: str) -> dict[str, str]:
        draw = Random(f"{self.seed}/{prompt}")
        now = prompt.rpartition("<instructions>\n")[2].partition("\n</instructions>")[0]
        kinds = [kind for kind in SENTENCES if f"it is a {kind}" in prompt]
        sentence = f"Take care {draw.randrange(10**6)}."
        if kinds and draw.random() < 0.7:
            sentence = SENTENCES[draw.choice(kinds)]
        return {"diagnosis": "It lacks a rule.", "prompt": f"{sentence}\n{now}"}


async def carry_out(
    world: Callable[[Any, Any], Any], place: Path, *, cases: int = 48, seed: int = 0, **options: Any
) -> Improvement:
    """Look for a better prompt of `write` in a world."""
    options = {"budget": Budget(calls=2000), "run": "better", "level": LEVEL, **options}
    async with Session(place / "runs.sqlite") as session:
        with using(ScriptedModel(world)):
            return await aimprove(suite_of(cases), graph.compile(), session, "write", seed=seed, **options)


def verdicts(seeds: Iterable[int], *, mended: bool, **options: Any) -> Counter[str]:
    """Count the verdicts over seeds."""
    found: Counter[str] = Counter()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, mended=mended)
            found[asyncio.run(carry_out(world, Path(folder), seed=seed, **options)).verdict] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--mended", type=int, default=20, help="Seeds in the world that can be mended.")
    given = parser.parse_args()
    plans = (("no prompt helps", False, given.seeds), ("a prompt helps", True, given.mended))
    for name, mended, count in plans:
        found = verdicts(range(given.first, given.first + count), mended=mended)
        low, high = share_interval(found["better"], count)
        told = {
            "world": name,
            "seeds": count,
            "better": found["better"],
            "interval": [round(low, 3), round(high, 3)],
        }
        print(json.dumps({**told, "level": LEVEL}), flush=True)


if __name__ == "__main__":
    main()
