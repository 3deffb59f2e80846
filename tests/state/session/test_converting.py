"""One checkpoint of an old version as one of the new: channels, nodes' names, fields, and what is refused."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import StateGraph
from langgraph.types import Send

from stepgraph import migration
from stepgraph.state.serde import AllowListSerializer, allow
from stepgraph.state.session.converting import Converter, Misplaced, _same, _says_all
from stepgraph.state.session.internals import NOTHING_WRITTEN, SENT
from stepgraph.state.session.parts import Part


class State(TypedDict, total=False):
    name: str
    count: int
    log: Annotated[list[str], operator.add]


def nothing(state: State) -> None: ...


def graph_of(*nodes: str, state: Any = State) -> Any:
    graph = StateGraph(state)
    for node in nodes:
        graph.add_node(node, nothing)
    graph.add_edge("__start__", nodes[0])
    if len(nodes) > 2:
        graph.add_edge([*nodes[:2]], nodes[2])
    return graph.compile()


def part(value: Any) -> Part:
    return Part(*AllowListSerializer().dumps_typed(value), None)


def converter(
    *migrations: Any, names: dict[str, str] | None = None, where: str = "", checked: bool = True
) -> Converter:
    renamed = names or {}
    graph = graph_of("first", "second", "third")
    return Converter(graph, where, migrations, lambda name: renamed.get(name, name), checked)


def checkpoint(values: dict[str, Any], **other: Any) -> dict[str, Any]:
    parts = {name: part(value) for name, value in values.items()}
    return {
        "channel_values": parts,
        "channel_versions": dict.fromkeys(parts, 3),
        "versions_seen": {},
        **other,
    }


def refusal(of: Converter, values: dict[str, Any]) -> Misplaced:
    with pytest.raises(Misplaced) as refused:
        of.checkpoint(checkpoint(values))
    return refused.value


@migration(from_="1")
def longer(old: dict[str, Any]) -> dict[str, Any]:
    old["name"] = old.pop("title")
    return old


@migration(from_="2")
def counted(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "count": len(old["name"])}


def test_fields_go_through_the_migrations_in_order_and_new_ones_get_the_latest_version() -> None:
    old = checkpoint({"title": "tea", "log": ["a"]}, updated_channels=["title", "log"], id="7")
    old["channel_versions"] = {"title": 2, "log": 4}
    old["versions_seen"] = {"first": {"title": 2, "log": 4}}
    assert converter(longer, counted).checkpoint(old) == {
        "id": "7",
        "channel_values": {"name": "tea", "count": 3, "log": ["a"]},
        "channel_versions": {"name": 4, "count": 4, "log": 4},
        "versions_seen": {"first": {"log": 4}},
        "updated_channels": ["log"],
    }


@pytest.mark.parametrize("updated", [None, []])
def test_a_checkpoint_without_versions_stays_without(updated: Any) -> None:
    old = checkpoint({}, updated_channels=updated)
    assert converter(migration(from_="1")(lambda old: {"name": "tea"})).checkpoint(old) == {
        **old,
        "channel_values": {"name": "tea"},
    }


def test_nodes_have_their_new_names_in_every_channel() -> None:
    names = {"one": "first", "two": "second", "three": "third"}
    values = {
        "branch:to:one": None,
        "join:one+two:three": {"one"},
        SENT: [Send("two", {"name": "x"}), Send("third", 1)],
    }
    old = checkpoint(
        values, versions_seen={"three": {"branch:to:one": 3}}, updated_channels=["branch:to:one"]
    )
    new = converter(names=names).checkpoint(old)
    assert new["channel_values"] == {
        "branch:to:first": None,
        "join:first+second:third": {"first"},
        SENT: [Send("second", {"name": "x"}), Send("third", 1)],
    }
    assert new["channel_versions"] == {"branch:to:first": 3, "join:first+second:third": 3, SENT: 3}
    assert new["versions_seen"] == {"third": {"branch:to:first": 3}}
    assert new["updated_channels"] == ["branch:to:first"]


@pytest.mark.parametrize(
    ("channel", "value", "kept"),
    [
        (SENT, Send("one", 1), Send("first", 1)),
        (SENT, None, []),
        ("join:one:two", ({"one"}, True), ({"first"}, True)),
        ("join:one:two", [1], [1]),
        ("__other", ("one",), ("one",)),
    ],
)
def test_a_channel_keeps_its_form(channel: str, value: Any, kept: Any) -> None:
    assert converter(names={"one": "first"})._kept(channel, part(value)) == kept


@pytest.mark.parametrize("channel", ["branch:to:gone", "join:first+second:gone"])
@pytest.mark.parametrize("where", ["", "inner/"])
def test_a_node_that_is_gone_is_told_with_its_path(channel: str, where: str) -> None:
    told = refusal(converter(where=where), {channel: None})
    assert f"goes on with node '{where}gone'" in str(told)
    assert f"nodes={{'{where}gone': …}}" in str(told)


@pytest.mark.parametrize("value", [None, [], {}, 0, "", False])
def test_bookkeeping_that_holds_nothing_may_go(value: Any) -> None:
    assert converter().checkpoint(checkpoint({"__gone": value}))["channel_values"] == {}


@pytest.mark.parametrize("value", [[0], {"a": 0}, 1, "x", True])
def test_a_thread_inside_a_pattern_that_is_gone_is_refused(value: Any) -> None:
    told = refusal(converter(longer), {"__gone": value})
    assert "bookkeeping the new version does not have (__gone)" in str(told)
    assert (told.field, told.function) == ("", "longer")


def failing(old: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("title")


@pytest.mark.parametrize(
    ("migrations", "values", "told", "field", "function"),
    [
        ((), {"title": "tea"}, "The field 'title' is gone from State, that of 'in/'", "title", ""),
        ((counted, longer), {"name": "tea", "title": "t", "x": 1}, "'longer' returns 'x'", "x", "longer"),
        ((migration(from_="1")(failing), longer), {}, "'failing' raised KeyError: 'title'", "", "failing"),
        ((counted,), {"name": "tea", "log": 7}, r"The field 'log' = 7 does not fit State", "log", "counted"),
        (
            (migration(from_="1")(lambda old: {"__private": 1}),),
            {},
            "returns '__private'",
            "__private",
            "<lambda>",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_field_and_migration(
    migrations: Sequence[Any], values: dict[str, Any], told: str, field: str, function: str
) -> None:
    refused = refusal(converter(*migrations, where="in/"), values)
    assert told in str(refused)
    assert (refused.field, refused.function) == (field, function)


def test_unchecked_fields_stay_as_they_are_where_the_new_version_has_them() -> None:
    new = converter(checked=False).checkpoint(checkpoint({"name": 7, "title": "tea"}))
    assert new["channel_values"] == {"name": 7}


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ({"title": "new"}, [("name", "new")]),
        ({"log": ["b"]}, [("log", ["b"])]),
        ({"title": "old"}, [(NOTHING_WRITTEN, None)]),
        ({"title": "new", "branch:to:one": None}, [("name", "new"), ("branch:to:first", None)]),
        ({"branch:to:one": None}, [("branch:to:first", None)]),
        ({}, [(NOTHING_WRITTEN, None)]),
    ],
)
def test_what_a_task_has_written_is_what_the_new_state_differs_by(
    writes: dict[str, Any], expected: list[tuple[str, Any]]
) -> None:
    of = converter(longer, names={"one": "first"})
    old = checkpoint({"title": "old", "log": ["a"]})
    assert of.writes(old, [(name, part(value)) for name, value in writes.items()]) == expected


def test_unchecked_writes_stay_as_they_are() -> None:
    of = converter(checked=False, names={"one": "first"})
    written = [("branch:to:one", part(None)), ("name", part(7))]
    assert of.writes(checkpoint({"name": "old"}), written) == [("name", 7), ("branch:to:first", None)]


def test_what_becomes_of_a_write_in_a_field_with_a_reducer_cannot_be_told() -> None:
    logs = migration(from_="1")(lambda old: {"log": [old["title"]]})
    with pytest.raises(Misplaced, match=r"wrote title.*in 'log', which has a reducer") as refused:
        converter(logs).writes(checkpoint({"title": "a"}), [("title", part("b"))])
    assert refused.value.field == "log"


@dataclass
class Told:
    text: str


class Opaque: ...


class Colour(Enum):
    RED = "red"


@dataclass
class Loose:
    any: Any


@pytest.mark.parametrize(
    ("annotation", "all_of_it"),
    [
        (str, True),
        (int | None, True),
        (list[Told], True),
        (Colour | None, True),
        (Any, False),
        (list[Any], False),
        (Loose, False),
        (Opaque, False),
        (str | Opaque, False),
    ],
)
def test_an_annotation_says_how_all_of_a_value_is_made_or_not(annotation: Any, all_of_it: bool) -> None:
    assert _says_all(annotation) is all_of_it


@dataclass
class Full:
    told: Told
    loose: Loose
    colour: Colour = Colour.RED


allow(Full)


def fitted(name: str, value: Any, kept: Any = None) -> Any:
    """Return what a field of Full becomes: a value that the migrations gave, and what was kept before."""
    of = Converter(graph_of("node", state=Full), "", (), str, True)
    return of._fitting(name, value, None if kept is None else part(kept))


@pytest.mark.parametrize(
    ("name", "value", "kept", "fitting"),
    [
        ("told", {"text": "a"}, Told("a"), Told("a")),
        ("told", {"text": "b"}, Told("a"), Told("b")),
        ("told", {"text": "b"}, None, Told("b")),
        ("told", Told("b"), None, Told("b")),
        ("colour", "red", None, Colour.RED),
        ("colour", Colour.RED, None, Colour.RED),
        # What the type does not say is kept as it was, and not made plain.
        ("loose", {"any": {"text": "a"}}, Loose(Told("a")), Loose(Told("a"))),
        ("unknown", {"text": "a"}, Told("a"), Told("a")),
        ("unknown", {"text": "b"}, Told("a"), {"text": "b"}),
        ("unknown", {"text": "b"}, None, {"text": "b"}),
    ],
)
def test_a_field_becomes_what_its_type_says(name: str, value: Any, kept: Any, fitting: Any) -> None:
    assert fitted(name, value, kept) == fitting
    assert type(fitted(name, value, kept)) is type(fitting)


def test_an_object_that_fits_is_not_made_again() -> None:
    told = Told("a")
    assert fitted("told", told) is told


def test_a_migration_may_return_an_object_of_the_new_state() -> None:
    made = migration(from_="1")(lambda old: Full(Told(old["title"]), Loose(1)))
    of = Converter(graph_of("node", state=Full), "", (made,), str, True)
    new = of.checkpoint(checkpoint({"title": "tea"}))["channel_values"]
    assert new == {"told": Told("tea"), "loose": Loose(1), "colour": Colour.RED}


def test_what_cannot_be_read_is_told_with_its_field() -> None:
    of = Converter(graph_of("first"), "", (), str, False)
    kept = part(Told("a"))
    unreadable = Part(kept.kind, kept.data.replace(b"Told", b"Gone"), None)
    with pytest.raises(
        Misplaced, match="What the thread keeps in 'name' cannot be read: it holds"
    ) as refused:
        of.checkpoint({**checkpoint({}), "channel_values": {"name": unreadable}})
    assert refused.value.field == "name"


class Array:
    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_values_are_the_same_by_type_and_content_or_else_as_objects() -> None:
    array = Array()
    assert _same(1, 1)
    assert not _same(1, 2)
    assert not _same(1, True)
    assert _same(array, array)
    assert not _same(array, Array())
