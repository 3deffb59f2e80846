"""The most memory that branches of a fan-out take while their answers are large. See the README here.

python -m benchmarks.answer_memory --branches 200 --mib 1
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

from stepgraph import Ask, Session, fan_out, step, using
from tests.servers import Answer, ChatServer

MIB = 1 << 20


@dataclass
class Topics:
    topics: list[str]
    notes: list[Topic] = field(default_factory=list)


@dataclass
class Topic:
    topic: str
    note: str = ""


def split(state: Topics) -> list[Topic]:
    return [Topic(topic) for topic in state.topics]


@step("note")
def say(topic: Topic) -> Ask[str]:
    return Ask(topic.topic)


def measure(branches: int, mib: float, url: str, *, traced: bool) -> None:
    """Run in a process of its own, and print its peak beyond that of a run with short answers."""
    app = fan_out(split, say, into="notes").compile()
    with tempfile.TemporaryDirectory() as folder, Session(Path(folder) / "runs.sqlite") as session:
        with using({"base_url": url, "model": "m", "timeout_s": 120}):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if traced:
                tracemalloc.start(8)
            result = app.invoke(Topics([str(n) for n in range(branches)]), session.config("t"))
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if traced:
                for line in tracemalloc.take_snapshot().statistics("traceback")[:6]:
                    print(
                        f"{line.size / MIB:.0f} MiB in {line.count}", *line.traceback.format()[-4:], sep="\n"
                    )
        assert len(result["notes"]) == branches
    print(json.dumps({"mib": (after - before) / 1024, "answers_mib": branches * mib}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--branches", type=int, default=200)
    parser.add_argument("--mib", type=float, default=1)
    parser.add_argument("--url", default="")
    parser.add_argument("--traced", action="store_true")
    options = parser.parse_args()
    if options.url:
        measure(options.branches, options.mib, options.url, traced=options.traced)
        return
    with ChatServer() as server:
        server.always = Answer("x" * int(options.mib * MIB))
        words = [sys.executable, "-m", "benchmarks.answer_memory", "--branches", str(options.branches)]
        words += ["--mib", str(options.mib), "--url", server.url, *(["--traced"] if options.traced else [])]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    *traces, last = done.stdout.splitlines()
    print(*traces, sep="\n")
    result = json.loads(last)
    share = result["mib"] / result["answers_mib"]
    print(
        f"{options.branches} answers of {options.mib:g} MiB: {result['mib']:.0f} MiB more, "
        f"{share:.1f} times them"
    )


if __name__ == "__main__":
    main()
