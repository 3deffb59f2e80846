"""`stepgraph eval blame` and `eval sweep`, with a workflow in a file and models on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.exit_codes import ExitCode
from stepgraph.evals.files.results import read_results

from ..servers import ChatServer
from .conftest import Command

DESK = """
from dataclasses import dataclass
from stepgraph import Ask, chain, step

@dataclass
class Ticket:
    body: str
    order: str = ""
    reply: str = ""

def find_order(ticket: Ticket) -> dict[str, str]:
    return {"order": FORM % ticket.body}

@step("reply", model="writer")
def answer(ticket: Ticket) -> Ask[str]:
    return Ask(f"Refund {ticket.order}")

graph = chain(find_order, answer, name="desk")
"""
SUITE = """
suite: orders
graph: desk.py:graph
cases:
"""
CASE = """\
  - id: t{n}
    input: {{ body: "{n}" }}
    expect:
      nodes: {{ find_order: {{ last: {{ order: SG-{n} }} }} }}
      output: {{ reply: ok }}
"""


@pytest.fixture
def desk(tmp_path: Path, server: ChatServer) -> ChatServer:
    """A workflow, a suite of 12 cases for it, and the server that its role is bound to."""
    write_desk(tmp_path, "SG-%s")
    (tmp_path / "desk.eval.yaml").write_text(SUITE + "".join(CASE.format(n=n) for n in range(12)))
    served = f'base_url = "{server.url}", retries = 0'
    (tmp_path / "stepgraph.toml").write_text(
        "[models]\n"
        f'writer = {{ {served}, model = "dear", price = {{ input = 10, output = 10 }} }}\n'
        f'thrifty = {{ {served}, model = "cheap", price = {{ input = 1, output = 1 }} }}\n'
        f'unpriced = {{ {served}, model = "odd" }}\n'
    )
    return server


def write_desk(folder: Path, form: str) -> None:
    (folder / "desk.py").write_text(f"FORM = {form!r}\n" + DESK)


def test_the_node_that_a_change_made_worse_is_blamed(command: Command, desk: Any, tmp_path: Path) -> None:
    assert command("eval", "run", "desk.eval.yaml", "--run", "main").code == 0
    write_desk(tmp_path, "%s")
    assert command("eval", "run", "desk.eval.yaml", "--run", "change").code == 1
    paid = desk.calls
    done = command("eval", "blame", "main", "change", "--html", "b.html", "--markdown", "b.md")
    assert done.code == 0, done.err
    assert done.out.startswith("find_order got worse, confirmed by graft")
    assert "the grafts cost nothing" in done.out
    assert desk.calls == paid
    assert "find_order got worse, confirmed by graft" in (tmp_path / "b.html").read_text()
    assert "## find\\_order got worse, confirmed by graft" in (tmp_path / "b.md").read_text()
    told = command("eval", "blame", "stepgraph-evals/main.jsonl", "change", "--json")
    (row,) = told.rows
    assert (row["verdict"], row["node"], row["complete"]) == ("blamed", "find_order", True)
    suspected = command("eval", "blame", "main", "change", "--no-graft")
    assert suspected.out.startswith("find_order is suspected, not confirmed")


def test_the_old_checkout_beside_the_new_one_repairs_what_that_broke(
    command: Command, desk: Any, tmp_path: Path
) -> None:
    """Both checkouts have a `desk` and a `forms`; each must run with its own."""
    before = tmp_path / "before"
    before.mkdir()
    for folder in (tmp_path, before):
        write_desk(folder, "-")
        text = (folder / "desk.py").read_text().removeprefix("FORM = '-'\n")
        (folder / "desk.py").write_text("from forms import FORM\n" + text)
        (folder / "forms.py").write_text("FORM = 'SG-%s'\n")
    (tmp_path / "desk.eval.yaml").write_text(
        SUITE + "".join(CASE.format(n=n).replace("reply: ok", f"order: SG-{n}") for n in range(12))
    )
    assert command("eval", "run", "desk.eval.yaml", "--run", "main").code == 0
    (tmp_path / "forms.py").write_text("FORM = '%s'\n")
    assert command("eval", "run", "desk.eval.yaml", "--run", "change").code == 1
    old = ("--old", "before/desk.py:graph")
    (before / "forms.py").rename(before / "hidden.txt")
    partly = command("eval", "blame", "main", "change", *old)
    assert (partly.code, "before/desk.py imports 'forms'" in partly.err) == (2, True), partly.err
    (before / "hidden.txt").rename(before / "forms.py")
    done = command("eval", "blame", "main", "change", *old)
    assert done.code == 0, done.err
    assert (
        "Grafts run B from states of B on, with A's node and with its own, 72 times at most: find" in done.err
    )
    assert "Putting the old node back repairs it: output 0.000 with B's node, 1.000 with A's" in done.out
    (row,) = command("eval", "blame", "main", "change", *old, "--json").rows
    assert (row["verdict"], row["node"], row["repaired"]) == ("blamed", "find_order", True)
    named = command("eval", "blame", "main", "change", "--old", "desk:graph")
    assert (named.code, "names no file" in named.err) == (2, True)


def test_the_same_twice_is_undecided(command: Command, desk: Any) -> None:
    for name in ("a", "b"):
        command("eval", "run", "desk.eval.yaml", "--run", name)
    done = command("eval", "blame", "a", "b")
    assert (done.code, done.out.splitlines()[0]) == (0, "Undecided: no node can be blamed")


def test_one_thread_is_measured_by_its_case(command: Command, desk: Any, tmp_path: Path) -> None:
    write_desk(tmp_path, "%s")
    command("eval", "run", "desk.eval.yaml", "--run", "change")
    trial = read_results(Path("stepgraph-evals/change.jsonl")).trials["t3", 1]
    done = command("eval", "blame", trial.thread)
    assert done.code == 0, done.err
    assert done.out.startswith("It went wrong at find_order")
    assert "node: last visit: order: expected SG-3, got 3" in done.out
    other = command("eval", "blame", trial.thread, "--suite", "desk.eval.yaml", "--case", "t4", "--json")
    assert other.rows[0]["divergences"][0]["problem"] == "last visit: order: expected SG-4, got 3"


def test_what_cannot_be_blamed_is_refused(command: Command, desk: Any, tmp_path: Path) -> None:
    command("eval", "run", "desk.eval.yaml", "--run", "main")
    for words, told in (
        (("main", "nowhere"), "cannot be read"),
        (("main", "main", "--case", "t1"), "--case is for one thread"),
        (("some-thread",), "--suite SUITE"),
        (("main", "main", "--db", "nowhere.sqlite"), "There is no file nowhere.sqlite"),
    ):
        done = command("eval", "blame", *words)
        assert (done.code, told in done.err) == (2, True), done.err
    results = Path("stepgraph-evals/main.jsonl")
    results.write_text(results.read_text().replace('"desk.eval.yaml"', '"/elsewhere/desk.eval.yaml"'))
    done = command("eval", "blame", "main", "main")
    assert done.code == 2
    assert "lies outside this folder" in done.err


def test_a_sweep_names_the_cheapest_model(command: Command, desk: Any, tmp_path: Path) -> None:
    line = ("eval", "sweep", "desk.eval.yaml", "--model", "writer=writer,thrifty,unpriced", "--run", "s")
    done = command(*line, "--margin", "0.4", "--html", "s.html")
    assert done.code == 0, done.err
    assert done.out.startswith("Cheapest that keeps the score: writer=thrifty\n")
    assert "$0.00012 a trial on 12 cases" in done.out
    assert "90% less than the reference" in done.out
    assert "Of unknown cost: writer=unpriced." in done.out
    assert "writer=thrifty" in done.err
    assert {body["model"] for body in desk.bodies} == {"dear", "cheap", "odd"}
    assert "Cheapest that keeps the score" in (tmp_path / "s.html").read_text()
    paid = desk.calls
    (row,) = command(*line, "--margin", "0.4", "--json").rows
    assert row["cheapest"] == {"writer": "thrifty"}
    assert [option["verdict"] for option in row["options"]] == ["reference", "keeps", "keeps"]
    assert desk.calls == paid


def test_a_sweep_whose_budget_ends_is_partial(command: Command, desk: Any) -> None:
    line = ("eval", "sweep", "desk.eval.yaml", "--step", "answer=thrifty,writer", "--run", "s", "--jobs", "1")
    done = command(*line, "--budget", "calls=15")
    assert done.code == ExitCode.PARTIAL, done.err
    assert "PARTIAL" in done.out
    assert desk.calls == 15
    assert command(*line).code == 0
    assert desk.calls == 24


def test_a_sweep_over_nothing_is_refused(command: Command, desk: Any) -> None:
    done = command("eval", "sweep", "desk.eval.yaml", "--model", "writer=local")
    assert (done.code, "nothing to sweep" in done.err) == (2, True)
    done = command("eval", "sweep", "desk.eval.yaml", "--model", "riter=writer,thrifty")
    assert "did you mean 'writer'" in done.err.lower()
    done = command("eval", "sweep", "desk.eval.yaml", "--model", "writer=writer,nonsense")
    assert done.code == 2
    assert desk.calls == 0
