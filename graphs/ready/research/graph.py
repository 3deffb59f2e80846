"""Research synthesis: plan, look things up in the user's own texts, write, check, revise.

    survey ─► plan ─► for each question: search ─► answer ─► report ⇄ check (at most 3 rounds) ─► close
    (code)   (small)                     (code)   (small)   (large)  (code)

The cheap model does the many calls and the strong one the last; code searches, and checks that every
sentence of the report cites a passage that was found. What still breaks a check is said to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.orchestrate import PlanRules, orchestrate
from ...patterns.refine import refine
from ..few_shot import few_shot
from .folder import Source, read_sources, search

MAX_ITEMS = 4
SURVEYED = 12
FOUND = 2
CITED = re.compile(r"\[([^\[\]\s]+:\d+)\]")
NOTHING = "The sources do not say."

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Status = Literal["new", "sound", "held"]


class ResearchQuestion(BaseModel):
    """A sub-question. The model plans the question; the other fields are filled in here."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=5, max_length=120)]
    folder: SkipJsonSchema[str] = ""
    found: SkipJsonSchema[list[Source]] = []
    answer: SkipJsonSchema[str] = ""


@dataclass
class Study:
    """A question, where to look, and what comes of it."""

    question: Text
    sources: str = "."
    topics: list[str] = field(default_factory=list)
    plan: list[ResearchQuestion] = field(default_factory=list)
    findings: list[ResearchQuestion] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    report: str = ""
    problems: list[str] = field(default_factory=list)
    status: Status = "new"
    cited: list[str] = field(default_factory=list)


def survey(study: Study) -> dict[str, list[str]]:
    """Say what the sources have on the question: the titles of the sections that match it best."""
    sources = search(study.question, read_sources(study.sources), SURVEYED)
    return {"topics": list(dict.fromkeys(source.title for source in sources))[:MAX_ITEMS]}


EXAMPLES = [
    (
        "How do I grow tomatoes?",
        ["Sowing", "Water", "Diseases"],
        ["When are tomatoes sown?", "How much water do tomatoes need?", "Which diseases harm tomatoes?"],
    ),
    (
        "Is the old bridge safe?",
        ["Foundations", "Traffic"],
        ["What state are the foundations of the bridge in?", "How much traffic does the bridge carry?"],
    ),
]


@step("plan", model="small")
def plan(study: Study) -> Ask[Annotated[list[ResearchQuestion], Field(min_length=1, max_length=MAX_ITEMS)]]:
    examples = [
        (_about(question, topics), [{"question": text} for text in questions])
        for question, topics, questions in EXAMPLES
    ]
    return Ask(
        few_shot(examples, _about(study.question, study.topics)),
        system="You plan research. You answer with different questions, one for each topic, which together "
        "answer the question.",
        temperature=0,
        max_tokens=200,
    )


def _about(question: str, topics: list[str]) -> str:
    return f"Question: {question}\nTopics: {'; '.join(topics)}"


def brief(study: Study, inquiry: ResearchQuestion) -> ResearchQuestion:
    """Tell a worker where to look."""
    return inquiry.model_copy(update={"folder": study.sources})


def look_up(inquiry: ResearchQuestion) -> dict[str, list[Source]]:
    """Search the sources for the sub-question."""
    return {"found": search(inquiry.question, read_sources(inquiry.folder), FOUND)}


@step("answer", model="small")
def answer(inquiry: ResearchQuestion) -> Ask[str]:
    passages = "\n\n".join(f"[{source.label}] {source.text}" for source in inquiry.found)
    return Ask(
        f"{passages or '(no passages)'}\n\nQuestion: {inquiry.question}\nAnswer in one or two sentences, "
        f"from the passages only. If they do not answer it, write: {NOTHING}",
        temperature=0,
        max_tokens=100,
    )


@step("report", model="large")
def write(study: Study) -> Ask[str]:
    """Ask for the report; in later rounds, what was wrong with the last one comes first."""
    findings = "\n".join(
        f"- {finding.answer} {' '.join(f'[{source.label}]' for source in finding.found)}"
        for finding in study.findings
    )
    fix = f"Fix this: {' '.join(study.problems)}\n" if study.problems else ""
    return Ask(
        f"Findings:\n{findings}\n\n{fix}Answer the question from the findings, in at most five sentences: "
        f"{study.question}\nEnd each sentence with the source in brackets, as it stands in the findings.",
        temperature=0.3 if study.problems else 0,
        max_tokens=200,
    )


@rule("problems")
def check(study: Study) -> list[str]:
    """Say what is wrong with the report: sentences without a source, sources that nobody found."""
    known = {source.label for finding in study.findings for source in finding.found}
    strange = sorted(set(CITED.findall(study.report)) - known)
    problems = [f"There is no source {', '.join(strange)}."] if strange else []
    if not CITED.search(study.report):
        problems.append("No source is named.")
    bare = [sentence for sentence in _sentences(study.report) if not CITED.search(sentence)]
    if bare:
        problems.append(f"Name the source of: {' '.join(bare)[:300]}")
    return problems


def _sentences(text: str) -> list[str]:
    """Return the sentences, each with the brackets that follow it."""
    parts = re.split(r"(?<=[.!?\]])\s+(?!\[)", text.strip())
    return [part for part in parts if re.search(r"\w", part)]


def close(study: Study) -> dict[str, object]:
    """List what the report cites, and say whether it passed the check."""
    places = {source.label: source.place for finding in study.findings for source in finding.found}
    cited = [label for label in dict.fromkeys(CITED.findall(study.report)) if label in places]
    return {
        "cited": [f"[{label}] {places[label]}" for label in cited],
        "status": "held" if study.problems else "sound",
    }


report = refine(
    write, check, until=lambda problems: not problems, rounds=3, score=lambda problems: -len(problems)
)
work = orchestrate(
    plan,
    chain(look_up, answer),
    report,
    into="findings",
    brief=brief,
    max_items=MAX_ITEMS,
    rules=PlanRules(overlapping="drop"),  # small models repeat themselves
    failed="skip",
    missing="missing",
)
graph = chain(survey, work, close, name="research")
