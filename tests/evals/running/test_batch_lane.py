"""A suite in the batch lane: many trials, few batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, Session, chain, step, using
from stepgraph.errors import SettingsError
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.scoring.judge import Judge
from stepgraph.evals.suite.model import Case, Expected, Suite

from ...batch_apis import BatchServer, doubled

TRIALS = 200


@dataclass
class Note:
    text: str
    kind: str = ""
    reply: str = ""


@step("kind")
def first(note: Note) -> Ask[str]:
    return Ask(f"Classify {note.text}")


@step("reply")
def second(note: Note) -> Ask[str]:
    return Ask(f"Say {note.text}")


app = chain(first, second).compile()


def test_a_suite_of_200_trials_is_a_few_batches(tmp_path: Path) -> None:
    cases = tuple(
        Case(id=f"c{n}", input={"text": f"{n}"}, expect=Expected(output={"reply": f"{n}"}))
        for n in range(TRIALS)
    )
    suite = Suite(name="many", cases=cases)
    with (
        BatchServer() as server,
        Session(tmp_path / "runs.sqlite") as session,
        using(server.spec(batch={"quiet_s": 0.5})),
    ):
        results = run_suite(suite, app, session, run="r", lane="batch")
        calls = session.journal.query("SELECT count(*) AS n, sum(batch_request IS NULL) AS live FROM calls")
    assert len(results.trials) == TRIALS
    assert all(trial.passed for trial in results.trials.values())
    assert calls == [{"n": 2 * TRIALS, "live": 0}]
    assert len(server.batches) <= 6
    assert not doubled(server.ran)


def test_a_judge_without_a_batch_api_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    suite = Suite(
        name="judged",
        cases=(Case(id="a", input={"text": "a"}),),
        evaluators=(Judge(name="kind", rubric="Is it kind?"),),
    )
    with (
        BatchServer() as server,
        Session(tmp_path / "runs.sqlite") as session,
        using(server.spec(), judge={**server.spec(), "batch": {}}),
        pytest.raises(SettingsError, match="role 'judge'"),
    ):
        run_suite(suite, app, session, run="r", lane="batch")
    assert not server.batches
