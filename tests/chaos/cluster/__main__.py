"""The kill matrix: random graphs, on each engine and store, disturbed in each way. What was paid twice?

    python -m tests.chaos.cluster --kills 500 --each 20 --jobs 4 --seed 1

A cell is ENGINE/STORE/KIND. Processes are real, and so are their deaths: kill -9 in a call, between the
commit of an answer and its report, in an effect, and while a review waits; SIGSTOP past the end of the lease,
with another process that takes over; SIGTERM as at a deploy; a database that is restarted as after a crash.
All questions are counted by a model server of its own process. `--cells` takes patterns: 'local/*/zombie'.
`--each` is how many kills each cell has at least. Trials mostly wait: `--jobs` matrices run side by side,
each with graphs and servers of its own, and are counted together.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from cluster.postgres import PostgresServer
from cluster.processes import own_folder
from cluster.temporal import TemporalServer
from stepgraph.errors import DefinitionError

from ..compositions.__main__ import warm_up
from .client import Models, serving
from .databases import databases
from .engine_trial import EngineTrial
from .lives import Place
from .trial import FITS, HEADINGS, KINDS, Reference, Tally, Trial, undisturbed

FAR = 100_000  # between the seeds of matrices side by side
ENGINES = ("resume", "local", "temporal", "dbos")  # the first: no worker, another process goes on
CELLS = [
    f"{engine}/{store}/{kind}"
    for engine in ENGINES
    for store in ("sqlite", "postgres")
    for kind in (*KINDS, "server")
    if (store == "postgres" or (kind != "database" and engine in ("resume", "local")))
    and (kind != "server" or engine == "temporal")
]


@dataclass
class Matrix:
    """The cells that are run, and their tallies."""

    cells: Sequence[str]
    models: Models
    folder: Path
    server: PostgresServer | None
    temporal: TemporalServer | None = None
    keep: bool = False
    took: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        return sum(tally.kills for tally in self.tallies.values())

    @property
    def faults(self) -> int:
        return sum(tally.faults for tally in self.tallies.values())

    def run(self, kills: int, each: int, seed: int, limit_s: float) -> None:
        """Kill so many times, and so often in each cell, each graph in all cells that it fits."""
        deadline, done = time.monotonic() + limit_s, 0
        self._each = each
        for number in itertools.count(seed):
            for cell in self._graph(number):
                self._trial(cell, number)
                if self.kills // 20 > done // 20:
                    print(f"{self.kills} kills, {self.faults} faults", file=sys.stderr, flush=True)
                done = self.kills
                if (self.kills >= kills and not self._short()) or time.monotonic() > deadline:
                    return

    def _kills(self, cell: str) -> int:
        return self.tallies.get(cell, Tally()).kills

    def _short(self) -> list[str]:
        """Return the cells that have too few kills yet."""
        return [cell for cell in self.cells if self._kills(cell) < self._each]

    def _graph(self, seed: int) -> Iterator[str]:
        """Run a graph undisturbed, and yield the cells for it, those with the fewest kills first."""
        folder = self.folder / f"{seed}"
        folder.mkdir()
        place = Place(folder, seed, seed % 2 == 0, folder / "runs.sqlite", self.models.port, f"{seed}")
        try:
            place.composition()
        except DefinitionError:
            return  # parts that say nothing of their state
        found = undisturbed(place, self.models)
        if not isinstance(found, Reference):
            print(f"seed {seed}: {found}", file=sys.stderr)
            self.tallies.setdefault("undisturbed", Tally()).errors += 1
            return
        self._reference, self._place = found, place
        for cell in sorted(self._short() or self.cells, key=self._kills):
            kind = cell.rpartition("/")[2]
            if kind not in FITS or FITS[kind](found, place):
                yield cell
        shutil.rmtree(folder, ignore_errors=True)

    def _trial(self, cell: str, seed: int) -> None:
        engine, store, kind = cell.split("/")
        folder = self.folder / f"{seed}-{cell.replace('/', '-')}"
        folder.mkdir()
        with databases(store, folder, self.server) as database:
            thread = f"{cell.replace('/', '-')}-{seed}"
            place = replace(self._place, path=folder, address=database.address, run=f"{seed} {cell}")
            place = replace(place, on=self._on(engine), thread=thread)
            parts = place, database, self.models, self._reference, random.Random(f"{seed} {cell}")
            if engine == "resume":
                trial = Trial(*parts)
            else:
                trial = EngineTrial(*parts, restart_engine=self._restart_engine)
            began = time.monotonic()
            tally = trial.run(kind)
            self.took[cell] += time.monotonic() - began
            self.tallies.setdefault(cell, Tally())
            self.tallies[cell] += tally
            for fault in trial.faults:
                print(f"seed {seed}, {cell}: {fault}", file=sys.stderr, flush=True)
            if trial.faults:
                again = f"python -m tests.chaos.cluster --seed {seed} --kills 1 --cells '{cell}'"
                print(f"  again: {again}", file=sys.stderr, flush=True)
            if self.keep and trial.faults:
                trial.tell()
        if not (self.keep and trial.faults):
            shutil.rmtree(folder, ignore_errors=True)

    def _on(self, engine: str) -> str | None:
        if engine == "temporal":
            assert self.temporal is not None
            return f"temporal://{self.temporal.address}"
        return engine if engine == "dbos" else None

    def _restart_engine(self) -> None:
        assert self.temporal is not None
        self.temporal.kill()
        self.temporal.start()

    def table(self) -> str:
        """Return the tallies, a line for each cell, and their sum."""
        total = Tally()
        for tally in self.tallies.values():
            total += tally
        rows = [
            (cell, [*tally.row(), f"{self.took[cell] / max(1, tally.kills):.1f}"])
            for cell, tally in sorted(self.tallies.items())
        ]
        spent = f"{sum(self.took.values()) / max(1, total.kills):.1f}"
        headings = [*HEADINGS, "s a kill"]
        lines = [("", headings), *rows, ("all", [*total.row(), spent])]
        return "\n".join(
            f"{name:24}"
            + "".join(f"{cell:>{len(head) + 2}}" for head, cell in zip(headings, cells, strict=True))
            for name, cells in lines
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cells", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--limit", type=float, default=3600.0, metavar="S", help="stop after so many seconds")
    parser.add_argument("--each", type=int, default=0, help="kills that each cell has at least")
    parser.add_argument("--jobs", type=int, default=1, help="matrices side by side")
    parser.add_argument("--tell", metavar="FILE", help="write the tallies there, as JSON")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files of trials with faults there")
    options = parser.parse_args()
    cells = [cell for cell in CELLS if any(fnmatch(cell, pattern) for pattern in options.cells)]
    if not cells:
        parser.error(f"No cell fits. Cells: {', '.join(CELLS)}")
    warnings.simplefilter("ignore", ResourceWarning)
    started = time.monotonic()
    matrix = side_by_side(options, cells) if options.jobs > 1 else alone(options, cells)
    if options.tell:
        tallies = {cell: asdict(tally) for cell, tally in matrix.tallies.items()}
        Path(options.tell).write_text(json.dumps([tallies, matrix.took]), encoding="utf-8")
    print(matrix.table())
    print(f"seed {options.seed}, {matrix.kills} kills, {time.monotonic() - started:.0f} s")
    least = min(matrix.tallies.get(cell, Tally()).kills for cell in cells)
    if matrix.faults or matrix.kills < options.kills or least < options.each:
        told = f"{matrix.faults} faults, {matrix.kills} of {options.kills} kills"
        raise SystemExit(f"{told}, {least} of {options.each} in the cell with the fewest")


def side_by_side(options: argparse.Namespace, cells: Sequence[str]) -> Matrix:
    """Run several matrices, each in a process of its own, and return their sum."""
    whole = Matrix(cells, Models(0), Path(), None)
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number in range(options.jobs):
            arguments: dict[str, Any] = {
                "--kills": -(-options.kills // options.jobs),
                "--each": -(-options.each // options.jobs),
                "--seed": options.seed + FAR * number,
                "--limit": options.limit,
                "--tell": f"{folder}/{number}",
                **({"--keep": f"{options.keep}/{number}"} if options.keep else {}),
            }
            words = [str(word) for pair in arguments.items() for word in pair]
            command = [sys.executable, "-m", "tests.chaos.cluster", *words, "--cells", *options.cells]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        for number, process in enumerate(running):
            process.wait()
            try:
                tallies, took = json.loads(Path(folder, str(number)).read_text(encoding="utf-8"))
            except OSError:
                whole.tallies.setdefault("a matrix that died", Tally()).errors += 1
                continue
            for cell, seconds in took.items():
                whole.took[cell] += seconds
            for cell, tally in tallies.items():
                whole.tallies.setdefault(cell, Tally())
                whole.tallies[cell] += Tally(**tally)
    return whole


def alone(options: argparse.Namespace, cells: Sequence[str]) -> Matrix:
    """Run one matrix."""
    with ExitStack() as stack:
        warm_up()
        models = stack.enter_context(serving())
        folder = Path(
            options.keep or stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        folder.mkdir(parents=True, exist_ok=True)
        server = None
        if any("/postgres/" in cell for cell in cells):
            import stepgraph.state.journal.postgres.store

            data = own_folder()
            stack.callback(shutil.rmtree, data, ignore_errors=True)
            server = PostgresServer(data)
            server.start()
            stack.callback(server.stop, "immediate")
        temporal = None
        if any(cell.startswith("temporal/") for cell in cells):
            import stepgraph.runners.engines.temporal

            temporal = TemporalServer(own_folder(), kept=True)
            temporal.start()
            stack.callback(temporal.kill)
        if any(cell.startswith("dbos/") for cell in cells):
            import stepgraph.runners.engines.dbos  # noqa: F401
        matrix = Matrix(cells, models, folder, server, temporal, keep=bool(options.keep))
        with suppress(KeyboardInterrupt):
            matrix.run(options.kills, options.each, options.seed, options.limit)
        return matrix


if __name__ == "__main__":
    main()
