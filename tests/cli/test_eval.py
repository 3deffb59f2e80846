"""`stepgraph eval`, with a workflow in a file and a model on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.exit_codes import ExitCode

from .conftest import Command

DESK = """
from dataclasses import dataclass
from typing import Literal
from stepgraph import Ask, route, step

Topic = Literal["billing", "technical"]

@dataclass
class Ticket:
    body: str
    topic: str = ""
    reply: str = ""

def topic(ticket: Ticket) -> Topic:
    return "billing" if WORD in ticket.body else "technical"

@step("reply", model="writer")
def bill(ticket: Ticket) -> Ask[str]:
    return Ask(f"Billing: {ticket.body}")

def advise(ticket: Ticket) -> dict[str, str]:
    return {"reply": "Turn it off and on."}

graph = route(topic, {"billing": bill, "technical": advise}, name="desk")
"""
SUITE = """
suite: desk routes
graph: desk.py:graph
evaluators:
  - { name: billed, kind: similarity, field: reply, at_least: 0.9 }
gates:
  - { metric: route, not_worse: true }
  - { metric: completed, at_least: 1.0 }
cases:
"""


@pytest.fixture
def desk(tmp_path: Path, server: Any) -> Any:
    """A workflow, a suite of 20 cases for it, and the server that its role is bound to."""
    write_desk(tmp_path, "pay")
    cases = [
        f"  - {{ id: t{n}, input: {{ body: ticket {n} {'pay' if n % 2 else 'broken'} }}, "
        f"expect: {{ route: {'billing' if n % 2 else 'technical'}"
        f"{', billed: Paid.' if n % 2 else ''} }} }}\n"
        for n in range(20)
    ]
    (tmp_path / "desk.eval.yaml").write_text(SUITE + "".join(cases))
    (tmp_path / "stepgraph.toml").write_text(
        f'[models]\nwriter = {{ base_url = "{server.url}", model = "served", retries = 0, '
        "price = { input = 1, output = 2 } }\n"
    )
    server.will(*["Paid."] * 40)
    return server


def write_desk(folder: Path, word: str) -> None:
    (folder / "desk.py").write_text(f"WORD = {word!r}\n" + DESK)


def test_a_run_reports_and_writes_its_files(command: Command, desk: Any, tmp_path: Path) -> None:
    done = command(
        *("eval", "run", "desk.eval.yaml", "--run", "main", "--no-baseline"),
        *("--html", "out/r.html", "--markdown", "out/r.md", "--junit", "out/r.xml"),
    )
    assert done.code == 0, done.err
    assert "desk routes: passed (run main)" in done.out
    assert "cost $0.0014 for 10 calls, 1200 tokens; judges nothing" in done.out
    assert "Route topic: 20 of 20 right" in done.out
    assert "20 of 20 trials, 0 failed, $0.0014 so far" in done.err
    assert "Results: stepgraph-evals/main.jsonl" in done.out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"r.html", "r.md", "r.xml"}
    assert desk.calls == 10


def test_a_change_that_makes_routing_worse_fails_the_gate(
    command: Command, desk: Any, tmp_path: Path
) -> None:
    assert command("eval", "run", "desk.eval.yaml", "--run", "main", "--no-baseline").code == 0
    write_desk(tmp_path, "invoice")
    done = command(
        *("eval", "run", "desk.eval.yaml", "--run", "change"),
        *("--baseline", "stepgraph-evals/main.jsonl", "--markdown", "r.md"),
    )
    assert done.code == 1
    assert "failed  route not worse than the baseline" in done.out
    assert "1.000 -> 0.500, -0.500 [" in done.out
    assert "it got worse, by more than chance explains" in done.out
    assert "t1" in done.out
    assert "expected billing, took technical" in done.out
    told = (tmp_path / "r.md").read_text()
    assert "route got worse: 1.000 -&gt; 0.500 on 20 cases" in told


def test_the_same_again_passes_and_is_undecided(command: Command, desk: Any) -> None:
    command("eval", "run", "desk.eval.yaml", "--run", "main", "--no-baseline")
    again = command(
        "eval", "run", "desk.eval.yaml", "--run", "same", "--baseline", "stepgraph-evals/main.jsonl", "--json"
    )
    (row,) = again.rows
    assert (again.code, row["outcome"]) == (0, "passed")
    assert {d["verdict"] for d in row["comparison"]["differences"]} == {"undecided"}
    told = command("eval", "compare", "stepgraph-evals/main.jsonl", "stepgraph-evals/same.jsonl")
    assert "Undecided, so perhaps equal, perhaps not: completed, route, billed." in told.out
    assert command("eval", "report", "stepgraph-evals/main.jsonl", "--no-baseline").code == 0


def test_a_budget_makes_it_partial_and_a_larger_one_finishes_it(command: Command, desk: Any) -> None:
    words = ("eval", "run", "desk.eval.yaml", "--run", "b", "--no-baseline", "--jobs", "1")
    done = command(*words, "--budget", "calls=4")
    assert done.code == ExitCode.PARTIAL
    assert "desk routes: partial (run b)" in done.out
    assert (
        "Go on with it, under a larger budget: stepgraph eval run desk.eval.yaml --run b --budget" in done.out
    )
    assert command(*words, "--budget", "calls=40").code == 0
    assert desk.calls == 10


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "route: billing",
            "route: biling",
            "case 't1': no route has a branch 'biling'. Did you mean 'billing'?",
        ),
        ("id: t3,", "id: t1,", "the case 't1' is there twice"),
        (
            "kind: similarity",
            "kind: similar",
            "there is no evaluator of kind 'similar'. Did you mean 'similarity'?",
        ),
        ("metric: completed", "metric: complete", "Did you mean 'completed'?"),
        ("suite: desk", "suite: [desk", "desk.eval.yaml, line"),
    ],
)
def test_a_bad_suite_is_refused_before_anything_is_paid(
    command: Command, desk: Any, tmp_path: Path, old: str, new: str, told: str
) -> None:
    suite = tmp_path / "desk.eval.yaml"
    suite.write_text(suite.read_text().replace(old, new, 1))
    done = command("eval", "run", "desk.eval.yaml", "--no-baseline")
    assert done.code == 2
    assert told in done.err
    assert "line " in done.err
    assert desk.calls == 0
    assert command("eval", "check", "desk.eval.yaml").code == 2


def test_a_gate_that_compares_wants_a_baseline_before_anything_is_paid(command: Command, desk: Any) -> None:
    done = command("eval", "run", "desk.eval.yaml")
    assert done.code == 2
    assert "--no-baseline for the first run" in done.err
    assert desk.calls == 0


def test_one_case_and_repeats(command: Command, desk: Any) -> None:
    words = ("eval", "run", "desk.eval.yaml", "--no-baseline", "--case", "t1", "--repeats", "3", "--json")
    (row,) = command(*words).rows
    assert (row["trials"], row["metrics"]["route"]["mean"]) == (3, 1.0)
    assert desk.calls == 3
    done = command("eval", "run", "desk.eval.yaml", "--no-baseline", "--case", "t99")
    assert (done.code, "The suite has no case 't99'" in done.err) == (2, True)


def test_a_suite_in_python(command: Command, desk: Any, tmp_path: Path) -> None:
    (tmp_path / "suite_file.py").write_text(
        "from stepgraph.evals.suite.model import Case, Expected, Suite\n"
        "cases = [Case('a', {'body': 'pay'}, Expected(route='billing'))]\n"
        "suite = Suite('py', cases, graph='desk.py:graph')\n"
    )
    done = command("eval", "run", "suite_file.py:suite", "--json")
    assert (done.code, done.rows[0]["outcome"]) == (0, "passed")
    assert command("eval", "check", "suite_file.py:Case").code == 2


def test_results_that_are_none_are_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    done = command("eval", "report", "x.jsonl")
    assert (done.code, "holds no results of an eval suite" in done.err) == (2, True)
    assert command("eval", "compare", "no.jsonl", "no.jsonl").code == 2
