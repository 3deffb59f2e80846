"""The document processing's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.document_processing.graph import Document, graph, validate
from stepgraph.state.errors import InputError
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents.jsonl"
TEXT = "INVOICE 2026-0417\nFenwick Tools, Leeds\nDate: 3 May 2026\nTotal: 2,500.00 EUR"
FIELDS = ["seller", "date", "total"]
SUMMARY = "Fenwick Tools wants 2,500.00 EUR."


def entities(**values: str) -> list[dict[str, str]]:
    return [{"field": name, "value": value} for name, value in values.items()]


RIGHT = entities(seller="Fenwick Tools", date="3 May 2026", total="2,500.00 EUR")


def run(extract: list[Any], *summaries: str) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel({"extract": extract, "summarise": list(summaries)}) as model, using(model):
        return graph.compile().invoke(Document(TEXT, FIELDS)), model


def test_a_complete_document_is_summarised_after_two_calls() -> None:
    result, model = run([RIGHT], SUMMARY)
    assert (result["status"], result["summary"], len(model.asks)) == ("complete", SUMMARY, 2)
    assert result["values"] == {"seller": "Fenwick Tools", "date": "3 May 2026", "total": "2,500.00 EUR"}


def test_what_is_missing_or_made_up_is_extracted_again_with_guidance() -> None:
    result, model = run([entities(seller="Fenwick Ltd", date="3 May 2026"), RIGHT], SUMMARY)
    assert result["status"] == "complete"
    messages = model.asks[1][1].messages
    assert "Fenwick Ltd" in messages[-2]["content"]
    assert messages[-1]["content"] == (
        'The seller is not "Fenwick Ltd", which the document does not say: copy it. '
        "The total is missing: find it. Give all the fields again, each once."
    )


def test_the_round_with_the_fewest_problems_is_kept_and_what_is_missing_is_named() -> None:
    best = entities(seller="Fenwick Tools", date="3 May 2026")
    result, model = run([entities(seller="Me"), best, entities(total="free")])
    assert (result["status"], result["missing"], result["summary"]) == ("incomplete", ["total"], "")
    assert result["values"] == {"seller": "Fenwick Tools", "date": "3 May 2026"}
    assert len(model.asks) == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"date": "Date"}, 'The date has no digit in "Date": copy it.'),
        ({"total": "2,500"}, ""),
        ({"Seller": "Leeds"}, "The seller has several values, Fenwick Tools and Leeds: choose one."),
    ],
)
def test_validation(change: dict[str, str], problem: str) -> None:
    given = {"seller": "Fenwick Tools", "date": "3 May 2026", "total": "2,500.00 EUR", **change}
    document = parse_input(Document, {"text": TEXT, "fields": FIELDS, "entities": entities(**given)})
    assert validate(document) == ([problem] if problem else [])


def test_fields_that_nobody_asked_for_are_left_out() -> None:
    assert "city" not in run([[*RIGHT, *entities(city="Leeds")]], SUMMARY)[0]["values"]


def test_a_summary_with_numbers_of_its_own_is_asked_for_again_and_then_left_out() -> None:
    result, model = run([RIGHT], "Fenwick Tools wants 9,000 EUR.", "Nothing.")
    assert (result["status"], result["summary"]) == ("unsummarised", "")
    assert "The document does not say 9, 000, 9,000 as money." in model.asks[2][1].messages[-1]["content"]
    assert result["values"]["total"] == "2,500.00 EUR"


@pytest.mark.parametrize("wrong", [{"text": "", "fields": FIELDS}, {"text": TEXT, "fields": []}])
def test_bad_input(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="does not fit Document"):
        parse_input(Document, wrong)


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_every_value_stands_in_the_document(session: Session) -> None:
    with using("local"):
        result = graph.compile().invoke(Document(TEXT, FIELDS), session.config("t"))
    assert all(value.casefold() in TEXT.casefold() for value in result["values"].values())
    assert {*result["values"], *result["missing"]} == set(FIELDS)
    assert (result["status"] == "incomplete") == bool(result["missing"])
    assert (result["status"] == "complete") == bool(result["summary"])


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(Document, json.loads(line)).fields
