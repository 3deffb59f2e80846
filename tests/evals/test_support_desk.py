"""The suite that ships for the support desk, on the scripted model and the embeddings on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from stepgraph import ScriptedModel, Session, using
from stepgraph.evals.reading import read_suite
from stepgraph.evals.running import run_suite
from stepgraph.evals.summaries import summarise
from stepgraph.graphs.support.desk import graph

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_desk_routes_17_of_the_19_tickets_that_it_takes(session: Session) -> None:
    suite = read_suite(EXAMPLES / "evals" / "support_desk.yaml")
    with ScriptedModel(lambda *_: "-") as model, using(model):
        report = summarise(run_suite(suite, graph.compile(), session))
    assert report.outcome == "passed"
    table = report.confusions["triage"]
    assert (table.right, table.total) == (17, 19)
    assert {trial.case for trial in report.bad} == {"T-15", "T-18"}
    assert next(trial for trial in report.trials if trial.case == "T-20").passed  # refused, as it should be


def test_the_suite_holds_the_example_tickets() -> None:
    suite = read_suite(EXAMPLES / "evals" / "support_desk.yaml")
    lines = (EXAMPLES / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    assert [dict(case.input) for case in suite.cases] == [json.loads(line) for line in lines]
    routes = json.loads((EXAMPLES / "tickets.routes.json").read_text(encoding="utf-8"))
    assert {case.id: case.expect.route or "refused" for case in suite.cases} == routes
