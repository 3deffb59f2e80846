"""Information extraction: a text becomes typed records of people, organisations and places.

    parse ─► for each passage: entities ─► check ─► at least two ─► relations ─► check ─► records
    (code)                     (small)    (code)                    (large)     (code)

An entity counts only if its name stands in the passage; a relation only if it joins two such entities of
the right kinds, and quotes words of the passage that name both. What does not count is in `rejected`, with
the reason. So "She founded it" gives no record: who she is, code cannot check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ....nodes.ask import Ask
from ....nodes.splitting import split_text
from ....nodes.steps import step
from ...patterns.chain import chain
from ...patterns.fan_out import fan_out
from ...patterns.route import route
from ..few_shot import few_shot
from ..text_checks import is_quoted, plain
from .records import FITTING, Entity, Organisation, Passage, Person, Place, Relation, records_of

Status = Literal["new", "sound", "partial", "empty", "failed"]

PASSAGE_TOKENS = 250
MOST_PASSAGES = 100


@dataclass
class Text:
    """A text, and the records that are made of it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100_000)]
    passages: list[Passage] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)
    organisations: list[Organisation] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    status: Status = "new"


def parse(text: Text) -> list[Passage]:
    """Cut the text, between paragraphs if it can be, and remember where each stands."""
    return [Passage(piece.text, piece.place) for piece in split_text(text.text, PASSAGE_TOKENS)]


SHOWN = "Ada Moreau works for Fenwick Tools, a company in Leeds."
SHOWN_ENTITIES = [
    {"name": "Ada Moreau", "kind": "person"},
    {"name": "Fenwick Tools", "kind": "organisation"},
    {"name": "Leeds", "kind": "place"},
]
SHOWN_RELATIONS = [
    {
        "subject": "Ada Moreau",
        "verb": "works_for",
        "object": "Fenwick Tools",
        "quote": "Ada Moreau works for Fenwick Tools",
    },
    {
        "subject": "Fenwick Tools",
        "verb": "located_in",
        "object": "Leeds",
        "quote": "Fenwick Tools, a company in Leeds",
    },
]


@step("entities", model="small")
def find_entities(passage: Passage) -> Ask[Annotated[list[Entity], Field(max_length=12)]]:
    return Ask(
        few_shot([(SHOWN, SHOWN_ENTITIES)], passage.text),
        system="You list the people, organisations and places that a text names, each once, as written.",
        temperature=0,
        max_tokens=300,
    )


def check_entities(passage: Passage) -> dict[str, object]:
    """Keep names that stand in the passage, once each; a name of two kinds keeps its first."""
    entities: dict[str, Entity] = {}
    rejected = []
    for entity in passage.entities:
        known = entities.get(plain(entity.name))
        if not is_quoted(entity.name, passage.text):
            rejected.append(f'{passage.place}: it does not name "{entity.name}".')
        elif known and known.kind != entity.kind:
            rejected.append(f'{passage.place}: "{entity.name}" is called {known.kind} and {entity.kind}.')
        else:
            entities[plain(entity.name)] = known or entity
    return {"entities": list(entities.values()), "rejected": rejected}


def how_many(passage: Passage) -> Literal["several", "too few"]:
    return "several" if len(passage.entities) > 1 else "too few"


@step("relations", model="large")
def find_relations(passage: Passage) -> Ask[Annotated[list[Relation], Field(max_length=8)]]:
    named = [f"{entity.name} ({entity.kind})" for entity in passage.entities]
    shown = [f"{entity['name']} ({entity['kind']})" for entity in SHOWN_ENTITIES]
    return Ask(
        few_shot([(_question(SHOWN, shown), SHOWN_RELATIONS)], _question(passage.text, named)),
        system="You say who works for, or founded, which organisation, and where an organisation is, and "
        "copy the words of the text that say so.",
        temperature=0,
        max_tokens=500,
    )


def _question(text: str, named: list[str]) -> str:
    return f"{text}\n\nNamed: {', '.join(named)}"


def check_relations(passage: Passage) -> dict[str, object]:
    """Keep relations that join known entities of the right kinds, in words that name both."""
    kinds = {plain(entity.name): entity.kind for entity in passage.entities}
    kept, rejected = [], [*passage.rejected]
    for relation in passage.relations:
        pair = kinds.get(plain(relation.subject)), kinds.get(plain(relation.object))
        statement = f'{passage.place}: "{relation.subject} {relation.verb} {relation.object}"'
        if None in pair:
            rejected.append(f"{statement} joins what was not found.")
        elif pair != FITTING[relation.verb]:
            rejected.append(f"{statement} joins a {pair[0]} and a {pair[1]}.")
        elif not is_quoted(relation.quote, passage.text):
            rejected.append(f'{statement} goes by "{relation.quote}", which is not there.')
        elif not all(is_quoted(name, relation.quote) for name in (relation.subject, relation.object)):
            rejected.append(f'{statement} goes by "{relation.quote}", which does not name both.')
        else:
            kept.append(relation)
    return {"relations": kept, "rejected": rejected}


def leave(_: Passage) -> dict[str, list[Relation]]:
    """Look for no relations where fewer than two things are named."""
    return {"relations": []}


def make_records(text: Text) -> dict[str, object]:
    """Make the records, and say whether everything that was found has become one."""
    records, clashes = records_of(text.passages)
    rejected = [*(reason for passage in text.passages for reason in passage.rejected), *clashes]
    if records:
        status: Status = "partial" if rejected or text.missing else "sound"
    else:
        status = "failed" if text.missing else "empty"
    return {
        "people": [record for record in records if isinstance(record, Person)],
        "organisations": [record for record in records if isinstance(record, Organisation)],
        "places": [record for record in records if isinstance(record, Place)],
        "rejected": rejected,
        "status": status,
    }


relations = chain(find_relations, check_relations)
reading = chain(
    find_entities,
    check_entities,
    route(how_many, {"several": relations, "too few": leave}, name="relate"),
    name="read",
)
graph = chain(
    fan_out(
        parse,
        reading,
        into="passages",
        max_items=MOST_PASSAGES,
        failed="skip",
        missing="missing",
        name="passages",
    ),
    make_records,
    name="extraction",
)
