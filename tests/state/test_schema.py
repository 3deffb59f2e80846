from __future__ import annotations

import dataclasses
import operator
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Required, TypedDict, TypeVar

import pytest
from pydantic import BaseModel, ValidationError

from stepgraph.state.errors import DefinitionError, InputError
from stepgraph.state.schema import (
    accepts,
    check_fields,
    extended,
    fields_of,
    is_state_type,
    parse_input,
    signature_types,
    types_in,
    validate_field,
    values_of,
)


class Mood(Enum):
    GOOD = "good"


class Grade(BaseModel):
    score: int
    mood: Mood = Mood.GOOD


@dataclass
class AsDataclass:
    topic: str
    grade: Grade | None = None
    limit: ClassVar[int] = 3


@dataclass(frozen=True)
class AsFrozen:
    topic: str


class AsDict(TypedDict):
    topic: str
    score: NotRequired[int]


class Outer(TypedDict):
    inner: AsDict


class AsModel(BaseModel):
    topic: str
    score: int = 0
    log: Annotated[list[str], operator.add] = []


@dataclass
class Rounds:
    number: int = 0


def test_fields_are_read_alike_from_every_kind_of_state() -> None:
    assert list(fields_of(AsDataclass)) == ["topic", "grade"]
    assert list(fields_of(AsDict)) == ["topic", "score"]
    assert list(fields_of(AsModel)) == ["topic", "score", "log"]
    assert not is_state_type(dict)


def test_values_are_read_alike_from_every_kind_of_state() -> None:
    assert values_of(AsDataclass("tea")) == {"topic": "tea", "grade": None}
    assert values_of({"topic": "tea"}) == {"topic": "tea"}
    assert values_of(AsModel(topic="tea")) == {"topic": "tea", "score": 0, "log": []}
    with pytest.raises(TypeError, match="int is not a dataclass"):
        values_of(3)


def test_an_unknown_field_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(DefinitionError, match=r"Node 'n' writes 'topik', .*Did you mean 'topic'\?"):
        check_fields(AsDict, ["topik"], "Node 'n'")


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        (str, str, True),
        (str, int, False),
        (float, int, True),
        (int, str | int, False),
        (Grade | None, Grade, True),
        (Grade, Grade | None, False),
        (Any, Grade, True),
        (str, Literal["a"], True),
        (Literal["a", "b"], Literal["a"], True),
        (Literal["a"], Literal["a", "b"], False),
        (Literal["a"], str, False),
        (list[str], list[int], True),
        (list[str], str, False),
        (Annotated[list[str], operator.add], list[str], True),
        (Annotated[list[str], operator.add], str, False),
        (NotRequired[int], str, False),
        (Required[int], int, True),
        (AsDict, AsDict, True),
        (dict, AsDict, True),
        (AsDict, str, False),
        (None, None, True),
    ],
)
def test_only_clear_misfits_are_refused(field: Any, value: Any, fits: bool) -> None:
    assert accepts(field, value) is fits


def test_input_becomes_the_state() -> None:
    assert parse_input(AsDataclass, {"topic": "tea", "grade": {"score": 3}}) == AsDataclass(
        "tea", Grade(score=3)
    )
    assert parse_input(AsDict, {"topic": "tea"}) == {"topic": "tea"}
    with pytest.raises(InputError, match="topic: Field required"):
        parse_input(AsDict, {"score": 3})


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads them all there")
def test_a_typed_dict_that_pydantic_cannot_read_is_explained() -> None:
    with pytest.raises(DefinitionError, match=r"Outer cannot be read .*typing_extensions\.TypedDict"):
        parse_input(Outer, {"inner": {"topic": "tea"}})


def test_input_that_does_not_fit_is_explained() -> None:
    with pytest.raises(InputError, match=r"a field 'topc'.*Did you mean 'topic'\?"):
        parse_input(AsModel, {"topc": "tea"})
    with pytest.raises(InputError, match=r"score: Input should be a valid int.*Fields: topic, score, log"):
        parse_input(AsModel, {"topic": "tea", "score": "many"})


@pytest.mark.parametrize("state", [AsDataclass, AsFrozen, AsModel])
def test_an_extended_state_has_one_more_field_with_a_default(state: Any) -> None:
    more = extended(state, "rounds", Rounds)
    assert issubclass(more, state)
    assert more(topic="tea").rounds == Rounds()


def test_an_extended_typed_dict_and_a_frozen_dataclass_keep_their_nature() -> None:
    assert fields_of(extended(AsDict, "rounds", Rounds))["rounds"] is Rounds
    frozen = extended(AsFrozen, "rounds", Rounds)("tea")
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.topic = "coffee"


def test_types_are_found_inside_fields() -> None:
    assert types_in(list[AsDataclass] | None) >= {AsDataclass, Grade, Mood}
    assert types_in(str) == set()


@dataclass
class Early:
    later: Later | None = None  # type: ignore[name-defined]  # noqa: F821


def test_a_type_that_is_defined_later_is_found_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert types_in(Early) == {Early}
    monkeypatch.setitem(globals(), "Later", Grade)
    assert types_in(Early) >= {Early, Grade, Mood}


def test_a_field_is_validated_by_its_type() -> None:
    assert validate_field(AsModel, "score", "3") == 3
    with pytest.raises(ValidationError):
        validate_field(AsModel, "score", "many")


def test_a_function_without_a_state_is_refused() -> None:
    def nothing() -> None: ...
    def bare(state): ...  # type: ignore[no-untyped-def]
    def number(state: int) -> None: ...
    def unknown(state: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function, problem in (
        (nothing, "takes no state"),
        (bare, "no annotation"),
        (number, "expected the graph's state type"),
        (unknown, "'Later' cannot be resolved"),
    ):
        with pytest.raises(DefinitionError, match=problem):
            signature_types(function)


def test_a_type_variable_holds_and_fits_everything() -> None:
    variable = TypeVar("variable")  # type: ignore[misc]
    assert accepts(variable, int)
    assert accepts(int, variable)
    assert not accepts(int, str)
