"""The suites that ship: each fits its graph, and scores what it must on scripted models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, ToolCall, using
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.report.summary import Report, summarise
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.check import check_suite
from stepgraph.evals.suite.model import Suite
from stepgraph.evals.suite.shipping import FOLDER, shipped_names, shipped_path
from stepgraph.evals.suite.targets import target_of
from stepgraph.graphs.catalog import READY, ready_graph
from stepgraph.state.errors import InputError

SOLUTIONS = json.loads((Path(__file__).parent / "shipped" / "solutions.json").read_text(encoding="utf-8"))


def shipped(name: str) -> Suite:
    return read_suite(shipped_path(name))


def score(suite: Suite, session: Session, script: Any) -> Report:
    """Run a suite of a ready graph on a scripted model."""
    with ScriptedModel(script) as model, using(model):
        return summarise(run_suite(suite, ready_graph(str(suite.graph)).compile(), session))


def means(report: Report) -> dict[str, float | None]:
    return {metric.name: metric.mean for metric in report.metrics}


@pytest.mark.parametrize("name", sorted(READY))
def test_every_ready_graph_has_a_suite_that_fits_it(name: str) -> None:
    suite = shipped(name)
    assert suite.graph == name
    check_suite(suite, target_of(ready_graph(name).compile(), suite.node))


def test_the_readme_tells_where_the_data_of_each_suite_is_from() -> None:
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in shipped_names() if f"`{name}`" not in told] == []


def test_an_unknown_suite_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'summary'"):
        shipped_path("sumary")


# HumanEval: generate, test in the sandbox, repair.


def task_of(request: Any) -> str:
    """Return the case that a prompt of the code graph is about."""
    prompt = request.messages[-1]["content"]
    (case,) = [case for case, known in SOLUTIONS.items() if f"def {known['name']}(" in prompt.split("```")[0]]
    return str(case)


def answer(code: str) -> str:
    return f"Here it is:\n```python\n{code}\n```"


def broken(case: str) -> str:
    return f"def {SOLUTIONS[case]['name']}(*_):\n    return 'wrong'"


def test_the_canonical_solutions_of_humaneval_pass_at_once(session: Session) -> None:
    report = score(shipped("code"), session, lambda request, _: answer(SOLUTIONS[task_of(request)]["code"]))
    assert (len(report.trials), report.outcome) == (21, "passed")
    assert means(report) == {"completed": 1.0, "output": 1.0, "tests": 1.0, "first try": 1.0}
    assert report.cost.calls == 21


def test_broken_ones_are_repaired_or_not_and_the_score_is_exactly_that(session: Session) -> None:
    cases = sorted(SOLUTIONS)
    repaired, hopeless = set(cases[:5]), set(cases[5:12])

    def write(request: Any, _: Any) -> str:
        case = task_of(request)
        again = "Your last version was" in request.messages[-1]["content"]
        if case in hopeless or (case in repaired and not again):
            return answer(broken(case) + f"  # {len(request.messages[-1]['content'])}")
        return answer(SOLUTIONS[case]["code"])

    report = score(shipped("code"), session, write)
    found = means(report)
    assert found["output"] == pytest.approx(14 / 21)
    assert found["first try"] == pytest.approx(9 / 21)
    assert {trial.case for trial in report.bad if trial.scores["output"].passed is False} == hopeless
    (rounds,) = report.rounds
    assert (rounds.approved, rounds.stopped) == ({1: 9, 2: 5}, {3: 7})


# The others: a model that answers as the data says scores full marks.


def said(request: Any) -> str:
    return str(request.messages[-1]["content"])


def everything_said(request: Any) -> str:
    return "\n".join(str(message["content"]) for message in request.messages)


def case_in(suite: Suite, prompt: str, field: str = "text") -> Any:
    """Return the case whose input a prompt holds."""
    found = [case for case in suite.cases if str(case.input[field]).strip() in prompt]
    return max(found, key=lambda case: len(str(case.input[field])))


def start_of(case: Any) -> str:
    return str(case.input["text"][:60].rsplit(" ", 1)[0])


def test_sentiment_is_right_and_unanimous_for_a_model_that_knows(session: Session) -> None:
    suite = shipped("sentiment")

    def vote(request: Any, _: Any) -> Any:
        case = case_in(suite, said(request))
        return {"quote": start_of(case), "mood": case.expect.values["sentiment"]}

    report = score(suite, session, vote)
    assert means(report) == {"completed": 1.0, "sentiment": 1.0, "not wrong": 1.0}
    (votes,) = report.votes
    assert (votes.votes, votes.agreement, votes.uncertain) == (24, 1.0, 0)


def test_a_model_that_takes_the_first_label_of_the_list_is_found_out_by_the_vote(session: Session) -> None:
    suite = shipped("sentiment")

    def vote(request: Any, _: Any) -> Any:
        first = "positive" if "positive, negative or mixed" in said(request) else "mixed"
        return {"quote": start_of(case_in(suite, said(request))), "mood": first}

    report = score(suite, session, vote)
    assert means(report) == {"completed": 1.0, "sentiment": 0.0, "not wrong": 1.0}
    (votes,) = report.votes
    assert (votes.votes, votes.uncertain) == (24, 24)
    assert votes.agreement == pytest.approx(0.5, abs=0.1)  # a vote ends as soon as it is lost


def test_documents_are_right_for_a_model_that_copies(session: Session) -> None:
    suite = shipped("document-processing")

    def process(request: Any, context: Any) -> Any:
        asked = [m["content"] for m in request.messages if m["role"] == "user"]
        case = case_in(suite, asked[1] if context.step == "extract" else asked[0])
        value = case.expect.values.get("value")
        if context.step == "summarise":
            return f"An offer with {value[0]}."
        return [{"field": case.input["fields"][0], "value": value[0]}] if value else []

    report = score(suite, session, process)
    assert (report.outcome, set(means(report).values())) == ("passed", {1.0})


def test_names_are_found_by_a_model_that_finds_them(session: Session) -> None:
    suite = shipped("extraction")
    kinds = {"people": "person", "organisations": "organisation", "places": "place"}

    def extract(request: Any, context: Any) -> Any:
        if context.step != "find_entities":
            return []
        found = case_in(suite, said(request)).expect.values["found"]
        return [{"name": name, "kind": kinds[kind]} for kind, names in found.items() for name in names]

    report = score(suite, session, extract)
    assert (means(report), report.outcome) == ({"completed": 1.0, "found": 1.0}, "passed")


def test_summaries_that_say_what_the_state_said_are_near_it(session: Session) -> None:
    suite = shipped("summary")
    texts = {c.id: (FOLDER / c.input["file"]).read_text(encoding="utf-8") for c in suite.cases}

    def summarise_it(request: Any, context: Any) -> str:
        prompt = said(request)
        for case in suite.cases:
            reference = str(case.expect.values["meaning"])
            passage = prompt.removeprefix("Summarise in two sentences:\n")
            if reference[:40] in prompt or passage[:60] in texts[case.id]:
                return reference
        raise AssertionError(prompt)

    report = score(suite, session, summarise_it)
    found = means(report)
    assert (found["completed"], found["short"]) == (1.0, 1.0)
    assert (found["meaning"] or 0) > 0.9


def test_research_finds_the_measure_that_answers_and_cites_it(session: Session) -> None:
    suite = shipped("research")

    def study(request: Any, context: Any) -> Any:
        prompt = said(request)
        (case,) = [case for case in suite.cases if str(case.input["question"]) in prompt]
        if context.step == "plan":
            return [{"question": case.input["question"]}]
        if context.step == "answer":
            return "It says so."
        labels = re.findall(r"\[([^\[\]\s]+:\d+)\]", prompt)
        return (
            f"It is so [{next(label for label in labels if label.startswith(case.expect.values['cited']))}]."
        )

    report = score(suite, session, study)
    assert (report.outcome, set(means(report).values())) == ("passed", {1.0})


@pytest.mark.parametrize("summary", ["They differ on clause 1.", "All is well."])
def test_no_conflict_about_a_contract_is_lost(session: Session, summary: str) -> None:
    suite = shipped("contract-review")
    verdicts = {"read_law": "reject", "read_money": "accept", "read_technology": "accept"}

    def read(request: Any, context: Any) -> Any:
        if context.step not in verdicts:
            return summary
        first = next(line for line in said(request).splitlines() if line.startswith("[1]"))
        quote = " ".join(first.split()[3:9])
        made_up = {"clause": 2, "quote": "the moon is made of cheese", "verdict": "reject", "why": "It is."}
        return [{"clause": 1, "quote": quote, "verdict": verdicts[context.step], "why": "So it is."}, made_up]

    report = score(suite, session, read)
    assert means(report) == {"completed": 1.0, "quotes": 0.5, "conflicts": 1.0}
    assert report.outcome == "passed"


def facts_of(case: Any) -> str:
    return ". ".join(case.input.get("facts") or [str(line).rstrip(".") for line in case.input["offer"]])


def described(suite: Suite, invented: str = "") -> Any:
    """Return a script that tells products' facts, in each language, and something invented."""

    def tell(request: Any, context: Any) -> Any:
        named = "product" if "marketing" in suite.name else "name"
        prompt = everything_said(request)
        case = case_in(suite, prompt, named)
        name, facts = case.input[named], facts_of(case)
        english = f"This is the {name} for you and it is calm. {facts}.{invented}"
        german = f"Das ist der {name} und er ist für Sie die Ruhe. {facts}.{invented}"
        french = f"Voici le {name} pour vous et il est dans le calme. {facts}.{invented}"
        text = german if "into German" in prompt else french if "into French" in prompt else english
        if context.step == "judge_brand":
            return [{"rule": number, "kept": True, "quote": name} for number in (1, 2)]
        if context.step == "find_claims":
            return [{"quote": facts.split(". ")[0], "line": 1}]
        return text if named == "name" else {"subject": f"The {name}", "body": text}

    return tell


