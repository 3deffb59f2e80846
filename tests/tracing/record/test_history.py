"""The checkpoints of a thread, read without its graph."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from langgraph.types import Command

from stepgraph import Session
from stepgraph.tracing.record.history import CheckpointView, read_history

from ..travels import first_run


def test_it_tells_what_changed_what_ran_next_and_what_it_cost(session: Session) -> None:
    app = first_run(session)
    app.invoke(Command(resume="yes"), session.config("t"))
    moments = read_history(session, "t")

    assert [m.superstep for m in moments] == [-1, 0, 1, 2, 3, 4]
    assert [m.source for m in moments] == ["input", *["loop"] * 5]
    assert [m.wrote for m in moments[2:]] == [("polish",), ("tagged",) * 3, ("titled",), ("approve",)]
    assert moments[0].changed["__start__"]["topic"] == "tea"
    assert moments[2].changed == {"draft": "two", "mark": {"score": 5}}
    assert moments[3].changed == {"tags": ["x", "x", "x"]}
    assert moments[5].changed == {"approved": "yes"}
    assert [m.cost.calls for m in moments] == [0, 4, 3, 2, 0, 0]
    assert sorted(call["step"] for call in moments[3].calls) == ["name", "shorten"]
    assert moments[1].cost.usd == sum(c["cost_usd"] for c in moments[1].all_calls()) > 0
    assert all(a.at <= b.at for a, b in pairwise(moments))


def test_next_is_what_langgraph_says(session: Session) -> None:
    app = first_run(session)

    def ours(moments: list[CheckpointView]) -> list[tuple[str, ...]]:
        return [moment.next for moment in moments]

    theirs = [state.next for state in app.get_state_history(session.config("t"))][::-1]
    assert ours(read_history(session, "t")) == theirs
    assert theirs[-1] == ("approve",)


def test_the_checkpoints_of_a_nested_graph_hang_under_its_node(session: Session) -> None:
    first_run(session)
    moments = read_history(session, "t")
    ((ns, nested),) = moments[1].nested.items()
    assert ns.startswith("polish:")
    assert [m.superstep for m in nested] == [-1, 0, 1, 2, 3, 4, 5]
    assert [m.changed.get("draft") for m in nested[3:6:2]] == ["one", "two"]
    assert [c["step"] for m in nested for c in m.calls] == ["write", "judge", "write", "judge"]
    assert not any(m.nested for m in moments if m is not moments[1])


def test_it_needs_neither_graph_nor_types(session: Session, tmp_path: Path) -> None:
    first_run(session)
    session.journal.flush()
    code = (
        "from stepgraph import Session\n"
        "from stepgraph.tracing.record.history import read_history\n"
        f"with Session({str(tmp_path / 'runs.sqlite')!r}) as session:\n"
        "    print(read_history(session, 't')[2].changed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'draft': 'two', 'mark': {'score': 5}}"
    assert done.stderr == ""
