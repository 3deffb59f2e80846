"""A form is made of a schema, says the value as it is, and names what does not fit."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from stepgraph.state.errors import InputError
from stepgraph.state.schema import json_schema_of
from stepgraph.ui.forms import entries_of, typed_value
from stepgraph.ui.trees import Tree, tree_of

from .runs import EVIL


class Address(BaseModel):
    street: str
    number: int


class Order(BaseModel):
    name: str
    price: float
    gift: bool = False
    size: Literal["S", "M"] = "S"
    note: str | None = None


@dataclass
class Desk:
    text: str = ""
    count: int = 0
    sure: bool = False
    size: Literal["S", "M"] = "S"
    maybe: Order | None = None
    order: Order = field(default_factory=lambda: Order(name="", price=0))
    address: Address = field(default_factory=lambda: Address(street="", number=1))
    many: list[Address] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)


ADDRESS = {"street": 'A "b" \\ c', "number": 7}
VALUES = [
    ("text", "1042"),
    ("text", EVIL),
    ("text", "two\nlines "),
    ("count", -3),
    ("sure", True),
    ("size", "M"),
    ("address", ADDRESS),
    ("many", [ADDRESS, ADDRESS]),
    ("words", {"a b": 1, "": 2}),
    ("order", {"name": "x", "price": 1.5, "gift": True, "size": "M", "note": None}),
    ("maybe", {"name": "x", "price": 1.5, "gift": True, "size": "M", "note": "y"}),
    ("maybe", None),
]


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_form_that_is_sent_as_it_stands_changes_nothing(name: str, value: Any) -> None:
    schema = json_schema_of(Desk, name)
    given = {entry.name: entry.shown for entry in entries_of(schema, value, name)}
    assert typed_value(schema, value, given, name) == value


@pytest.mark.parametrize(
    ("name", "value", "typed", "told"),
    [
        ("count", 1, {"value": "many"}, "count: expected a whole number"),
        ("count", 1, {"value": "1.5"}, "count: expected a whole number, got 1.5"),
        ("count", 1, {"value": ""}, "count: expected a whole number"),
        ("sure", True, {"value": "perhaps"}, "sure: expected one of yes, no"),
        ("size", "S", {"value": '"XL"'}, 'size: expected one of S, M, got "XL"'),
        ("address", ADDRESS, {"value.street": "x", "value.number": "x"}, "address.number: expected a whole"),
        ("many", [], {"value": '[{"street": "x"}]'}, "many[0].number: is missing"),
        ("many", [], {"value": "[{]"}, "line 1, column 3"),
        ("words", {}, {"value": '{"a": "b"}'}, 'words.a: expected a whole number, got "b"'),
        ("words", {}, {"value": "[" * 100_000}, "nested too deep"),
        ("maybe", None, {"value": '{"name": 1, "price": 2}'}, "maybe.name: expected text, got 1"),
        ("maybe", None, {"value": "3"}, "maybe: 3 fits none of what it may be"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Any, typed: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as error:
        typed_value(json_schema_of(Desk, name), value, typed, name)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": ["string", 7], "enum": "x", "properties": 3, "required": None, "anyOf": "y"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        "no schema",
    ],
)
def test_a_schema_of_anywhere_does_no_harm(schema: Any) -> None:
    value: Any = {"a": [[[1]]]}
    began = time.process_time()
    given = {entry.name: entry.shown for entry in entries_of(schema, value, "it")}
    with suppress(InputError):
        typed_value(schema, value, given, "it")
    assert time.process_time() - began < 5


def told_by(tree: Tree, depth: int = 0) -> str:
    """Return a tree as a reader sees it, each line as deep as it stands."""
    lines = [f"{' ' * depth}{tree.name}:"]
    if tree.is_leaf:
        lines += [f"{' ' * (depth + 1)}|{line}" for line in tree.text.split("\n")]
    return "\n".join([*lines, *(told_by(item, depth + 1) for item in tree.items)])


def test_two_values_never_look_the_same() -> None:
    values: list[Any] = [
        {"a": "1"},
        {"a": 1},
        {"a": True},
        {"a": "yes"},
        {"a": "true"},
        {"a": None},
        {"a": "(nothing)"},
        {"a": ""},
        {"a": " "},
        {"a": {}},
        {"a": []},
        {"a": "(empty)"},
        {"a": "x\nb:\n |y"},
        {"a": "x", "b": "y"},
        {"a": ["x", "y"]},
        {"a": {"1": "x", "2": "y "}},
        {"a\n": "x"},
        {'"a\\n"': "x"},
        {"": "x"},
        {"a": '"1"'},
        {"a": 1.0},
        {"a": "1.0"},
    ]
    trees = [tree_of(value) for value in values]
    assert None not in trees
    assert len({told_by(tree) for tree in trees if tree}) == len(values)


def test_what_is_too_large_for_a_tree_is_none() -> None:
    assert tree_of({}) is None
    assert tree_of("text") is None
    assert tree_of(list(range(2000))) is None
    assert tree_of(json.loads("[" * 50 + "1" + "]" * 50)) is None
