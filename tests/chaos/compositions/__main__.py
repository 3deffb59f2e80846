"""Random compositions of all patterns, disturbed at random: what is paid twice, lost, different or missing?

    python -m tests.chaos.compositions --graphs 300 --seed 1

Each seed gives one workflow and what happens to it: kills, signals, budgets that end, parts with too small a
budget, a process that is stopped while another takes its thread over, forks. An uninterrupted run of the same
workflow says what is right.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ..living import forked, received
from . import lives
from .lives import Folder, Life, Order
from .trial import DISTURBANCES, Fault, Trial

KINDS = ("repaid", "lost", "different", "partial", "fence", "effect", "error")


def warm_up() -> None:
    """Import all that a run imports: a child that runs says what. Nothing but imports happens here."""
    with tempfile.TemporaryDirectory() as folder, forked(_imports, Path(folder)) as (_, pipe):
        for name in received(pipe):
            if name not in sys.modules:
                with suppress(ImportError):
                    importlib.import_module(name)


def _imports(pipe: Connection, folder: Path) -> None:
    class Mute:
        def send(self, said: object) -> None: ...

    Life(Folder(folder, 1, rich=False), Order(0))(Mute())  # type: ignore[arg-type]
    pipe.send([name for name in sys.modules if not name.startswith("__")])


def tried(seed: int, options: argparse.Namespace) -> tuple[int, list[Fault], Counter[str]]:
    """Return what went wrong with one seed, and what was counted."""
    if options.keep:
        Path(options.keep).mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"composition-{seed}-", dir=options.keep))
    trial = Trial(Folder(path, seed, rich=options.states == "all"), tuple(options.only or DISTURBANCES))
    try:
        faults = trial.run()
    except Exception:
        faults = [*trial.faults, Fault("error", traceback.format_exc(limit=-4))]
    if not options.keep:
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    return seed, faults, trial.counts


def _lane(pipe: Connection, seeds: list[int], options: argparse.Namespace) -> None:
    for seed in seeds:
        pipe.send(tried(seed, options))
    pipe.close()


def _first_of_each(faults: list[Fault]) -> list[Fault]:
    return [*{fault.kind: fault for fault in reversed(faults)}.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--graphs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--states", choices=("plain", "all"), default="all")
    parser.add_argument(
        "--only", action="append", choices=sorted(set(DISTURBANCES)), help="one kind of disturbance"
    )
    parser.add_argument(
        "--limit", type=float, default=lives.SILENT_S, help="seconds for one life: more on a busy machine"
    )
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files of all trials there")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ResourceWarning)
    lives.SILENT_S = options.limit
    started = time.monotonic()
    warm_up()
    seeds = list(range(options.seed, options.seed + options.graphs))
    fork = multiprocessing.get_context("fork")
    pipes = []
    for number in range(options.jobs):
        ours, theirs = fork.Pipe(duplex=False)
        lane = fork.Process(target=_lane, args=(theirs, seeds[number :: options.jobs], options))
        lane.start()
        theirs.close()
        pipes.append(ours)
    done, kinds, counts = 0, Counter[str](), Counter[str]()
    while pipes:
        for pipe in wait(pipes):
            try:
                seed, faults, counted = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            done += 1
            counts += counted
            kinds += Counter({fault.kind: 1 for fault in faults})
            for fault in faults if options.verbose else _first_of_each(faults):
                print(f"seed {seed}: {fault.kind}: {fault.text}", flush=True)
            if faults:
                print(f"  again: python -m tests.chaos.compositions --seed {seed} --graphs 1", flush=True)
    print(
        f"{done} graphs, {time.monotonic() - started:.0f} s: "
        + ", ".join(f"{n} {k}" for k, n in sorted(counts.items()))
    )
    print("graphs with a fault: " + ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS))
    if kinds or done < options.graphs:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
