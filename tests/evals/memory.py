"""How much memory a suite takes at its peak, by its number of trials: `python -m tests.evals.memory`.

Each size runs in a process of its own, with a workflow of one function that writes a large field.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stepgraph import Session, chain
from stepgraph.evals import Case, Expected, Suite, run_suite
from stepgraph.evals.report.summary import summarise

LARGE = 4000


@dataclass
class Page:
    text: str
    copy: str = ""


def copied(page: Page) -> dict[str, str]:
    return {"copy": page.text * LARGE}


def run(trials: int) -> float:
    """Run a suite of so many trials and report on it; return the peak in MiB."""
    graph = chain(copied, name="copy").compile()
    cases = [
        Case(f"c{n}", {"text": "x"}, Expected(output={"text": "x"}, has_output=True)) for n in range(trials)
    ]
    with tempfile.TemporaryDirectory() as folder, Session(Path(folder) / "runs.sqlite") as session:
        path = Path(folder) / "results.jsonl"
        results = run_suite(Suite("memory", cases, concurrency=8), graph, session, run="m", results=path)
        assert summarise(results).outcome == "passed"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    options.add_argument("--here", action="store_true", help="in this process")
    given = options.parse_args()
    for trials in given.trials:
        if given.here:
            print(f"{trials} trials: {run(trials):.0f} MiB at the peak", flush=True)
        else:
            subprocess.run(
                [sys.executable, "-m", "tests.evals.memory", "--here", "--trials", str(trials)], check=True
            )


if __name__ == "__main__":
    main()
