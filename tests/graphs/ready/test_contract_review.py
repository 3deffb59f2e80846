"""The contract review's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.contract_review.graph import Contract, check_summary, graph, number_clauses
from stepgraph.state.errors import ModelRefused
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "contracts.jsonl"
TEXT = "1. The fee is 900 euros a month.\n2. Backups are made once a week.\n3. The supplier is never liable."
SUMMARY = "On clause 1, legal wants a change, financial accepts. Clause 2 should change."


def remark(clause: int, quote: str, verdict: str, why: str = "Because.") -> dict[str, Any]:
    return {"clause": clause, "quote": quote, "verdict": verdict, "why": why}


LEGAL = [remark(1, "The fee is 900 euros", "change", "No end is named.")]
MONEY = [remark(1, "900 euros a month", "accept", "It is a fair price.")]
TECH = [remark(2, "made once a week", "change", "Daily would be usual.")]


def run(legal: Any, money: Any, tech: Any, *summaries: str) -> tuple[dict[str, Any], ScriptedModel]:
    script = {
        "read_law": [legal],
        "read_money": [money],
        "read_technology": [tech],
        "sum_up": list(summaries),
    }
    with ScriptedModel(script) as model, using(model):
        return graph.compile().invoke(Contract(TEXT)), model


def test_three_perspectives_are_merged_and_their_conflict_is_named_after_four_calls() -> None:
    result, model = run(LEGAL, MONEY, TECH, SUMMARY)
    assert (result["status"], result["summary"], len(model.asks)) == ("complete", SUMMARY, 4)
    (conflict,) = result["conflicts"]
    assert conflict.clause == 1
    assert conflict.sides == {"legal": "change: No end is named.", "financial": "accept: It is a fair price."}
    assert (
        "Conflict on clause 1: legal says change: No end is named.;"
        in model.asks[3][1].messages[-1]["content"]
    )


def test_a_summary_that_hides_a_conflict_is_asked_for_again_and_then_replaced_by_the_list() -> None:
    result, model = run(LEGAL, MONEY, TECH, "All is well.", "Clause 2 should change.")
    assert "Name the conflict on clause 1." in model.asks[4][1].messages[-1]["content"]
    assert "Conflict on clause 1" in result["summary"]
    assert 'technical: clause 2, "made once a week": change' in result["summary"]


def test_remarks_on_what_is_not_there_are_left_out_and_make_the_review_partial() -> None:
    strange = [
        remark(1, "The fee is 800 euros", "reject"),
        remark(7, "The fee is", "reject"),
        remark(1, "fee", "reject"),
    ]
    result, _ = run([*LEGAL, *strange], [], TECH, "Clause 1 and clause 2 should change.")
    assert result["status"] == "partial"
    assert [remark.quote for remark in result["legal"]] == ["The fee is 900 euros"]
    assert result["left_out"] == [
        'legal: clause 1 does not say "The fee is 800 euros".',
        'legal: clause 7 does not say "The fee is".',
        'legal: clause 1 does not say "fee".',
    ]


def test_a_perspective_that_fails_is_named_and_the_others_come_back() -> None:
    result, _ = run(LEGAL, ModelRefused("no"), TECH, "Clause 1 and clause 2 should change.")
    assert result["status"] == "partial"
    assert list(result["missing"]) == ["financial"]
    assert "ModelRefused" in result["missing"]["financial"]


def test_a_contract_without_remarks_costs_no_summary() -> None:
    result, model = run([], [], [])
    assert (result["status"], len(model.asks)) == ("complete", 3)
    assert result["summary"] == "There are no remarks that hold."


def test_one_perspectives_two_minds_count_as_the_stricter() -> None:
    both = [*MONEY, remark(1, "900 euros a month", "reject", "Too much.")]
    result, _ = run([], both, [], "Reject clause 1.")
    assert result["conflicts"] == []


@pytest.mark.parametrize(
    ("summary", "problem"),
    [
        ("Reject it.", 'Name the clauses that you speak of, as in "clause 3".'),
        ("Clauses 1 and 3 are bad.", "Nobody spoke of clause 3."),
    ],
)
def test_summaries_that_will_not_do(summary: str, problem: str) -> None:
    contract = parse_input(Contract, {"text": TEXT, "legal": LEGAL, "summary": summary})
    assert problem in check_summary(contract)


def test_clauses() -> None:
    assert len(number_clauses(Contract(TEXT))["clauses"]) == 3
    assert number_clauses(Contract("Preamble\n\nParty A\nand B.\n§ 1. Rent\n2) End"))["clauses"] == [
        "Preamble",
        "Party A and B.",
        "§ 1. Rent",
        "2) End",
    ]


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_no_remark_that_quotes_nothing_gets_through(session: Session) -> None:
    with using("local"):
        result = graph.compile().invoke(Contract(TEXT), session.config("t"))
    kept = [*result["legal"], *result["financial"], *result["technical"]]
    assert all(" ".join(remark.quote.split()).lower() in TEXT.lower() for remark in kept)
    assert (result["status"] == "complete") == (not result["left_out"] and not result["missing"])
    assert result["summary"]


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert len(number_clauses(parse_input(Contract, json.loads(line)))["clauses"]) >= 4
