"""Contract review: three perspectives at once, their remarks merged and their conflicts named.

    number the clauses ─► legal     ─┐
                       ─► financial ─┼─► compare ─► summary ─► names every conflict? ─► status
                       ─► technical ─┘   (code)     (model)    (code; else the bare list)

A remark counts only if it quotes three words or more of the clause that it names. A conflict is a clause
on which two perspectives differ, so code finds it and no model can leave it out. The status is
"complete" only if all three perspectives answered and no remark had to be left out.
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
from ...patterns.route import route
from ...patterns.section import section
from ..few_shot import few_shot
from ..text_checks import is_quoted, none

Status = Literal["new", "complete", "partial"]

PERSPECTIVES = ("legal", "financial", "technical")
MOST_REMARKS = 5
MIN_QUOTED = 3
BRANCH_SECONDS = 120
_CLAUSE = re.compile(r"\n\s*\n|\n(?=\s*(?:§\s*)?\d{1,2}[.)]\s)")
_NAMED = re.compile(r"\bclauses?\s+((?:\d{1,2}(?:\s*(?:,|and)\s*)?)+)", re.IGNORECASE)


class ReviewRemark(BaseModel):
    """What one perspective says of one clause, and the words that it goes by."""

    clause: int = Field(ge=1, le=99)
    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=100)]
    verdict: Literal["accept", "change", "reject"]
    why: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]


Remarks = Annotated[list[ReviewRemark], Field(max_length=MOST_REMARKS)]


@dataclass
class Conflict:
    """A clause on which perspectives differ: each one's verdict and reason."""

    clause: int
    sides: dict[str, str]


