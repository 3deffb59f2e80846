"""`stepgraph resume --all`: threads that cannot go on keep no other from it, however many there are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.journal.records import Statement

from .conftest import Command

COLUMNS = "thread_id, graph, models, input, status, started_at, updated_at"
GRAPH = "memo.py:graph"
FILES = {
    "raises.py": "1 / 0",
    "exits.py": "import sys; sys.exit(3)",
    "syntax.py": "def (",
    "imports.py": "import nothing_of_that_name",
    "number.py": "graph = 3",
}
UNLOADABLE = {
    "no module": ("gone:graph", "There is no module 'gone'"),
    "no file": ("gone.py:graph", "There is no file"),
    "no name": ("memo.py:gone", "memo.py has no 'gone'"),
    "no graph": ("number.py:graph", "is no graph"),
    "raises": ("raises.py:graph", "ZeroDivisionError while it was loaded"),
    "exits": ("exits.py:graph", "SystemExit while it was loaded"),
    "syntax": ("syntax.py:graph", "SyntaxError while it was loaded"),
    "imports": ("imports.py:graph", "which is not installed here"),
    "elsewhere": ("/elsewhere/graph.py:graph", "lies outside this folder"),
    "python": (None, "was run from Python"),
}


def queued(thread: str, graph: str | None, given: str, at: float) -> Statement:
    if graph is not None and ".py" in graph and not graph.startswith("/"):
        graph = str(Path(graph).absolute())
    marks = ", ".join("?" * 7)
    return f"INSERT INTO runs ({COLUMNS}) VALUES ({marks})", (thread, graph, "{}", given, "queued", at, at)


@pytest.fixture
def flows(memo: Any, tmp_path: Path) -> Any:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return memo


def test_what_cannot_be_loaded_is_told_and_the_others_go_on(
    command: Command, flows: Any, tmp_path: Path
) -> None:
    now = time.time()
    rows: list[Statement] = []
    for number, (thread, (graph, _)) in enumerate(UNLOADABLE.items()):
        rows += [
            queued(f"fine {number}", GRAPH, '{"text": "x"}', now + 2 * number),
            queued(thread, graph, '{"text": "x"}', now + 2 * number + 1),
        ]
    rows += [
        queued("damaged input", GRAPH, '{"text', now + 100),
        queued("other input", GRAPH, '{"nothing": 1}', now + 101),
        queued("fine at last", GRAPH, '{"text": "x"}', now + 103),
    ]
    assert command("run", "memo.py:broken", "-i", "text=x", "--thread", "damaged checkpoint").code == 1
    with Session(tmp_path / "stepgraph.sqlite") as session:
        harm = "UPDATE checkpoints SET checkpoint = substr(checkpoint, 1, 20)"
        session.journal.write([*rows, (harm, ())])

    done = command("resume", "--all", "--json")
    told = {row["thread"]: row for row in done.rows}
    assert done.code != 0
    fine = {f"fine {number}" for number in range(len(UNLOADABLE))} | {"fine at last"}
    assert {thread for thread, row in told.items() if row["status"] == "done"} == fine
    reasons = {thread: reason for thread, (_, reason) in UNLOADABLE.items()}
    reasons |= {
        "damaged input": "The input of the thread 'damaged input' on record is damaged",
        "other input": "has a field 'nothing'",
        "damaged checkpoint": "A checkpoint, or a value in it, is damaged",
    }
    for thread, reason in reasons.items():
        assert reason in told[thread]["error"], told[thread]
    assert set(told) == fine | set(reasons)

    again = command("resume", "--all")
    assert "11 refused" in again.out


def test_more_threads_than_one_page_holds_are_all_seen(command: Command, flows: Any, tmp_path: Path) -> None:
    many, now = 10_050, time.time()
    runnable = {0, 5_000, 9_999, 10_000, many - 1}
    with Session(tmp_path / "stepgraph.sqlite") as session:
        session.journal.write(
            [
                queued(f"t{number}", GRAPH if number in runnable else None, '{"text": "x"}', now + number)
                for number in range(many)
            ]
        )
    done = command("resume", "--all", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["thread"] for row in rows] == [f"t{number}" for number in range(many)]
    assert {row["thread"] for row in rows if row["status"] == "done"} == {f"t{n}" for n in runnable}
    assert (done.code, flows.calls) == (2, len(runnable))
