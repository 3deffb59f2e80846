"""Kills workflows at random moments, over and over, and counts at the model server what was paid twice.

    python -m tests.chaos.campaign --kills 240 --seed 1

Each trial starts a workflow in a process of its own, kills it with SIGKILL at a random moment of its run,
checks a copy of its SQLite file, and goes on in a new process, which is sometimes killed too.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .living import Server, live, serving, warm_up
from .scenarios import ARRIVALS, SCENARIOS
from .soaking import soak, wait_out_lock

MAX_KILLS_A_TRIAL = 4
AGAIN = 0.3  # the chance that a process which goes on is killed too
TIME_LIMIT_S = 1800


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted run asks and writes, and when its answers come, in seconds from its start."""

    asks: Counter[str]
    values: dict[str, Any]
    seconds: float
    answers: list[float]

    def moment(self, luck: random.Random) -> float:
        """Return a moment to kill at: any moment of the run, or one at which answers come."""
        if luck.random() < 0.5:
            return luck.uniform(0, self.seconds)
        return max(0.0, luck.gauss(luck.choice(self.answers), 0.005))


@dataclass
class Tally:
    """What was counted over some trials. All but the first five must stay zero."""

    trials: int = 0
    kills: int = 0
    committed: int = 0
    in_flight: int = 0
    repeated: int = 0
    paid_twice: int = 0  # asked again although the answer was committed at the kill
    beyond: int = 0  # repeated beyond what was in flight
    lost: int = 0  # answers that are not on record in the end, or never asked for
    wrong: int = 0  # final states unlike the uninterrupted run's
    damaged: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self

    def faults(self) -> int:
        return self.paid_twice + self.beyond + self.lost + self.wrong + self.damaged

    def row(self) -> list[str]:
        return [str(getattr(self, each.name)) for each in fields(self)]


HEADINGS = "trials,kills,committed,in flight,repeated,PAID TWICE,BEYOND,LOST,WRONG,DAMAGED".split(",")


@dataclass
class Trial:
    """One workflow, from its first process to its last."""

    name: str
    scenario: str
    arrival: str
    reference: Reference
    asked: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=lambda: Tally(trials=1))

    def run(self, server: Server, folder: Path, luck: random.Random) -> Tally:
        file = folder / "runs.sqlite"
        model = server.model(self.name, self.arrival, SCENARIOS[self.scenario])
        values = None
        while values is None and self.tally.kills < MAX_KILLS_A_TRIAL:
            if self.tally.kills and luck.random() > AGAIN:
                break
            rest = 1 - self.committed.total() / self.reference.asks.total()
            values, _ = live(self.scenario, file, model, rest * self.reference.moment(luck))
            self._count(server.asked(self.name), file, killed=values is None)
        if values is None:
            values, _ = live(self.scenario, file, model)
            self._count(server.asked(self.name), file, killed=False)
        return self._judge(values)

    def _count(self, asked: Counter[str], file: Path, *, killed: bool) -> None:
        """Compare what this process asked with what was on record when it began."""
        committed, damaged = read_copy(file)
        fresh = asked - self.asked
        needed = self.reference.asks - self.committed
        self.tally.paid_twice += (fresh - needed).total()
        self.in_flight += fresh - (committed - self.committed)
        self.asked, self.committed = asked, committed
        self.tally.damaged += damaged
        if killed:
            self.tally.kills += 1
            self.tally.committed += committed.total()

    def _judge(self, values: dict[str, Any] | None) -> Tally:
        repeated = self.asked - self.reference.asks
        self.tally.repeated = repeated.total()
        self.tally.in_flight = self.in_flight.total()
        self.tally.beyond = (repeated - self.in_flight).total()
        self.tally.lost = (self.reference.asks - self.committed).total()
        self.tally.lost += (self.committed - self.asked).total()
        self.tally.wrong = values != self.reference.values
        return self.tally


