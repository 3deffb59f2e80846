"""Contenders in processes of their own that take turns, the stub server, and the table of the rounds.

A process imports only what its contender needs. The processes stay for all rounds and take turns within
each, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

HERE = Path(__file__).parent
T = TypeVar("T")
# What a contender gets is the URL of the stub server and a folder of its own.
Contender = Callable[[str, Path], AbstractAsyncContextManager[T]]
Rounds = dict[str, list[dict[str, float]]]
Medians = dict[str, float]


def options_of(doc: str | None, rounds: int = 7) -> argparse.ArgumentParser:
    """Return a parser with the options that the benchmarks share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    text = "two rounds, to see that it works"
    parser.add_argument("--quick", action="store_const", dest="rounds", const=2, help=text)
    return parser


@contextmanager
def process(*command: str | Path, tree: Path = HERE.parent) -> Iterator[tuple[IO[str], IO[str]]]:
    """Start a Python process, which ends with its standard input, and yield its input and output."""
    pipe, env = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(tree)}
    started = subprocess.Popen(
        [sys.executable, *command], stdin=pipe, stdout=pipe, text=True, cwd=tree, env=env
    )
    assert started.stdin is not None
    assert started.stdout is not None
    with started.stdin:
        yield started.stdin, started.stdout


@contextmanager
def server(*command: str | Path) -> Iterator[str]:
    """Start a server that prints its port, and yield its URL."""
    with process(*command) as (_, output):
        yield f"http://127.0.0.1:{output.readline().strip()}"


@contextmanager
def stub_server(latency_s: float = 0.0) -> Iterator[str]:
    """Start the model's stub, and yield its base URL."""
    with server(HERE / "stub_server.py", str(latency_s)) as url:
        yield f"{url}/v1"


def run_apart(*command: str) -> Any:
    """Run a Python process to its end and return the JSON of its last line."""
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    module: str,
    doc: str | None,
    contenders: dict[str, Contender[T]],
    measured: Callable[[T], Awaitable[dict[str, float]]],
    table: Callable[[Rounds], str],
    rounds: int = 7,
) -> None:
    """Run the command line of a benchmark whose contenders take turns: all of them, or one as a worker.

    With `--beside FOLDER`, those whose names begin with "stepgraph" take turns with the same ones of that
    tree, if its benchmark has them too; what the others cost does not depend on the tree.
    """
    parser = options_of(doc, rounds)
    parser.add_argument("--beside", type=Path, help="another tree, such as a worktree of an earlier commit")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, url = options.worker
        asyncio.run(_work(contenders[name], url, measured))
        return
    with ExitStack() as stack:
        url = stack.enter_context(stub_server())

        def started(name: str, tree: Path) -> tuple[IO[str], IO[str]]:
            return stack.enter_context(process("-m", module, "--worker", name, url, tree=tree))

        beside = options.beside.resolve() if options.beside else HERE.parent
        known_there = (beside / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        workers = {}
        for name in contenders:
            workers[name] = started(name, HERE.parent)
            if options.beside and name.startswith("stepgraph") and f'"{name}"' in known_there:
                workers[f"{name} (beside)"] = started(name, beside)
        times: Rounds = {name: [] for name in workers}
        for number in range(options.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            for name, worker in workers.items():
                times[name].append(_ask_for_round(*worker))
        print(table(times))


async def _work(
    contender: Contender[T], url: str, measured: Callable[[T], Awaitable[dict[str, float]]]
) -> None:
    """Be one contender: for each line that comes in, run one round and print its times as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        async with contender(url, Path(folder)) as runs:
            while sys.stdin.readline():
                print(json.dumps(await measured(runs)), flush=True)


def _ask_for_round(to_worker: IO[str], from_worker: IO[str]) -> dict[str, float]:
    print("go", file=to_worker, flush=True)
    line = from_worker.readline()
    if not line:
        raise SystemExit("A contender failed; its error is above.")
    times: dict[str, float] = json.loads(line)
    return times


def table_of(
    times: Rounds, titles: dict[str, str], ratios: dict[str, Callable[[Medians, str], float]]
) -> str:
    """Return the medians of each figure under its title, with a column for each ratio."""
    lines = []
    widths = {heading: max(6, len(heading) + 1) for heading in ratios}
    for figure, title in titles.items():
        columns = {name: [one[figure] for one in rounds] for name, rounds in times.items()}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        headings = "".join(f" {heading:>{width}}" for heading, width in widths.items())
        lines += ["", f"{title:45} {'median':>7} {'min - max':>13}{headings}"]
        for name, values in columns.items():
            spread = f"{min(values):.2f} - {max(values):.2f}"
            cells = "".join(f" {ratios[h](medians, name):{width}.2f}" for h, width in widths.items())
            lines.append(f"  {name:43} {medians[name]:7.2f} {spread:>13}{cells}")
    return "\n".join(lines)
