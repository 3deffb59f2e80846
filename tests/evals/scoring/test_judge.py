from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.evals.files.results import Results
from stepgraph.evals.report.gates import rule_on
from stepgraph.evals.scoring.agreement import Agreement
from stepgraph.evals.scoring.judge import read_labels
from stepgraph.providers.stack import retry
from stepgraph.state.errors import InputError, ModelUnreachable

from ..conftest import mood_of

Run = Callable[..., Results]

JUDGED = """\
repeats: 2
evaluators:
  - {{ name: kind, kind: judge, rubric: Is it kind, field: answer{more} }}
{gates}cases:
  - {{ id: a, input: {{ text: I love it }} }}
  - {{ id: b, input: {{ text: I hate it }} }}
"""


def suite(more: str = "", gates: str = "") -> str:
    return JUDGED.format(more=more, gates=gates)


def judged_by(verdict: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    """Answer the workflow as always, and the judge's questions as told."""

    def answer(request: Any, context: Any) -> Any:
        if context.step != "judge":
            return mood_of(request, context)
        return verdict(" ".join(message["content"] for message in request.messages))

    return answer


def kind(prompt: str) -> dict[str, Any]:
    return {"reason": "so it is", "passed": "fine" in prompt}


def test_a_judge_scores_and_its_cost_is_apart(evaluate: Run, session: Session) -> None:
    results = evaluate(suite(), judged_by(kind), run="r")
    scores = {key: trial.scores["kind"].value for key, trial in results.trials.items()}
    assert scores == {("a", 1): 1.0, ("a", 2): 1.0, ("b", 1): 0.0, ("b", 2): 0.0}
    assert results.judged.calls == 2  # equal outputs are judged once
    assert results.trials["a", 1].cost.calls == 1
    asked = session.journal.query("SELECT DISTINCT thread_id, source FROM calls WHERE step = 'judge'")
    assert {row["thread_id"] for row in asked} == {"eval/r/judges"}


def test_what_a_judge_writes_unreadably_is_unscored_and_never_zero(evaluate: Run) -> None:
    results = evaluate(
        suite(), judged_by(lambda prompt: "hm" if "fine" in prompt else {"reason": "", "passed": True})
    )
    score = results.trials["a", 1].scores["kind"]
    assert (score.value, score.passed) == (None, None)
    assert "no readable verdict" in score.reason
    assert results.trials["a", 1].passed
    assert results.trials["b", 1].scores["kind"].value == 1.0


def test_a_judge_that_does_not_answer_is_unscored(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_WAIT_S", 0.0)
    results = evaluate(suite(), judged_by(lambda prompt: ModelUnreachable("gone", model="m")))
    assert results.trials["a", 1].scores["kind"].value is None


def test_points_are_a_share(evaluate: Run) -> None:
    results = evaluate(suite(", scale: points"), judged_by(lambda prompt: {"reason": "", "score": 4}))
    score = results.trials["a", 1].scores["kind"]
    assert (score.value, score.passed) == (0.75, True)


def labels(folder: Path, wrong: int, total: int = 40) -> Path:
    """Write labels with which `kind` agrees but for some."""
    rows = [
        {"output": "fine" if n % 2 else "rude", "passed": bool(n % 2) != (n < wrong)} for n in range(total)
    ]
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GATE = "gates:\n  - { metric: kind, at_least: 0.5 }\n"


def test_a_judge_that_agrees_with_people_may_gate(evaluate: Run, tmp_path: Path) -> None:
    path = labels(tmp_path, wrong=1)
    results = evaluate(suite(f", labels: {path}", GATE), judged_by(kind))
    assert results.trusted == {"kind": True}
    (note,) = results.notes
    assert note.startswith("kind agrees with people on 39 of 40 examples: 0.97 [0.87, 1.00], kappa 0.95")
    assert [ruling.status for ruling in rule_on(results)] == ["passed"]


def test_a_judge_that_does_not_may_not(evaluate: Run, tmp_path: Path) -> None:
    path = labels(tmp_path, wrong=16)
    results = evaluate(suite(f", labels: {path}", GATE), judged_by(kind))
    (ruling,) = rule_on(results)
    assert ruling.status == "failed"
    assert "the judge is not to be trusted: kind agrees with people on 24 of 40 examples" in ruling.why


def test_an_agreement_on_few_examples_is_not_enough() -> None:
    few = Agreement("j", 5, 5, 0, (0.57, 1.0), None, 0, 0, trust=0.7)
    assert not few.trusted
    assert "below 0.70, so no gate believes it" in str(few)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("{}\n", "line 1: expected output and passed"),
        ('{"output": 1}\n', "line 1: expected output and passed"),
        ('{"passed": true}\n', "line 1: expected output and passed"),
        ('{"output": 1, "passed": 1}\n', "line 1: expected output and passed"),
        ('{"output": 1, "passed": true}\n[]\n', "line 2: expected output and passed"),
        ("\n{x\n", "line 2: not JSON"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "l.jsonl").write_text(text)
    with pytest.raises(InputError, match=told):
        read_labels(tmp_path / "l.jsonl")