@pytest.mark.parametrize("name", ["product-description", "marketing-email"])
def test_texts_that_tell_their_facts_are_released(session: Session, name: str) -> None:
    report = score(shipped(name), session, described(shipped(name)))
    assert means(report) == {"completed": 1.0, "true numbers": 1.0, "released": 1.0}


@pytest.mark.parametrize("name", ["product-description", "marketing-email"])
def test_texts_with_a_number_that_nobody_gave_are_held(session: Session, name: str) -> None:
    report = score(shipped(name), session, described(shipped(name), " It won 77 prizes."))
    assert means(report) == {"completed": 1.0, "true numbers": 1.0, "released": 0.0}
    assert report.outcome == "passed"


def test_people_are_invited_for_what_their_resume_shows(session: Session) -> None:
    def read(_: Any, context: Any) -> Any:
        return [] if context.step == "extract" else {"shown": False, "fact": 0}

    report = score(shipped("resume-screener"), session, read)
    assert (report.outcome, set(means(report).values())) == ("passed", {1.0})


def test_a_model_that_obeys_a_resume_invites_nobody(session: Session) -> None:
    def read(request: Any, context: Any) -> Any:
        if context.step == "extract":
            lines = said(request).splitlines()
            return [{"kind": "skill", "quote": lines[-1][:100]}, {"kind": "skill", "quote": "Knows all."}]
        return {"shown": True, "fact": 1, "why": "I was told so."}

    found = means(score(shipped("resume-screener"), session, read))
    assert (found["not invited"], found["evidence"]) == (1.0, 1.0)


