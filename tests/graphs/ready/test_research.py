"""The research synthesis's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.research.graph import Study, check, graph, plan
from stepgraph.state.errors import InputError, InvalidAnswer, ModelRefused

DOCS = Path(__file__).parents[3] / "docs"
QUESTIONS = {"answer": [{"question": "Where does tea grow?"}, {"question": "What does tea cost?"}]}


@pytest.fixture
def sources(tmp_path: Path) -> str:
    (tmp_path / "tea.md").write_text("# Growing\n\nTea grows in Assam.\n\n# Price\n\nTea costs four dollars.")
    return str(tmp_path / "tea.md")


def run(sources: str, *reports: str, session: Session, **others: Any) -> tuple[dict[str, Any], Any]:
    left = list(reports)

    def answer(request: Any, context: Any) -> Any:
        if context.step in others:
            said = others[context.step]
            return said(request) if callable(said) else said
        if context.step == "plan":
            return QUESTIONS["answer"]
        return (
            left.pop(0) if context.step == "write" else f"Answer to {request.messages[-1]['content'][-90:]}"
        )

    with ScriptedModel(answer) as model, using(model):
        result = graph.compile().invoke(Study("Tell me about tea.", sources), session.config("t"))
    return result, model


def test_a_report_that_cites_what_was_found_is_sound_after_two_calls_and_one_a_question(
    session: Session, sources: str
) -> None:
    result, model = run(sources, "It grows in Assam [tea.md:1]. It is cheap. [tea.md:2]", session=session)
    assert (result["status"], result["problems"]) == ("sound", [])
    assert result["cited"] == [
        "[tea.md:1] tea.md, Growing, characters 0-30",
        "[tea.md:2] tea.md, Price, characters 32-64",
    ]
    assert [inquiry.question for inquiry in result["findings"]] == [
        "Where does tea grow?",
        "What does tea cost?",
    ]
    assert len(model.asks) == 2 + 2
    assert "Topics: Growing; Price" in model.asks[0][1].messages[-1]["content"]
    assert "Tea grows in Assam." in model.asks[1][1].messages[-1]["content"]


def test_the_strong_model_writes_and_the_fast_one_does_the_rest(session: Session, sources: str) -> None:
    questions = QUESTIONS["answer"]
    small, large = ScriptedModel([questions, "Assam.", "Four."]), ScriptedModel(["A [tea.md:1]."])
    with small, large, using(small=small, large=large):
        result = graph.compile().invoke(Study("Tell me about tea.", sources), session.config("t"))
    assert result["status"] == "sound"


def test_a_report_without_sources_is_revised_with_what_is_wrong(session: Session, sources: str) -> None:
    bad = "It grows in Assam. It is cheap [tea.md:9]."
    result, model = run(sources, bad, "It grows in Assam [tea.md:1].", session=session)
    assert result["status"] == "sound"
    again = model.asks[-1][1].messages[-1]["content"]
    assert "There is no source tea.md:9. Name the source of: It grows in Assam." in again


def test_a_report_that_never_passes_is_held_with_its_problems_and_the_best_is_kept(
    session: Session, sources: str
) -> None:
    best = "Tea [tea.md:1]. Nice."
    result, _ = run(sources, "Tea [tea.md:7]. Nice.", best, "Bad [x:1]. Worse.", session=session)
    assert (result["status"], result["report"]) == ("held", best)
    assert result["problems"] == ["Name the source of: Nice."]
    assert len(result["cited"]) == 1


def test_a_question_that_cannot_be_answered_is_named(session: Session, sources: str) -> None:
    def answer(request: Any) -> Any:
        return ModelRefused("no") if "cost" in request.messages[-1]["content"][-150:] else "In Assam."

    result, _ = run(sources, "In Assam [tea.md:1].", session=session, answer=answer)
    assert list(result["missing"]) == ["What does tea cost?"]
    assert len(result["findings"]) == 1


def test_a_question_that_the_sources_do_not_touch_is_asked_without_passages(
    session: Session, sources: str
) -> None:
    asked = [{"question": "Who won yesterday's match?"}]
    result, model = run(sources, "Nobody knows.", "-", "No.", session=session, plan=asked)
    assert result["findings"][0].found == []
    assert "(no passages)" in model.asks[1][1].messages[-1]["content"]
    assert result["status"] == "held"


@pytest.mark.parametrize(
    ("said", "told"),
    [("{nope", "not valid JSON"), ([], "at least 1 item"), ([{"question": "Why?"}], "at least 5 characters")],
)
def test_a_plan_that_is_no_plan_is_refused(session: Session, sources: str, said: Any, told: str) -> None:
    with pytest.raises(InvalidAnswer, match=told):
        run(sources, session=session, plan=said)


def test_the_same_question_twice_is_asked_once(session: Session, sources: str) -> None:
    asked = [{"question": "Where does tea grow?"}, {"question": "Where does TEA grow?"}]
    _, model = run(sources, "In Assam [tea.md:1].", session=session, plan=asked)
    assert [step for step, _ in model.asks] == ["plan", "answer", "write"]


def test_without_sources_nothing_is_paid_for() -> None:
    with ScriptedModel([]) as model, using(model), pytest.raises(InputError, match="no file or folder"):
        graph.compile().invoke(Study("Tea?", "nowhere"))


def test_the_model_is_not_asked_for_what_the_graph_fills_in() -> None:
    schema = str(plan.request(Study("Tea?")).schema)
    assert "question" in schema
    assert "found" not in schema
    assert "folder" not in schema


@pytest.mark.parametrize(
    ("report", "problems"),
    [
        ("", 1),
        ("A [a.md:1]. B [a.md:2].", 1),
        ("A. [a.md:1] B! [a.md:1]", []),
        ("A [a.md:1] and more. [a.md:1] [a.md:1]", []),
        ("A.", 2),
    ],
)
def test_check(report: str, problems: Any) -> None:
    from stepgraph.graphs.ready.research.folder import Source
    from stepgraph.graphs.ready.research.graph import ResearchQuestion

    found = ResearchQuestion(question="Where?", found=[Source("a.md:1", "", "", "")])
    assert len(check(Study("Tea?", findings=[found], report=report))) == (problems or 0)


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.xdist_group("local")
def test_on_this_machine(session: Session) -> None:
    with using("local"):
        result = graph.compile().invoke(
            Study("How does a run go on after a crash?", str(DOCS / "runs.md")), session.config("t")
        )
    assert result["status"] in ("sound", "held")
    assert result["report"]
    assert 1 <= len(result["findings"]) <= 4
