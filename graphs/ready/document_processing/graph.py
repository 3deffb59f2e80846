"""Document processing: extract fields, validate them, extract again with guidance, then summarise.

    extract ⇄ validate (code, at most 3 rounds) ─► keep what holds ─► all there ─► summary ─► numbers right?
      ▲ what is missing or wrong ┘                                 └► something missing ─► incomplete

A value counts only if it stands in the document word for word. A document of which a field is missing is
not summarised: it is "incomplete", says which field, and keeps the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.rules import rule
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.gate import gate
from ...patterns.refine import refine
from ...patterns.route import route
from ..few_shot import few_shot
from ..text_checks import has_placeholder, is_quoted, none, plain, strange_numbers

Status = Literal["new", "complete", "incomplete", "unsummarised"]

ROUNDS = 3
MAX_SUMMARY = 400
# Fields whose name says that their value has a digit.
COUNTED = ("date", "day", "total", "amount", "price", "number", "sum")

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=40)]


class DocumentEntity(BaseModel):
    """One field of the document, and its value as it stands there."""

    field: Name
    value: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


@dataclass
class Document:
    """A text and the fields that are wanted, and what comes of it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
    fields: Annotated[list[Name], Field(min_length=1, max_length=12)]
    entities: list[DocumentEntity] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    summary: str = ""
    summary_problems: list[str] = field(default_factory=list)
    status: Status = "new"


SHOWN = "Receipt 77\nCorner Bakery, Main Street 3\n4 March 2024\n2 loaves of rye: 9.80 EUR"
SHOWN_FIELDS = {
    "receipt number": "77",
    "seller": "Corner Bakery",
    "date": "4 March 2024",
    "total": "9.80 EUR",
}


@step("entities", model="small")
def extract(document: Document) -> Ask[Annotated[list[DocumentEntity], Field(max_length=12)]]:
    """Ask for the fields; in later rounds with the last answer and what is wrong with it."""
    shown = [{"field": name, "value": value} for name, value in SHOWN_FIELDS.items()]
    prompt = _question(document.text, document.fields)
    examples: list[tuple[str, object]] = [(_question(SHOWN, list(SHOWN_FIELDS)), shown)]
    if document.problems:
        examples.append((prompt, [entity.model_dump() for entity in document.entities]))
        prompt = f"{' '.join(document.problems)} Give all the fields again, each once."
    return Ask(
        few_shot(examples, prompt),
        system="You copy values from a document, exactly as they stand there.",
        temperature=0.4 if document.problems else 0,
        max_tokens=400,
    )


def _question(text: str, fields: list[str]) -> str:
    return f"Document:\n{text}\n\nFields: {', '.join(fields)}"


@rule("problems")
def validate(document: Document) -> list[str]:
    """Say which fields are missing, and which values cannot be right: this is the next round's guidance."""
    problems = []
    for name in document.fields:
        values = _values(document, name)
        if not values:
            problems.append(f"The {name} is missing: find it.")
        elif len({plain(value) for value in values}) > 1:
            problems.append(f"The {name} has several values, {' and '.join(values)}: choose one.")
        elif flaw := _flaw(name, values[0], document.text):
            problems.append(flaw)
    return problems


def _values(document: Document, name: str) -> list[str]:
    return [entity.value for entity in document.entities if plain(entity.field) == plain(name)]


def _flaw(name: str, value: str, text: str) -> str:
    if not is_quoted(value, text):
        return f'The {name} is not "{value}", which the document does not say: copy it.'
    if any(word in plain(name).split() for word in COUNTED) and not re.search(r"\d", value):
        return f'The {name} has no digit in "{value}": copy it.'
    return ""


def settle(document: Document) -> dict[str, object]:
    """Keep the values that hold, and list the fields that are missing."""
    by_field = {name: _values(document, name) for name in document.fields}
    values = {
        name: readings[0]
        for name, readings in by_field.items()
        if len({plain(value) for value in readings}) == 1 and not _flaw(name, readings[0], document.text)
    }
    return {"values": values, "missing": [name for name in document.fields if name not in values]}


def outcome(document: Document) -> Literal["complete", "incomplete"]:
    return "incomplete" if document.missing else "complete"


@step("summary", model="large")
def summarise(document: Document) -> Ask[str]:
    fields = "; ".join(f"{name}: {value}" for name, value in document.values.items())
    return Ask(
        f"Document:\n{document.text}\n\nIts fields: {fields}\n\nSummarise it in one or two sentences, for "
        "somebody who decides what to do with it.",
        system="You tell only what the document says.",
        temperature=0,
        max_tokens=120,
    )


@rule("summary_problems")
def check_summary(document: Document) -> list[str]:
    """Say what is wrong with the summary, as far as code can see."""
    problems = []
    if strange := strange_numbers(document.summary, document.text):
        problems.append(f"The document does not say {', '.join(strange)}.")
    if not any(is_quoted(value, document.summary) for value in document.values.values()):
        problems.append("Name at least one of the fields' values as it stands.")
    if has_placeholder(document.summary):
        problems.append("Do not leave placeholders in brackets.")
    if len(document.summary) > MAX_SUMMARY:
        problems.append(f"Write at most {MAX_SUMMARY} characters.")
    return problems


def drop_summary(_: Document) -> dict[str, str]:
    """Give no summary rather than a wrong one."""
    return {"summary": ""}


def close(document: Document) -> dict[str, Status]:
    """Say how far the processing came."""
    if document.missing:
        return {"status": "incomplete"}
    return {"status": "complete" if document.summary else "unsummarised"}


extraction = refine(
    extract,
    validate,
    until=lambda problems: not problems,
    score=lambda problems: -len(problems),
    rounds=ROUNDS,
)
summary = chain(summarise, gate(check_summary, none, repair=summarise, tries=1, otherwise=drop_summary))
graph = chain(
    extraction,
    settle,
    route(outcome, {"complete": chain(summary, close), "incomplete": close}),
    name="document-processing",
)
