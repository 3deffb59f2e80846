"""The workflows in examples/, on scripted models: what they do with good answers, bad ones and none."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stepgraph import ScriptedModel, Session, resume, run, using
from stepgraph.errors import ModelRefused
from stepgraph.evals import load_target, read_suite, run_suite, summarise
from stepgraph.tracing.forks.fork import fork

EXAMPLES = Path(__file__).parents[2] / "examples"
TWO_SCREENS = 100  # lines
WORKFLOWS = ["coding_agent", "folder_qa", "intake", "invoice", "moderation", "research"]


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(request.param, EXAMPLES / f"{request.param}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, request.param, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_is_a_screen_or_two_and_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = EXAMPLES / f"{name}.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= TWO_SCREENS
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("example", ["folder_qa"], indirect=True)
@pytest.mark.parametrize(
    ("question", "answers", "said"),
    [
        ("How long do refunds take?", ['They "take five working days" [1].'], 0),
        ("How long do refunds take?", ["Five days.", 'They "take five working days" [1].'], 1),
        (
            "How long do refunds take?",
            ['"Ten days" [1].', 'They "take five working days" [9].', "So [8]."],
            None,
        ),
        ("Who rules Spain?", [], None),
    ],
)
def test_an_answer_cites_what_stands_there_or_is_not_given(
    example: ModuleType, question: str, answers: list[str], said: int | None
) -> None:
    app = example.folder_qa.compile()
    with ScriptedModel(answers) as model, using(model):
        result = app.invoke(example.Question(question))
    assert result["answer"] == (example.NOT_THERE if said is None else answers[said])
    assert [passage.source for passage in result["passages"][:1]] == ["refunds.md"] * bool(answers)


TURNS = {
    "understand": [{"name": "Ada"}, {"name": "Ada", "email": "a@x.org", "day": "Friday"}],
    "write": ["Hi!"],
}


@pytest.mark.parametrize("example", ["intake"], indirect=True)
@pytest.mark.parametrize("decision", ["approve", "reject", "nobody"])
def test_the_intake_asks_back_and_sends_once(example: ModuleType, decision: str, tmp_path: Path) -> None:
    app = example.intake.compile()
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with (
        Session(tmp_path / "runs.sqlite", clock=lambda: now) as session,
        ScriptedModel(TURNS) as model,
        using(model),
    ):
        first = run(app, {"messages": [HumanMessage("I am Ada.")]}, session, "t")
        assert first.values["messages"][-1].content == "Please tell me your email and your day."
        second = run(app, {"messages": [HumanMessage("Friday, a@x.org")]}, session, "t")
        assert second.waiting[0].value["due"] == (now + timedelta(hours=4)).isoformat()
        if decision == "nobody":
            now += timedelta(hours=4)
            result = resume(app, session, "t")
        else:
            answer: Any = {"decision": decision, "reason": "full"}
            result = resume(app, session, "t", answer=answer)
        statuses = {
            "approve": "sent",
            "reject": "declined",
            "nobody": "nobody answered in time: call the guest",
        }
        assert result.values["status"] == statuses[decision]
        again = fork(session, "t", call="write", answer="Hello again!")
        if decision == "approve":
            run(app, None, session, again)
            resume(app, session, again, answer="approve")
    assert ["to a@x.org: Hi!"] * (decision == "approve") == example.OUTBOX


LINES = [{"what": "tea", "amount": "4.50"}, {"what": "cups", "amount": "8.00"}]
BILL = {"number": "R-7", "day": "2026-03-03", "currency": "EUR", "lines": LINES, "total": "12.50"}


@pytest.mark.parametrize("example", ["invoice"], indirect=True)
@pytest.mark.parametrize(
    ("answers", "number", "problem"),
    [
        ([BILL], "R-7", ""),
        ([{**BILL, "total": "12"}, BILL], "R-7", ""),
        ([{**BILL, "number": "X-1"}, BILL], "R-7", ""),
        ([{**BILL, "total": str(total)} for total in range(3)], None, "not to the total of 2"),
        ([{**BILL, "number": f"X-{n}"} for n in range(3)], None, "'X-2' does not stand there"),
    ],
    ids=["right", "asked for the sum", "asked for the number", "never adds up", "never the number"],
)
def test_an_invoice_holds_or_is_left_to_a_person(
    example: ModuleType, answers: list[Any], number: str | None, problem: str, tmp_path: Path
) -> None:
    with ScriptedModel(answers) as model, using(model), Session(tmp_path / "runs.sqlite") as session:
        result = run(example.invoice.compile(), example.Letter("Invoice R-7: 12.50"), session)
    assert getattr(result.value.invoice, "number", None) == number
    assert problem in result.value.problem
    assert bool(problem) == bool(result.value.problem)


@pytest.mark.parametrize("example", ["moderation"], indirect=True)
@pytest.mark.parametrize(
    ("votes", "status"),
    [
        (["fine", "toxic", "fine"], "answered"),
        (["toxic", "fine", "toxic"], "hidden"),
        (["toxic", "fine", ModelRefused("no")], "left to a person"),
    ],
)
def test_three_judges_vote_on_a_comment(example: ModuleType, votes: list[Any], status: str) -> None:
    with using(ScriptedModel({"judge": votes, "answer": ["Thank you."]})):
        result = example.moderation.compile().invoke(example.Comment("Hello!"))
    assert (result["status"], result["reply"]) == (status, "Thank you." * (status == "answered"))


@pytest.mark.parametrize("example", ["research"], indirect=True)
def test_the_research_asks_for_what_is_missing_and_cites(example: ModuleType, tmp_path: Path) -> None:
    answers = {
        "plan": [[{"question": "Who pays for returns?"}]],
        "answer": ["Nobody.", "4.90 euros."],
        "lacks": [[{"question": "What does shipping cost?"}]],
        "write": ["Free.", "Free. Or 4.90 euros.", 'Free. Or "4.90 euros" [2].'],
    }
    with ScriptedModel(answers) as model, using(model), Session(tmp_path / "runs.sqlite") as session:
        result = run(example.research.compile(), example.Study("What does it cost?"), session)
    assert result.value.report == 'Free. Or "4.90 euros" [2].'
    assert [part.question for part in result.value.parts] == [
        "Who pays for returns?",
        "What does shipping cost?",
    ]


SUITES: dict[str, Any] = {
    "invoice": lambda request, _: (
        BILL if "R-7" in str(request.messages) else {**BILL, "number": str(len(request.messages))}
    ),
    "moderation": lambda request, context: (
        "Boil vinegar in it."
        if context.step == "answer"
        else "toxic"
        if "idiots" in str(request.messages)
        else "fine"
    ),
    "research": lambda _, context: {
        "plan": [{"question": "Who pays for returns?"}],
        "answer": "A label lies in every parcel.",
        "write": "A label lies in every parcel [1].",
        "lacks": [],
    }[context.step],
    "folder_qa": lambda request, _: (
        'They "take five working days" [1].'
        if "refunds take" in str(request.messages)
        else '"above 50 euros" [1].'
    ),
    "intake": lambda request, context: (
        "Hi!"
        if context.step == "write"
        else {
            "name": "Ada",
            **({"email": "a@x.org", "day": "Friday"} if "Friday" in str(request.messages) else {}),
        }
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_its_suite_passes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    suite = read_suite(EXAMPLES / f"{name}.eval.yaml")
    loaded = load_target(suite, None)
    with Session(tmp_path / "runs.sqlite") as session, ScriptedModel(SUITES[name]) as model, using(model):
        report = summarise(run_suite(suite, loaded.graph, session))
    assert report.outcome == "passed", report
