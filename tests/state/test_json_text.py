"""Any value as JSON text: whole where JSON knows it, shown where it does not, cut where it is long."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

from stepgraph.state.json_text import (
    MAX_BITS,
    MAX_DEPTH,
    MAX_FIELD,
    MAX_INPUT,
    MAX_OUTPUT,
    as_json,
    json_text,
    state_json,
)

BAD = b"\xff"  # no text: pydantic's JSON refuses it, so all that lies around it goes the other way


class Mood(Enum):
    GOOD = "good"
    DEEP = BAD


class Own(str):
    """A text of a class of its own."""

    __slots__ = ()


class Silent:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@dataclass
class Note:
    text: str = "a"
    more: list[Any] = field(default_factory=list)


class Odd:
    def __repr__(self) -> str:
        return "odd \ud800"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (7, 7),
        (2 ** (MAX_BITS - 1) - 1, 2 ** (MAX_BITS - 1) - 1),
        (2**MAX_BITS, hex(2**MAX_BITS)),
        ("ü", "ü"),
        ("a\ud800", "a?"),
        (Own("own"), "own"),
        (Mood.GOOD, "good"),
        (Mood.DEEP, "\\xff"),
        (b"ab", "ab"),
        (bytearray(BAD), "\\xff"),
        (memoryview(b"ab"), "ab"),
        ((1, [2], {3}, frozenset({4}), deque([5])), [1, [2], [3], [4], [5]]),
        (Note("b", [BAD]), {"text": "b", "more": ["\\xff"]}),
        (Note, "<class"),
        (Odd(), "odd ?"),
        (Silent(), "<Silent>"),
        (
            {Mood.GOOD: 1, "b": 2, 3: 4, None: 5, True: 6, 1.5: 7},
            {"good": 1, "b": 2, "3": 4, "null": 5, "true": 6, "1.5": 7},
        ),
        ({("a", 1): 1, float("inf"): 2, "\ud800": 3}, {"('a', 1)": 1, "inf": 2, "?": 3}),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_every_part_is_shown_beside_one_that_json_refuses(value: Any, shown: Any) -> None:
    found = json.loads(json_text([value, BAD]))
    assert found[1] == "\\xff"
    if shown == "<class":
        assert found[0].startswith(shown)
    else:
        assert found[0] == shown


def test_a_circle_and_a_deep_value_end() -> None:
    circle: list[Any] = [BAD]
    circle.append(circle)
    assert json.loads(json_text(circle)) == ["\\xff", "..."]
    assert json.loads(json_text([circle[0], [1], [1]])) == ["\\xff", [1], [1]]  # twice is no circle
    deep: Any = BAD
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert json_text(deep) == "[" * (MAX_DEPTH + 1) + '"\\\\xff"' + "]" * (MAX_DEPTH + 1)
    assert json_text([[deep]]).count("[") == MAX_DEPTH + 1
    assert '"..."' in json_text([[deep]])


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_a_long_value_is_cut_where_the_record_says(more: int, cut: bool) -> None:
    text = "x" * (MAX_OUTPUT - 2 + more)
    found = json.loads(as_json(text))
    whole = json.dumps(text)
    assert found == ({"cut": MAX_OUTPUT + 1, "start": whole[:MAX_OUTPUT]} if cut else text)


def test_long_fields_of_a_state_are_cut_one_by_one() -> None:
    fits = Note("x" * (MAX_FIELD - 2), ["y" * (MAX_FIELD - 3)])
    assert json.loads(state_json(fits)) == {"text": fits.text, "more": fits.more}
    long = Note("x" * (MAX_FIELD - 2), ["y" * MAX_INPUT])
    found = json.loads(state_json(long))
    assert found["text"] == long.text
    assert found["more"] == {"cut": MAX_INPUT + 4, "start": '["' + "y" * (MAX_FIELD - 2)}
    longer = Note("x" * (MAX_FIELD - 1), ["y" * MAX_INPUT])
    assert json.loads(state_json(longer))["text"]["cut"] == MAX_FIELD + 1
    assert json.loads(state_json({"text": "x" * MAX_INPUT}))["text"]["cut"] == MAX_INPUT + 2
    assert json.loads(state_json(3)) == 3
    assert json.loads(state_json(["x" * MAX_OUTPUT]))["cut"] == MAX_OUTPUT + 4
