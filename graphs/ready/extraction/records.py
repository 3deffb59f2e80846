"""The typed records of the information extraction, and how passages' findings become records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, StringConstraints

from ..text_checks import plain

Kind = Literal["person", "organisation", "place"]
Verb = Literal["works_for", "founded", "located_in"]

FITTING: dict[Verb, tuple[Kind, Kind]] = {
    "works_for": ("person", "organisation"),
    "founded": ("person", "organisation"),
    "located_in": ("organisation", "place"),
}

EntityName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=60)]


class Entity(BaseModel):
    """Somebody or something that a passage names."""

    name: EntityName
    kind: Kind


class Relation(BaseModel):
    """What a passage says of two entities, and the words that say it."""

    subject: EntityName
    verb: Verb
    object: EntityName
    quote: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]


@dataclass
class Passage:
    """A part of the text, and what is found in it."""

    text: str
    place: str
    entities: list[Entity] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass
class Person:
    name: str
    works_for: list[str] = field(default_factory=list)
    founded: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)


@dataclass
class Organisation:
    name: str
    located_in: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)


@dataclass
class Place:
    name: str
    evidence: list[str] = field(default_factory=list)


Record: TypeAlias = Person | Organisation | Place
RECORDS: dict[Kind, type[Person] | type[Organisation] | type[Place]] = {
    "person": Person,
    "organisation": Organisation,
    "place": Place,
}


def records_of(passages: Sequence[Passage]) -> tuple[list[Record], list[str]]:
    """Return one record of each entity, and what passages disagree on; the first passage counts."""
    records: dict[str, Record] = {}
    clashes = []
    for passage in passages:
        for entity in passage.entities:
            record = records.setdefault(plain(entity.name), RECORDS[entity.kind](entity.name))
            if not isinstance(record, RECORDS[entity.kind]):
                conflict = f'"{entity.name}" is called {entity.kind}, but not elsewhere.'
                clashes.append(f"{passage.place}: {conflict}")
    for passage in passages:
        for relation in passage.relations:
            subject, other = records[plain(relation.subject)], records[plain(relation.object)]
            known: list[str] | None = getattr(subject, relation.verb, None)
            if known is None or not isinstance(other, RECORDS[FITTING[relation.verb][1]]):
                continue  # passages disagree on its kind, which is among the clashes
            if other.name not in known:
                known.append(other.name)
            subject.evidence.append(f'"{relation.quote}" ({passage.place})')
    return list(records.values()), clashes
