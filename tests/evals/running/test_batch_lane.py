"""A suite in the batch lane: many trials, few batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Session, chain, step, using
from stepgraph.errors import SettingsError
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.scoring.judge import Judge
from stepgraph.evals.suite.model import Case, Expected, Suite
from stepgraph.evals.sweeps.assignment import Axis
from stepgraph.evals.sweeps.sweep import sweep

from ...batch_apis import BatchServer
from ...batch_messages import doubled, spec
from ...chaos.batches import serving
from ...chaos.living import forked, received

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


def suite_of(trials: int) -> Suite:
    cases = tuple(
        Case(id=f"c{n}", input={"text": f"{n}"}, expect=Expected(output={"reply": f"{n}"}))
        for n in range(trials)
    )
    return Suite(name="killed", cases=cases)


def test_a_suite_of_200_trials_is_a_few_batches(tmp_path: Path) -> None:
    suite = suite_of(TRIALS)
    with (
        BatchServer() as server,
        Session(tmp_path / "runs.sqlite") as session,
        using(server.spec(batch={"quiet_s": 0.5})),
    ):
        results = run_suite(suite, app, session, run="r", lane="batch")
        calls = session.journal.query(
            "SELECT count(*) AS n, count(*) FILTER (WHERE batch_request IS NULL) AS live FROM calls"
        )
    assert len(results.trials) == TRIALS
    assert all(trial.passed for trial in results.trials.values())
    assert calls == [{"n": 2 * TRIALS, "live": 0}]
    assert len(server.batches) <= 6
    assert not doubled(server.ran)


def life(pipe: Connection, file: Path, model: dict[str, Any]) -> None:
    with Session(file) as session, using(model):
        results = run_suite(suite_of(12), app, session, run="r", lane="batch")
        pipe.send([trial.passed for trial in results.trials.values()])


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_suite_that_was_killed_hands_nothing_in_again(tmp_path: Path, api: str) -> None:
    file = tmp_path / "runs.sqlite"
    with serving() as server:
        asleep = spec(server.address, api, batch={"quiet_s": 0.5, "poll_s": 3600})
        with forked(life, file, asleep) as (process, _):
            while not any(server.ran("")):  # until the batch was begun
                assert process.is_alive()
                time.sleep(0.01)
            process.kill()
            process.join()
        with forked(life, file, spec(server.address, api)) as (_, pipe):
            assert received(pipe) == [True] * 12
        ran = server.ran("")
    assert len(ran) == 24
    assert not doubled(ran)


def test_a_sweep_makes_few_batches_and_refuses_a_model_without_them_first(tmp_path: Path) -> None:
    suite = suite_of(4)
    axes = [Axis("default", ("dear", "cheap"))]
    with BatchServer() as server, Session(tmp_path / "runs.sqlite") as session:
        times = {"quiet_s": 0.5}
        dear = server.spec(batch=times)
        cheap = server.spec(batch=times, model="cheap", price={"input": 1.0, "output": 1.0})
        plain = {**cheap, "batch": {}}
        with pytest.raises(SettingsError, match="'default' is bound to cheap"):
            sweep(suite, app, session, axes, models={"dear": dear, "cheap": plain}, lane="batch")
        assert not server.batches
        found = sweep(suite, app, session, axes, models={"dear": dear, "cheap": cheap}, lane="batch")
        assert not server.live
        assert [len(batch.requests) for batch in server.batches] == [4] * 4
    assert found.complete
    assert [option.usd for option in found.options] == [0.00036, 0.00012]  # half of what they cost live


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
