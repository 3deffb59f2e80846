"""The information extraction's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.extraction.graph import Text, graph
from stepgraph.graphs.ready.extraction.records import (
    Entity,
    Organisation,
    Passage,
    Person,
    Place,
    Relation,
    records_of,
)
from stepgraph.state.errors import InputError, ModelRefused
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "extraction.jsonl"
TEXT = "Mara Lindqvist founded Northbay Ferries. Northbay Ferries is based in Halbrook."
ENTITIES = [
    {"name": "Mara Lindqvist", "kind": "person"},
    {"name": "Northbay Ferries", "kind": "organisation"},
    {"name": "Halbrook", "kind": "place"},
]
FOUNDED = {
    "subject": "Mara Lindqvist",
    "verb": "founded",
    "object": "northbay ferries",
    "quote": "Mara Lindqvist founded Northbay Ferries",
}
LOCATED = {
    "subject": "Northbay Ferries",
    "verb": "located_in",
    "object": "Halbrook",
    "quote": "Northbay Ferries is based in Halbrook",
}


def run(entities: list[Any], *relations: Any, text: str = TEXT) -> tuple[dict[str, Any], ScriptedModel]:
    script = {"find_entities": [entities], "find_relations": [list(relations)] if relations else []}
    with ScriptedModel(script) as model, using(model):
        return graph.compile().invoke(Text(text)), model


def test_a_text_becomes_typed_records_with_evidence() -> None:
    result, model = run(ENTITIES, FOUNDED, LOCATED)
    assert (result["status"], len(model.asks)) == ("sound", 2)
    place = "(characters 0-79)"
    assert result["people"] == [
        Person("Mara Lindqvist", founded=["Northbay Ferries"], evidence=[f'"{FOUNDED["quote"]}" {place}'])
    ]
    assert result["organisations"] == [
        Organisation("Northbay Ferries", located_in=["Halbrook"], evidence=[f'"{LOCATED["quote"]}" {place}'])
    ]
    assert result["places"] == [Place("Halbrook")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"object": "Reuter Paper"}, "joins what was not found."),
        ({"object": "Halbrook"}, "joins a person and a place."),
        ({"quote": "Mara owns Northbay Ferries"}, "which is not there."),
        ({"quote": "founded Northbay Ferries"}, "which does not name both."),
    ],
)
def test_relations_that_do_not_hold_are_rejected_with_the_reason(change: dict[str, str], reason: str) -> None:
    result, _ = run(ENTITIES, {**FOUNDED, **change}, LOCATED)
    assert result["status"] == "partial"
    assert len(result["rejected"]) == 1
    assert result["rejected"][0].endswith(reason)
    assert result["people"][0].founded == []


def test_names_that_are_not_there_and_names_of_two_kinds_are_rejected() -> None:
    more = [{"name": "Elvis", "kind": "person"}, {"name": "halbrook", "kind": "person"}, ENTITIES[0]]
    result, _ = run([*ENTITIES, *more], FOUNDED)
    assert result["rejected"] == [
        'characters 0-79: it does not name "Elvis".',
        'characters 0-79: "halbrook" is called place and person.',
    ]
    assert [record.name for record in result["places"]] == ["Halbrook"]
    assert len(result["people"]) == 1


def test_one_name_alone_needs_no_second_call_and_none_is_empty() -> None:
    result, model = run(ENTITIES[:1])
    assert (result["status"], len(model.asks)) == ("sound", 1)
    assert run([])[0]["status"] == "empty"


def test_nothing_but_failures_is_failed() -> None:
    with ScriptedModel(lambda request, context: ModelRefused("no")) as model, using(model):
        result = graph.compile().invoke(Text(TEXT))
    assert (result["status"], list(result["missing"])) == ("failed", ["0"])


def test_a_passage_that_fails_is_named_and_the_others_come_back() -> None:
    text = TEXT + " All was quiet." * 40 + "\n\n" + "It rained on the sea. " * 30

    def answer(request: Any, context: Any) -> Any:
        if "rained" in str(request.messages[-1]["content"]):
            return ModelRefused("no")
        return ENTITIES if context.step == "find_entities" else [FOUNDED]

    with ScriptedModel(answer) as model, using(model):
        result = graph.compile().invoke(Text(text))
    assert result["status"] == "partial"
    assert result["missing"]
    assert result["people"][0].founded == ["Northbay Ferries"]


def test_passages_share_records_and_the_first_kind_counts() -> None:
    works = Relation(subject="Jo", verb="works_for", object="Kelp Maps", quote="Jo works for Kelp Maps")
    jo, maps = Entity(name="Jo", kind="person"), Entity(name="Kelp Maps", kind="organisation")
    first = Passage("", "one", [jo, maps], [works])
    again = Passage("", "two", [jo, Entity(name="kelp maps", kind="place")], [works])
    records, clashes = records_of([first, again])
    assert [record.name for record in records] == ["Jo", "Kelp Maps"]
    assert records[0] == Person(
        "Jo", works_for=["Kelp Maps"], evidence=[f'"{works.quote}" (one)', f'"{works.quote}" (two)']
    )
    assert clashes == ['two: "kelp maps" is called place, but not elsewhere.']


def test_bad_input() -> None:
    with pytest.raises(InputError, match="does not fit Text"):
        parse_input(Text, {"text": " "})


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_every_record_is_named_in_the_text(session: Session) -> None:
    with using("local"):
        result = graph.compile().invoke(Text(TEXT), session.config("t"))
    records = [*result["people"], *result["organisations"], *result["places"]]
    assert all(record.name.casefold() in TEXT.casefold() for record in records)
    assert (result["status"] == "sound") <= (not result["rejected"] and not result["missing"])
    assert (result["status"] in ("empty", "failed")) == (not records)


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(Text, json.loads(line)).text
