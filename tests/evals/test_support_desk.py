"""The suite that ships for the support desk, on the scripted model and the embeddings on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from stepgraph import ScriptedModel, Session, using
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.report.summary import summarise
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.shipping import shipped_path
from stepgraph.graphs.ready.support_desk.graph import graph

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_desk_does_what_the_suite_expects_but_for_two_tickets(session: Session) -> None:
    suite = read_suite(shipped_path("support-desk"))
    with ScriptedModel(lambda *_: "-") as model, using(model):
        report = summarise(run_suite(suite, graph.compile(), session))
    assert report.outcome == "passed"
    (table,) = report.confusions.values()
    assert table.total - table.right == 2
    assert {trial.case for trial in report.bad} == {"T-15", "T-18"}
    assert next(trial for trial in report.trials if trial.case == "T-20").passed  # refused, as it should be


def test_the_suite_holds_the_example_tickets() -> None:
    suite = read_suite(shipped_path("support-desk"))
    lines = (EXAMPLES / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    assert [dict(case.input) for case in suite.cases] == [json.loads(line) for line in lines]
    routes = json.loads((EXAMPLES / "tickets.routes.json").read_text(encoding="utf-8"))
    taken = {case.id: case.expect.route for case in suite.cases if case.expect.route}
    assert taken == {case: route for case, route in routes.items() if route not in ("refused", "stopped")}
