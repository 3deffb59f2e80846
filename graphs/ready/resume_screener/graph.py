"""The résumé screener: which requirements a résumé shows, and the line that shows each.

    extract ─► keep what is quoted ─► for each requirement: its words stand in a line ─► shown
    (model)    (code)                                       else the model names a fact ─► on its word
            ─► decide (code): invite, check or hold, and the line that each requirement rests on

Nobody is declined here. That a résumé does not show something is no proof that it is not so, and no
code can check a model that says no. What is not shown is for a person, and so is a model's word. The model
that compares sees the lines of the extracted facts only, not the name, age or address beside them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.fan_out import fan_out
from ...patterns.route import route
from ..few_shot import few_shot
from ..text_checks import is_quoted, plain

Decision = Literal["new", "invite", "check", "hold"]

MOST_FACTS = 12
MOST_REQUIREMENTS = 20
DENIALS = frozenset("no not never without none lacking cannot".split())

Wish = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=120)]


class Fact(BaseModel):
    """Something that the résumé says, word for word."""

    kind: Literal["job", "skill", "education"]
    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=120)]


class Match(BaseModel):
    """What the model says of one requirement; `fact` is the number of the fact that shows it, 0 for none."""

    shown: bool
    fact: int = Field(ge=0, le=MOST_FACTS)
    why: str = Field(default="", max_length=100)


@dataclass
class Requirement:
    """One requirement, and what shows it: `by` its own words, by the model's word, or by nothing."""

    text: str
    must: bool = True
    facts: list[str] = field(default_factory=list)
    by: Literal["words", "model", "nothing"] = "nothing"
    evidence: str = ""
    match: Match | None = None


@dataclass
class Application:
    """A résumé and a job's requirements, and what comes of it."""

    resume: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
    required: Annotated[list[Wish], Field(min_length=1, max_length=10)]
    wanted: Annotated[list[Wish], Field(max_length=10)] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    made_up: list[Fact] = field(default_factory=list)
    matches: list[Requirement] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    decision: Decision = "new"
    explanation: list[str] = field(default_factory=list)


SHOWN = """Jo Doe, born 1990
Baker at Old Mill, 2015 to 2020. Baked 200 loaves a day.
Skills: sourdough, Excel
Diploma in baking, 2014"""
SHOWN_FACTS = [
    {"kind": "job", "quote": "Baker at Old Mill, 2015 to 2020"},
    {"kind": "job", "quote": "Baked 200 loaves a day"},
    {"kind": "skill", "quote": "sourdough, Excel"},
    {"kind": "education", "quote": "Diploma in baking, 2014"},
]


@step("facts", model="small")
def extract(application: Application) -> Ask[Annotated[list[Fact], Field(max_length=MOST_FACTS)]]:
    return Ask(
        few_shot([(SHOWN, SHOWN_FACTS)], application.resume),
        system="You copy from a résumé, word for word, what it says of jobs, skills and education. You leave "
        "out the name, age, sex, origin, address and photograph.",
        temperature=0,
        max_tokens=900,
    )


def keep_quoted(application: Application) -> dict[str, list[Fact]]:
    """Keep the facts that stand in the résumé word for word; the others are made up."""
    real = [fact for fact in application.facts if is_quoted(fact.quote, application.resume)]
    return {"facts": real, "made_up": [fact for fact in application.facts if fact not in real]}


def requirements(application: Application) -> list[Requirement]:
    """Give each requirement what there is to go by: a line that has its words, or else the facts' lines."""
    lines = lines_of(application.resume)
    facts = [line for line in lines if any(is_quoted(fact.quote, line) for fact in application.facts)]
    wishes = [(text, True) for text in application.required] + [(text, False) for text in application.wanted]
    return [Requirement(text, must, facts, evidence=line_with(text, lines)) for text, must in wishes]


def lines_of(resume: str) -> list[str]:
    """Return the lines and sentences of a résumé."""
    return [line.strip() for line in re.split(r"\n+|(?<=[.!?])\s+", resume) if line.strip()]


def line_with(wish: str, lines: list[str]) -> str:
    """Return the first line that has all the words of a wish and denies nothing, or ""."""
    words = set(_words(wish))
    return next((ln for ln in lines if words and words <= set(_words(ln)) and not denies(ln)), "")


def denies(line: str) -> bool:
    """Tell whether a line says that something is not so."""
    return "n't" in plain(line) or not DENIALS.isdisjoint(_words(line))


def _words(text: str) -> list[str]:
    return re.findall(r"[\w+#]+", plain(text))


def way(requirement: Requirement) -> Literal["words", "model", "nothing"]:
    if requirement.evidence:
        return "words"
    return "model" if requirement.facts else "nothing"


def found(_: Requirement) -> dict[str, str]:
    """Note that the requirement's own words stand in the résumé."""
    return {"by": "words"}


def nothing(_: Requirement) -> dict[str, str]:
    """Note that there is nothing to go by."""
    return {"by": "nothing"}


@step("match", model="large")
def compare(requirement: Requirement) -> Ask[Match]:
    facts = "\n".join(f"{number}. {fact}" for number, fact in enumerate(requirement.facts, 1))
    return Ask(
        f"Facts:\n{facts}\n\nRequirement: {requirement.text}\nIs there one fact that shows it? Give its "
        "number, or 0, and say in one short sentence why.",
        system="You compare facts with a requirement. What the facts do not say is not shown.",
        temperature=0,
        max_tokens=160,
    )


def take_word(requirement: Requirement) -> dict[str, str]:
    """Take the model's word where it names a fact that is there and denies nothing."""
    match, facts = requirement.match, requirement.facts
    named = match is not None and match.shown and 1 <= match.fact <= len(facts)
    if match is None or not named or denies(facts[match.fact - 1]):
        return {"by": "nothing"}
    return {"by": "model", "evidence": facts[match.fact - 1]}


def decide(application: Application) -> dict[str, object]:
    """Decide by the required ones alone, and say what each requirement rests on."""
    by = {match.by for match in application.matches if match.must}
    if len([match for match in application.matches if match.must]) < len(application.required):
        by.add("nothing")
    decision: Decision = "hold" if "nothing" in by else "check" if "model" in by else "invite"
    lines = [_line_of(match) for match in application.matches]
    wishes = [*application.required, *application.wanted]
    lines += [f"{wishes[int(number)]}: no answer. {reason}" for number, reason in application.unread.items()]
    if application.made_up:
        lines.append(
            f"{len(application.made_up)} extracted facts do not stand in the résumé, and do not count."
        )
    return {"decision": decision, "explanation": lines}


def _line_of(match: Requirement) -> str:
    wish = f"{'Required' if match.must else 'Wanted'}: {match.text}:"
    if match.by == "words":
        return f'{wish} shown by "{match.evidence}".'
    if match.by == "model" and match.match is not None:
        return f'{wish} on the model\'s word, by "{match.evidence}" ({match.match.why or "no reason given"}).'
    return f"{wish} not shown."


match = route(way, {"words": found, "model": chain(compare, take_word), "nothing": nothing}, name="match")
matching = fan_out(
    requirements, match, into="matches", max_items=MOST_REQUIREMENTS, failed="skip", missing="unread"
)
graph = chain(extract, keep_quoted, matching, decide, name="resume-screener")
