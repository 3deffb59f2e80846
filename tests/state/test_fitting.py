"""What fits a field: the clear misfits are told with their place, everything else is taken."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, Protocol

import pytest
from langgraph.types import Overwrite
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph.state.errors import InputError
from stepgraph.state.fitting import fitted, misfit

Id = NewType("Id", int)


class Kind(StrEnum):
    A = "a"


class Meta(TypedDict, total=False):
    page: int


class Speaks(Protocol):
    def speak(self) -> str: ...


@dataclass
class Part:
    text: str


FITS: list[tuple[Any, Any]] = [
    (str, "a"),
    (str, Kind.A),
    (int, True),
    (float, 1),
    (Id, 3),
    (Any, object()),
    (object, 1),
    (None, None),
    (int | None, None),
    (str | None, "a"),
    (Literal["a"], "a"),
    (Literal["a"], Kind.A),
    (Kind, Kind.A),
    (list[str], []),
    (list[int | str], [1, "a"]),
    (Sequence[str], ("a",)),
    (tuple[int, ...], (1, 2)),
    (tuple[int, str], (1, "a")),
    (dict[str, int], {"a": 1}),
    (Mapping[str, Any], {"a": 1}),
    (deque[int], deque([1])),
    (set[str], {"a"}),
    (Meta, {"page": 1, "more": 2}),
    (list[Meta], [{}]),
    (Part, Part("a")),
    (list[Part], [Part("a")]),
    (Callable[[], int], len),
    (type[Part], Part),
    (Speaks, 3),
    (Annotated[int, "seconds"], 1),
]
MISFITS: list[tuple[Any, Any, str]] = [
    (str, 5, ""),
    (str, None, ""),
    (int, "5", ""),
    (int, 5.0, ""),
    (float, "1", ""),
    (Id, "3", ""),
    (Kind, "a", ""),
    (int | None, "5", ""),
    (Literal["a", "b"], "c", ""),
    (list[str], ("a",), ""),
    (list[str], "a", ""),
    (list[str], ["a", 5], "[1]"),
    (list[int] | None, [1, "a"], "[1]"),
    (tuple[int, str], (1, 2), "[1]"),
    (tuple[int, ...], (1, "a"), "[1]"),
    (dict[str, int], {"a": "b"}, "['a']"),
    (dict[str, int], {1: 1}, "a key of "),
    (dict[str, list[Part]], {"a": [Part("a"), {"text": "b"}]}, "['a'][1]"),
    (set[str], {5}, "[0]"),
    (Meta, {"page": "one"}, "['page']"),
    (Meta, "page 1", ""),
    (Part, {"text": "a"}, ""),
    (Callable[[], int], 5, ""),
]


@pytest.mark.parametrize(("kind", "value"), FITS)
def test_what_fits(kind: Any, value: Any) -> None:
    assert misfit(kind, value) is None


@pytest.mark.parametrize(("kind", "value", "place"), MISFITS)
def test_what_does_not_fit_is_found_where_it_is(kind: Any, value: Any, place: str) -> None:
    found = misfit(kind, value)
    assert found is not None
    assert found.place == place


@dataclass
class AsDataclass:
    score: int = 0
    note: str = None  # type: ignore[assignment]
    log: Annotated[list[str], operator.add] = field(default_factory=list)


class AsTypedDict(TypedDict):
    score: int
    log: Annotated[list[str], operator.add]


class AsModel(BaseModel):
    score: int = 0
    log: Annotated[list[str], operator.add] = []


@pytest.mark.parametrize("state", [AsDataclass, AsTypedDict, AsModel])
def test_a_misfit_is_told_with_writer_field_expected_and_got(state: Any) -> None:
    with pytest.raises(
        InputError, match=rf"Node 'rate' wrote 'many' to {state.__name__}\.score: .*expected int, got str"
    ):
        fitted(state, "score", "many", "Node 'rate'")
    assert fitted(state, "score", 3, "Node 'rate'") == 3
    assert fitted(state, "log", "what a reducer takes", "Node 'rate'") == "what a reducer takes"
    assert isinstance(fitted(state, "score", Overwrite("x"), "Node 'rate'"), Overwrite)


def test_none_may_be_written_where_it_is_the_default() -> None:
    assert fitted(AsDataclass, "note", None, "Node 'rate'") is None