@dataclass
class Contract:
    """A contract, what each perspective says of it, and what comes of it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40_000)]
    party: str = "the customer"
    clauses: list[str] = field(default_factory=list)
    legal: list[ReviewRemark] = field(default_factory=list)
    financial: list[ReviewRemark] = field(default_factory=list)
    technical: list[ReviewRemark] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    summary: str = ""
    problems: list[str] = field(default_factory=list)
    status: Status = "new"


def number_clauses(contract: Contract) -> dict[str, list[str]]:
    """Cut the contract at its numbers and blank lines."""
    return {"clauses": [" ".join(part.split()) for part in _CLAUSE.split(contract.text) if part.strip()]}


SHOWN = "[1] Work. The painter paints the fence.\n[2] Delay. The owner pays 50 euros for each day of delay."
SHOWN_REMARKS = [
    {"clause": 1, "quote": "paints the fence", "verdict": "change", "why": "It names no colour and no date."},
    {"clause": 2, "quote": "for each day of delay", "verdict": "reject", "why": "There is no upper limit."},
]


@step("legal")
def read_law(contract: Contract) -> Ask[Remarks]:
    return _reading(contract, "a lawyer: liability, termination, duties, the law that applies")


@step("financial")
def read_money(contract: Contract) -> Ask[Remarks]:
    return _reading(contract, "a controller: prices, payment, penalties, costs that nobody has limited")


@step("technical")
def read_technology(contract: Contract) -> Ask[Remarks]:
    return _reading(contract, "an engineer: whether what is promised can be built, measured and kept running")


def _reading(contract: Contract, reader: str) -> Ask[Remarks]:
    clauses = "\n".join(f"[{number}] {clause}" for number, clause in enumerate(contract.clauses, 1))
    return Ask(
        few_shot([(f"Contract:\n{SHOWN}", SHOWN_REMARKS)], f"Contract:\n{clauses}"),
        system=f"You are {reader}. You read a contract for {contract.party}. For each clause that concerns "
        "you, give its number, a few words copied from it, whether to accept, change or reject it, and why "
        "in one short sentence. You leave out what does not concern you.",
        temperature=0,
        max_tokens=700,
    )


def compare(contract: Contract) -> dict[str, object]:
    """Leave out remarks that quote what is not there, and name the clauses on which perspectives differ."""
    remarks: dict[str, list[ReviewRemark]] = {}
    left_out = []
    for name in PERSPECTIVES:
        remarks[name] = []
        for remark in getattr(contract, name):
            if _is_grounded(remark, contract.clauses):
                remarks[name].append(remark)
            else:
                left_out.append(f'{name}: clause {remark.clause} does not say "{remark.quote}".')
    conflicts = []
    for clause in range(1, len(contract.clauses) + 1):
        by_side = {name: _view_of(clause, remarks[name]) for name in PERSPECTIVES}
        if len({verdicts for verdicts, _ in by_side.values() if verdicts}) > 1:
            sides = {name: f"{verdicts}: {why}" for name, (verdicts, why) in by_side.items() if verdicts}
            conflicts.append(Conflict(clause, sides))
    return {**remarks, "left_out": left_out, "conflicts": conflicts}


def _is_grounded(remark: ReviewRemark, clauses: list[str]) -> bool:
    return remark.clause <= len(clauses) and is_quoted(remark.quote, clauses[remark.clause - 1], MIN_QUOTED)


def _view_of(clause: int, remarks: list[ReviewRemark]) -> tuple[str, str]:
    """Return the verdict on a clause, the strictest where there are several, and the reasons."""
    about = [remark for remark in remarks if remark.clause == clause]
    strict = [v for v in ("reject", "change", "accept") if v in {remark.verdict for remark in about}]
    return (strict[0] if strict else "", " ".join(remark.why for remark in about))


def outcome(contract: Contract) -> Literal["remarks", "nothing"]:
    return "remarks" if any(getattr(contract, name) for name in PERSPECTIVES) else "nothing"


def listing(contract: Contract) -> str:
    """Return all remarks and conflicts as lines."""
    lines = [
        f'{name}: clause {remark.clause}, "{remark.quote}": {remark.verdict}: {remark.why}'
        for name in PERSPECTIVES
        for remark in getattr(contract, name)
    ]
    for conflict in contract.conflicts:
        sides = "; ".join(f"{name} says {side}" for name, side in conflict.sides.items())
        lines.append(f"Conflict on clause {conflict.clause}: {sides}")
    return "\n".join(lines)


@step("summary", model="large")
def sum_up(contract: Contract) -> Ask[str]:
    return Ask(
        f"Remarks on a contract:\n{listing(contract)}\n\nSummarise them for {contract.party} in at most five "
        'sentences. Write "clause 3" where you speak of one. Begin with the conflicts, and say who wants '
        "what. Do not settle them.",
        temperature=0,
        max_tokens=250,
    )


@rule("problems")
def check_summary(contract: Contract) -> list[str]:
    """Say which conflicts the summary leaves out, and which clauses it names that nobody spoke of."""
    named = {int(n) for clauses in _NAMED.findall(contract.summary) for n in re.findall(r"\d+", clauses)}
    spoken = {remark.clause for name in PERSPECTIVES for remark in getattr(contract, name)}
    problems = [
        f"Name the conflict on clause {conflict.clause}."
        for conflict in contract.conflicts
        if conflict.clause not in named
    ]
    problems += [f"Nobody spoke of clause {clause}." for clause in sorted(named - spoken)]
    if not named:
        problems.append('Name the clauses that you speak of, as in "clause 3".')
    return problems


def list_instead(contract: Contract) -> dict[str, str]:
    """Give the bare list in place of a summary that leaves something out."""
    return {"summary": listing(contract)}


def say_nothing(_: Contract) -> dict[str, str]:
    """Say that no remark is left."""
    return {"summary": "There are no remarks that hold."}


def close(contract: Contract) -> dict[str, Status]:
    """Call the review complete only if nobody is missing and no remark was left out."""
    return {"status": "partial" if contract.missing or contract.left_out else "complete"}


reading = section(
    {"legal": read_law, "financial": read_money, "technical": read_technology},
    merge=compare,
    timeout_s=BRANCH_SECONDS,
    failed="skip",
    missing="missing",
)
summary = chain(sum_up, gate(check_summary, none, repair=sum_up, tries=1, otherwise=list_instead))
telling = route(outcome, {"remarks": summary, "nothing": say_nothing})
graph = chain(number_clauses, reading, telling, close, name="contract-review")