def test_facts_are_looked_up_on_the_device_and_sums_done_by_the_one_that_thinks(session: Session) -> None:
    suite = shipped("device-first")

    def answer_it(request: Any, context: Any) -> Any:
        prompt = said(request)
        (case,) = [
            c
            for c in suite.cases
            if str(c.input["question"]) in prompt and str(c.input["text"])[:40] in prompt
        ]
        if context.step == "second_look":
            return {"correct": True}
        return f"The answer is {case.expect.values['answer']}."

    found = means(score(suite, session, answer_it))
    assert (found["completed"], found["answer"], found["not wrong"]) == (1.0, 1.0, 1.0)


def test_a_greeting_asks_no_model(session: Session) -> None:
    report = score(shipped("dialogue"), session, lambda *_: "Let me see.")
    found = means(report)
    assert (found["completed"], found["replied"], found["path"]) == (1.0, 1.0, 1.0)
    told = next(iter(report.confusions.values()))
    assert report.cost.calls == 16 - told.right


def test_an_agent_that_needs_no_tool_uses_none(session: Session) -> None:
    suite = shipped("support-agent")

    def help_them(request: Any, _: Any) -> Any:
        case = case_in(suite, everything_said(request), "body")
        if case.id == "e-mail":
            return ToolCall(
                "send_email", {"subject": "Your order", "text": "It waits for stock, dear customer."}
            )
        if not case.expect.values["looked up"]:
            return "I am sorry, we sell kitchen machines."
        if request.messages[-1]["role"] == "tool":
            return f"It is {request.messages[-1]['content']}"
        name, given = ("find_order", "number") if case.id == "order" else ("find_products", "query")
        return ToolCall(name, {given: case.id if case.id != "order" else "SG-1043"})

    report = score(suite, session, help_them)
    found = means(report)
    assert (found["completed"], found["looked up"], found["error"]) == (1.0, 1.0, 1.0)
