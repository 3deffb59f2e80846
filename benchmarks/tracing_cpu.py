"""What sending traces costs, by itself: the CPU of the thread that sends them, and the functions it calls.

Only that thread counts, so that neither the runs nor what else the machine does is in the figure; the number
of functions is nearly the same each time. The server is none: its answer is made up in the process.
`--beside FOLDER` takes turns with another tree, such as a git worktree of an earlier commit.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .contenders import prompt_for
from .processes import HERE, options_of

CHAIN, RUNS = 10, 40
ANSWER = "The lamp has been replaced, dear customer. Write to us if the new one is dark as well."


def app() -> Any:
    from stepgraph import Ask, chain, step

    from .contenders import State

    @step("text")
    def ask(state: State) -> Ask[str]:
        return Ask(prompt_for(state["number"]))

    return chain(*[ask] * CHAIN).compile()


def answered(_: Any, request: Any, **__: Any) -> Any:
    """Take the place of a server that takes everything."""
    import requests

    response = requests.Response()
    response.status_code, response.request, response._content = 200, request, b""
    return response


class Measured:
    """What the threads of exporters used: CPU seconds, or calls of functions."""

    def __init__(self, *, counts: bool) -> None:
        from stepgraph.tracing.export import live

        self.value = 0.0
        live.CLOSE_S = 600.0  # nothing is left for later
        inner: Any = live.LiveExporter._run

        def run(exporter: Any) -> None:
            profile = cProfile.Profile() if counts else None
            start = time.thread_time()
            if profile is not None:
                profile.runcall(inner, exporter)
                self.value = sum(entry.callcount for entry in profile.getstats())
            else:
                inner(exporter)
                self.value = time.thread_time() - start

        setattr(live.LiveExporter, "_run", run)  # noqa: B010


def work(counts: bool, runs: int) -> float:
    """Return milliseconds, or functions, for each model call of one session's runs."""
    import requests

    from stepgraph import ScriptedModel, Session, using
    from stepgraph.tracing import Tracing
    from stepgraph.tracing.export.settings import TracingSettings, langfuse

    setattr(requests.Session, "send", answered)  # noqa: B010
    graph, measured = app(), Measured(counts=counts)
    for number in (3, runs):  # the first ones do not count
        to = langfuse("pk-lf-bench", "sk-lf-bench", "http://127.0.0.1:9")
        tracing = Tracing(TracingSettings(destinations=(to,)))
        with (
            tempfile.TemporaryDirectory() as folder,
            Session(Path(folder) / "runs.sqlite", tracing=tracing) as session,
            using(ScriptedModel(lambda *_: ANSWER)),
        ):
            for each in range(number):
                graph.invoke({"number": each, "text": ""}, session.config())
    return measured.value * (1 if counts else 1e3) / (runs * CHAIN)


def measure(tree: Path, *, counts: bool, runs: int) -> float:
    """Measure a tree in a process of its own."""
    words = [sys.executable, "-c", _CHILD, "count" if counts else "cpu", str(runs)]
    # Python looks into its folder first, so that must be the tree, too.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(HERE.parent)])}
    done = subprocess.run(words, cwd=tree, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


_CHILD = "from benchmarks.tracing_cpu import worker; worker()"


def worker() -> None:
    how, runs = sys.argv[1:]
    print(json.dumps(work(how == "count", int(runs))), flush=True)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--beside", type=Path, help="another tree, to take turns with")
    parser.add_argument("--runs", type=int, default=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    trees = {"here": HERE.parent, **({"beside": options.beside.resolve()} if options.beside else {})}
    times: dict[str, list[float]] = {name: [] for name in trees}
    for number in range(options.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        for name, tree in trees.items():
            times[name].append(measure(tree, counts=False, runs=options.runs))
    counts = {name: measure(tree, counts=True, runs=options.runs) for name, tree in trees.items()}
    print(f"sending a trace, for each model call (chains of {CHAIN}, {options.runs} runs)")
    for name, values in times.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"  {name:8} CPU {middle:.3f} ms ({low:.3f} - {high:.3f}), {counts[name]:.0f} function calls")
    if options.beside:
        pairs = sorted(a / b for a, b in zip(times["here"], times["beside"], strict=True))
        ratio = counts["here"] / counts["beside"]
        print(
            f"  here / beside: CPU {statistics.median(pairs):.2f} ({pairs[0]:.2f} - {pairs[-1]:.2f}) in the "
            f"same round, function calls {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
