"""A process that dies between the workers of a map-reduce or an orchestrator pays for no answer twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ...committed import until_the_dead_are_known
from ...servers import Answer, ChatServer
from ...warm import run_python

FLOW = """
import os, sys, time
from dataclasses import dataclass, field

from stepgraph import Ask, Session, chain, map_reduce, orchestrate, rule, step, using
from stepgraph.state.journal.opening import open_store


@dataclass
class Part:
    text: str
    note: str = ""


@dataclass
class Book:
    text: str = "a b c d"
    plan: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    digest: Part | None = None
    report: str = ""


@step("note")
def sum_up(part: Part) -> Ask[str]:
    return Ask(part.text)


@step("report")
def write_up(book: Book) -> Ask[str]:
    return Ask(" ".join(part.note for part in book.parts))


def die(part: Part) -> dict:
    # In a worker on a text of the given length, once so many answers are on record.
    length, _, answers = os.environ.get("CRASH", "").partition(":")
    if length == str(len(part.text)):
        calls = open_store("runs.sqlite")
        found = "SELECT count(*) FROM calls WHERE answer IS NOT NULL"
        while calls.rows(found)[0][0] < int(answers):
            time.sleep(0.01)
        os._exit(9)
    return {}


@rule("plan")
def split(book: Book) -> list[Part]:
    return [Part(word) for word in book.text.split()]


def together(group: list[Part]) -> Part:
    return Part("+".join(part.note for part in group))


worker = chain(sum_up, die)
FLOWS = {
    "map": map_reduce(split, worker, join=together, into="digest", tokens=5, count=len),
    "plan": orchestrate(split, worker, write_up, into="parts"),
}

if __name__ == "__main__":
    app = FLOWS[sys.argv[2]].compile()
    with Session("runs.sqlite") as session, using({"model": "m", "base_url": sys.argv[1]}):
        result = app.invoke(Book() if os.environ.get("CRASH") else None, session.config("t"))
        print(result["digest"].note if sys.argv[2] == "map" else result["report"])
"""


@pytest.mark.parametrize(
    ("pattern", "crash", "calls"), [("map", "1:4", 7), ("map", "5:6", 7), ("plan", "1:4", 5)]
)
def test_a_crash_loses_no_answer(
    tmp_path: Path, server: ChatServer, pattern: str, crash: str, calls: int
) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    server.decide = lambda: Answer(f"n{server.calls}")

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return run_python("flow.py", server.url, pattern, cwd=tmp_path, env={**os.environ, **environment})

    crashed = run(CRASH=crash)
    assert crashed.returncode == 9, crashed.stderr
    assert server.calls == int(crash.partition(":")[2])
    until_the_dead_are_known(tmp_path / "runs.sqlite")
    resumed = run()
    assert resumed.stdout == f"n{calls}\n", resumed.stderr
    assert server.calls == calls
