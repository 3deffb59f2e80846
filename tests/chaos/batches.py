"""Kills runs in the batch lane at random moments, and counts at the batch APIs what was paid twice.

    python -m tests.chaos.batches --kills 50 --seed 1

Each trial runs some threads in a process of its own, kills it with SIGKILL, goes on with some of them in
another process, which is sometimes killed too, and at last with all of them. The APIs' requests and answers
take their time, so that a kill often comes between a submit and its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stepgraph import Ask, Session, aresume, chain, step, using

from ..batch_messages import LIVE, answer_to, spec
from .living import forked, received

ROOT = Path(__file__).parents[2]
THREADS = 5
MOST_KILLS = 3
AGAIN = 0.4  # the chance that a process which goes on is killed too
APIS = ("openai", "anthropic")


@dataclass
class Word:
    text: str
    meaning: str = ""
    example: str = ""


@step("meaning")
def meaning(word: Word) -> Ask[str]:
    return Ask(f"What is {word.text}?")


@step("example")
def example(word: Word) -> Ask[str]:
    return Ask(f"Use {word.text}: {word.meaning}")


app = chain(meaning, example).compile()


def word(trial: str, number: int) -> str:
    return f"{trial}.{number}"


def wanted(trial: str) -> dict[str, str]:
    """Return what an uninterrupted run asks, and the answers."""
    asked = {}
    for number in range(THREADS):
        first = f"What is {word(trial, number)}?"
        second = f"Use {word(trial, number)}: {answer_to(first)}"
        asked |= {first: answer_to(first), second: answer_to(second)}
    return asked


@dataclass(frozen=True)
class Server:
    """The batch APIs, in a process of their own."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ran(self, trial: str) -> Counter[str]:
        """Return how often the prompts of a trial were paid for; of all, if it has no name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/ran")
            ran = json.loads(connection.getresponse().read())["ran"]
        finally:
            connection.close()
        return Counter({prompt: n for prompt, n in ran.items() if not trial or f" {trial}." in prompt})


@contextmanager
def serving() -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.batch_apis"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


def life(pipe: Connection, file: Path, model: dict[str, Any], trial: str, numbers: Collection[int]) -> None:
    """Run threads of a trial to their ends, or go on with them."""

    async def run() -> dict[int, Any]:
        async def one(number: int) -> Any:
            given = Word(word(trial, number))
            return (await aresume(app, session, f"t{number}", state=given, lane="batch")).values

        pipe.send("ready")
        ended = await asyncio.gather(*map(one, numbers))
        return dict(zip(numbers, ended, strict=True))

    with Session(file) as session, using(model):
        pipe.send(asyncio.run(run()))


def live(*arguments: Any, kill_after_s: float | None = None) -> tuple[dict[int, Any] | None, float]:
    """Return how the threads ended, and after how many seconds; None for a process that was killed."""
    with forked(life, *arguments) as (process, pipe):
        assert received(pipe) == "ready"
        started = time.perf_counter()
        if kill_after_s is not None and not pipe.poll(kill_after_s):
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                return None, kill_after_s
        ended: dict[int, Any] = received(pipe)
        return ended, time.perf_counter() - started


@dataclass
class Tally:
    """What was counted; all after the kills must stay zero."""

    trials: int = 0
    kills: int = 0
    resubmitted: int = 0
    lost: int = 0
    live: int = 0
    wrong: int = 0

    def faults(self) -> int:
        return self.resubmitted + self.lost + self.live + self.wrong


def run_trial(
    server: Server, folder: Path, api: str, trial: str, seconds: float, luck: random.Random, tally: Tally
) -> None:
    model = spec(server.address, api, batch={"settle_s": 0.3})
    everything = range(THREADS)
    file = folder / f"{trial}.sqlite"
    numbers: Collection[int] = everything
    kills = 0
    while kills < MOST_KILLS:
        moment = luck.uniform(0, seconds)
        ended, _ = live(file, model, trial, numbers, kill_after_s=moment)
        kills += ended is None
        if ended is not None or luck.random() > AGAIN:
            break
        numbers = sorted(luck.sample(everything, luck.randint(1, THREADS)))
    ended, _ = live(file, model, trial, everything)
    assert ended is not None
    asked = wanted(trial)
    ran = server.ran(trial)
    tally.trials += 1
    tally.kills += kills
    tally.resubmitted += sum(n - 1 for n in ran.values())
    tally.live += sum(n for prompt, n in ran.items() if prompt.startswith(LIVE))
    tally.lost += len(asked.keys() - ran.keys())
    tally.wrong += sum(values["example"] not in asked.values() for values in ended.values())


def campaign(kills: int, seed: int) -> Tally:
    luck = random.Random(seed)
    tally = Tally()
    with serving() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds: dict[str, float] = {}
        for api in APIS:
            _, seconds[api] = live(
                folder / f"{api}.sqlite", spec(server.address, api), f"whole-{api}", range(THREADS)
            )
        number = 0
        while tally.kills < kills:
            api = APIS[number % 2]
            run_trial(server, folder, api, f"trial-{number}", seconds[api], luck, tally)
            number += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = campaign(options.kills, options.seed)
    print(tally)
    sys.exit(tally.faults() > 0)


if __name__ == "__main__":
    main()
