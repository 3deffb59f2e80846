"""`stepgraph history`, `fork` and `diff`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Budget, ScriptedModel, Session
from stepgraph.cli.support.ask_again import ask_again
from stepgraph.tracing.forks.fork import find_call, fork
from stepgraph.tracing.record.reads import read_calls

from ..servers import Fault
from .conftest import Command


@pytest.fixture
def memos(command: Command, memo: Any) -> Any:
    memo.will("Short.")
    command("run", "memo.py:graph", "-i", "text=A long text", "--thread", "m")
    return memo


def test_history_lists_checkpoints_with_changes_next_and_cost(command: Command, memos: Any) -> None:
    out = command("history", "m").out
    for part in ("m  done", "\n -1  ", "shorten", "short = Short.", "-> not_rude", "1 calls, 100+20 tokens"):
        assert part in out, part
    rows = command("history", "m", "--json").rows
    assert [row["superstep"] for row in rows] == [-1, 0, 1, 2]
    assert rows[1]["cost"]["calls"] == 1
    assert rows[2]["changed"] == {"short": "Short."}


def test_a_fork_with_another_field_runs_and_tells_what_differs(command: Command, memos: Any) -> None:
    memos.will("Shorter.")
    done = command("fork", "m", "--at", "0", "--set", "text=other", "--thread", "n")
    assert done.code == 0
    assert memos.bodies[-1]["messages"][-1]["content"] == "Shorten: other"
    assert "n  forked from m" in done.out
    assert "call      shorten: prompt, answer" in done.out
    assert "state     short" in done.out
    assert command("history", "m", "--json").rows[1]["changed"]["text"] == "A long text"


def test_one_call_is_asked_with_another_prompt(command: Command, memos: Any) -> None:
    memos.will("Better.")
    done = command("fork", "m", "--call", "shorten", "--prompt", "Be brief.", "--thread", "n", "--json")
    assert memos.calls == 2
    assert memos.bodies[-1]["messages"][-1]["content"] == "Be brief."
    fork, outcome, difference = done.rows
    assert fork == {"thread": "n", "parent": "m"}
    assert outcome["output"]["short"] == "Better."
    assert [call["what"] for call in difference["calls"]] == [["prompt", "answer"]]
    assert difference["cost_b"]["cost_usd"] == pytest.approx(0.00014)


def test_a_call_that_nobody_answers_leaves_no_fork(command: Command, memos: Any) -> None:
    done = command("fork", "m", "--call", "shorten", "--model", "vllm:other", "--thread", "n", "--json")
    assert done.code == 3  # nothing listens there
    assert "other" in done.err
    assert command("threads", "--json").rows[0]["thread_id"] == "m"


def test_a_call_that_is_asked_again_is_held_by_the_budget(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "m", "--budget", "calls=1")
    with Session(tmp_path / "stepgraph.sqlite") as session:
        budget = ("UPDATE runs SET budget = ? WHERE thread_id = 'm'", (Budget(calls=0).to_json(),))
        session.journal.write([budget])  # from now on
    refused = command("fork", "m", "--call", "shorten", "--prompt", "Be brief.", "--thread", "n")
    assert (refused.code, memo.calls) == (6, 1)
    assert "calls = 0" in refused.err
    assert [row["thread_id"] for row in command("threads", "--json").rows] == ["m"]

    more = ("--budget", "calls=1", "--json")
    done = command("fork", "m", "--call", "shorten", "--prompt", "Be brief.", "--thread", "n", *more)
    assert (done.code, memo.calls) == (0, 2)
    (left,) = command("sql", "SELECT spent, remaining FROM budgets WHERE thread_id = 'n'", "--json").rows
    assert left == {"spent": 1, "remaining": 0}


async def test_one_call_is_asked_of_another_model(memos: Any, tmp_path: Path) -> None:
    with Session(tmp_path / "stepgraph.sqlite") as session, ScriptedModel(["Other."]) as other:
        call = find_call(session, "m", "shorten")
        stand = await ask_again(session, call, "n", model=other)
        fork(session, "m", call=call["id"], answer=stand, new_thread="n")
        given, paid = read_calls(session.journal, "n")
    assert (paid["source"], paid["task"], given["source"], given["origin"]) == (
        "model",
        call["task"],
        "override",
        paid["id"],
    )
    assert (given["request_hash"], given["answer"], given["model_asked"]) == (
        call["request_hash"],
        "Other.",
        "scripted",
    )
    assert paid["request_hash"] != call["request_hash"]
    assert memos.calls == 1


def test_one_call_is_answered_by_hand_and_nobody_is_asked(command: Command, memos: Any) -> None:
    done = command("fork", "m", "--call", "shorten", "--answer", "You are rude", "--thread", "n", "--json")
    assert memos.calls == 1
    assert done.code == 1  # the gate stops it, as it would have
    assert "rude" in done.rows[1]["error"]


def test_a_fork_waits_with_no_run(command: Command, memos: Any) -> None:
    done = command("fork", "m", "--at", "0", "--thread", "n", "--no-run")
    assert (done.code, memos.calls) == (0, 1)
    assert command("threads", "--json").rows[0]["status"] == "queued"
    assert command("resume", "n").code == 0
    assert memos.calls == 2


def test_a_failed_run_can_be_forked(command: Command, memo: Any) -> None:
    memo.will(Fault(status=401))
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "f")
    done = command("fork", "f", "--thread", "g", "--json")
    assert (done.code, done.rows[1]["status"]) == (0, "done")
    assert command("threads", "--json").rows[-1]["status"] == "failed"


def test_diff_begins_with_the_first_step_that_differs(command: Command, memo: Any) -> None:
    memo.will("a draft", "another draft")
    for thread in ("one", "two"):
        command("run", "memo.py:graph", "-i", "text=x", "--thread", thread)
    out = command("diff", "one", "two").out
    assert out.startswith("first difference: shorten, output")
    assert out.index("a draft") < out.index("another draft")
    assert "call      shorten: answer" in out
    (row,) = command("diff", "one", "two", "--json").rows
    assert "output" in row["first"]["what"]
    assert row["first"]["b"]["output"]["short"] == "another draft"
    assert row["state"]["short"] == ["a draft", "another draft"]


def test_diff_says_so_when_nothing_differs(command: Command, memo: Any) -> None:
    for thread in ("a", "b"):
        command("run", "memo.py:graph", "-i", "text=x", "--thread", thread)
    assert "a and b went the same way" in command("diff", "a", "b").out
    assert command("diff", "a", "b", "--json").rows[0]["same"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fork", "m", "--prompt", "x"], "--call"),
        (["fork", "m", "--call", "shorten", "--answer", "x", "--prompt", "y"], "--prompt and --model"),
        (["fork", "m", "--at", "99"], "stepgraph history m"),
        (["fork", "m", "--set", "txt=1"], "Did you mean 'text'?"),
        (["fork", "m", "--set", "count=many"], "does not fit Memo"),
        (["fork", "m", "--set", "count"], "expected field=value"),
        (["fork", "m", "--call", "shorten", "--at", "1"], "give one"),
        (["fork", "m", "--thread", "m"], "exists already"),
        (["fork", "nope"], "There is no thread"),
        (["history", "nope"], "There is no thread"),
        (["diff", "m", "nope"], "There is no thread"),
    ],
)
def test_mistakes_are_told_and_leave_no_thread(
    command: Command, memos: Any, words: list[str], told: str
) -> None:
    done = command(*words)
    assert done.code == 2
    assert told in done.err
    assert len(command("threads", "--json").rows) == 1


def test_control_characters_never_reach_the_terminal(command: Command, memo: Any) -> None:
    memo.will("\x1b[31mred")
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "a")
    memo.will("\x1b[32mgreen")
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "b")
    for words in (["history", "a"], ["diff", "a", "b"], ["sql", "SELECT answer FROM calls"]):
        assert "\x1b[3" not in command(*words).out


def test_a_thread_from_python_is_forked_without_its_graph(command: Command, tmp_path: Path) -> None:
    from stepgraph.graphs.ready.support_desk.graph import Ticket, graph

    with Session(tmp_path / "stepgraph.sqlite") as session:
        graph.compile().invoke(Ticket("I want to talk to a human!"), session.config("py"))
    assert command("fork", "py").code == 2
    assert command("fork", "py", "--no-run", "--thread", "n").code == 0
    assert json.loads(command("diff", "py", "n", "--json").out)["same"] is True


def test_a_thread_that_python_ran_is_forked_with_the_graph_that_is_named(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    memo.will("Short.")
    inner = (tmp_path / "memo.py").read_text()
    ran = (
        'with Session("stepgraph.sqlite") as session:\n'
        '    graph.compile().invoke(Memo("A long memo."), session.config("p"))'
    )
    code = f"{inner}\nfrom stepgraph import Session\n{ran}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    done = command("fork", "p", "--thread", "q", "--set", "text=Another.")
    assert (done.code, "--graph file.py:attr" in done.err) == (2, True)
    memo.will("Other.")
    words = ("fork", "p", "--thread", "q", "--at", "0", "--set", "text=Another.", "--graph", "memo.py:graph")
    done = command(*words)
    assert done.code == 0, done.err
    assert command("threads", "--json").rows[0]["status"] == "done"