def read_copy(file: Path) -> tuple[Counter[str], bool]:
    """Return the prompts of the committed answers, and whether the file is damaged.

    SQLite repairs a file when it is opened: that is left to the process that goes on.
    """
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = file.with_name(file.name + suffix)
            if source.exists():
                shutil.copy(source, folder)
        with closing(sqlite3.connect(Path(folder, file.name))) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute(
                "SELECT model_asked || ': ' || json_extract(messages, '$[#-1].content') FROM calls "
                "WHERE status IN ('answered', 'rejected') AND source = 'model'"
            )
            return Counter(prompt for (prompt,) in rows), not whole


def campaign(server: Server, kills: int, seed: int, names: Sequence[str], folder: Path) -> dict[str, Tally]:
    """Kill so many times, turn about over scenarios and arrivals, and return the tallies of each scenario."""
    luck = random.Random(seed)
    turns = [(name, arrival) for arrival in ARRIVALS for name in names]
    luck.shuffle(turns)
    references: dict[tuple[str, str], Reference] = {}
    tallies = {name: Tally() for name in names}
    deadline = time.monotonic() + TIME_LIMIT_S
    for number in range(3 * kills):
        scenario, arrival = turn = turns[number % len(turns)]
        if sum(tally.kills for tally in tallies.values()) >= kills or time.monotonic() > deadline:
            break
        place = folder / str(number)
        place.mkdir()
        if turn not in references:
            references[turn] = uninterrupted(server, *turn, place / "reference.sqlite")
        trial = Trial(f"trial-{number}", scenario, arrival, references[turn])
        tally = trial.run(server, place, luck)
        tallies[scenario] += tally
        if tally.faults():
            print(f"FAULT: {scenario}, {arrival}, trial {number}: {tally}", file=sys.stderr)
        else:
            shutil.rmtree(place)
    return tallies


def uninterrupted(server: Server, scenario: str, arrival: str, file: Path) -> Reference:
    run = f"reference-{scenario}-{arrival}".replace(" ", "-").replace(",", "")
    model = server.model(run, arrival, SCENARIOS[scenario])
    values, seconds = live(scenario, file, model)
    assert values is not None
    start = time.time() - seconds
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT started_at + latency_s FROM calls").fetchall()
    return Reference(server.asked(run), values, seconds, [answered - start for (answered,) in rows])


def table(tallies: dict[str, Tally]) -> str:
    total = Tally()
    for tally in tallies.values():
        total += tally
    lines = [["", *HEADINGS], *([name, *tally.row()] for name, tally in tallies.items() if tally.trials)]
    lines.append(["all", *total.row()])
    return "\n".join(
        f"{name:26}" + "".join(f"{cell:>{len(head) + 2}}" for head, cell in zip(HEADINGS, cells, strict=True))
        for name, *cells in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, metavar="NAME")
    parser.add_argument("--soak", type=float, default=60, metavar="S", help="four processes on one file")
    parser.add_argument("--lock", type=float, default=10, metavar="S", help="a lock held elsewhere")
    options = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, serving() as server:
        folder = Path(name)
        warm_up(server, folder)
        started = time.monotonic()
        if options.kills:
            tallies = campaign(
                server, options.kills, options.seed, options.scenario or list(SCENARIOS), folder
            )
            print(table(tallies), flush=True)
            print(f"seed {options.seed}, {time.monotonic() - started:.0f} s", flush=True)
            if sum(tally.kills for tally in tallies.values()) < options.kills:
                faults.append("too few kills")
            if any(tally.faults() for tally in tallies.values()):
                faults.append("a promise was broken")
        if options.soak:
            faults += soak(server, folder / "soak.sqlite", options.soak)
        if options.lock:
            faults += wait_out_lock(server, folder / "lock.sqlite", options.lock)
    if faults:
        raise SystemExit("; ".join(faults))


if __name__ == "__main__":
    main()
