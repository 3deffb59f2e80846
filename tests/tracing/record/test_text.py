"""How values and figures look to a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from stepgraph.state.cost import Cost
from stepgraph.tracing.record.text import (
    clean,
    cost_json,
    cost_line,
    duration,
    money,
    one_line,
    shorten,
    show_value,
    sureness,
    tokens,
)


@dataclass
class Point:
    x: int = 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n b\t\tc ", "a b c"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
        ("red\x1b[31m", "red\N{REPLACEMENT CHARACTER}[31m"),
        ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
        ("Größe", "Größe"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text, 10) == shown


def test_lines_and_tabs_stay_where_there_is_room_for_them() -> None:
    assert clean("a\n\tb\x00") == "a\n\tb\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("length", "limit", "kept"),
    [
        (119, 119, (119, 0)),
        (120, 119, (119, 0)),
        (120, 120, (120, 0)),
        (121, 120, (80, 40)),
        (999, 300, (200, 100)),
    ],
)
def test_a_long_text_keeps_its_beginning_and_a_longer_one_its_end_too(
    length: int, limit: int, kept: Sequence[int]
) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(length))
    begin, end = kept
    whole = begin == length
    assert shorten(text, limit) == (text if whole else text[:begin] + "…" + (text[-end:] if end else ""))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (None, "null"),
        ({"a": Point(), "ü": [1.5]}, '{"a": {"x": 1}, "ü": [1.5]}'),
        (float("inf"), "Infinity"),
        ("long" * 100, "longlong…"),
    ],
)
def test_a_value_is_shown_as_text_or_json(value: Any, shown: str) -> None:
    assert show_value(value, 8 if str(value).startswith("long") else 300) == shown
    assert show_value("long" * 100, None) == "long" * 100


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (None, "cost unknown"),
        (0.0, "$0"),
        (0.0000015, "$0.0000015"),
        (0.009999, "$0.009999"),
        (0.01, "$0.0100"),
        (12.34567, "$12.34567"),
        (Cost(1, 10, 5, 0.25), "$0.2500"),
        (Cost(2, 10, 5, 0.25, 1), ">= $0.2500 (1 of unknown cost)"),
        (Cost(2, 10, 5, 0.0, 2), "cost unknown"),
        (Cost(), "$0"),
        (Cost(2, 10, 5, 0.25, 1, 7, 0.125), ">= $0.2500 (1 of unknown cost, estimated at most $0.1250)"),
        (Cost(1, 0, 0, 0.0, 1, 7, 0.125), "cost unknown, estimated at most $0.1250"),
    ],
)
def test_money(cost: Any, shown: str) -> None:
    assert money(cost) == shown


@pytest.mark.parametrize(
    ("given", "answered", "shown"),
    [(None, None, "tokens unknown"), (3, None, "3+0 tokens"), (None, 4, "0+4 tokens"), (3, 4, "3+4 tokens")],
)
def test_tokens(given: int | None, answered: int | None, shown: str) -> None:
    assert tokens(given, answered) == tokens(given, answered, 0) == shown
    assert tokens(given, answered, 7) == f"{shown}, estimated 7 more at most"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.9994, "999 ms"),
        (0.9995, "1.0 s"),
        (99.94, "99.9 s"),
        (100, "1.7 min"),
        (3600, "60.0 min"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_cost_in_one_line_and_for_programs() -> None:
    known, unknown = Cost(2, 10, 5, 0.25), Cost(2, 10, 5, 0.25, 1, 7, 0.125)
    assert cost_line(known) == "10+5 tokens, $0.2500"
    assert cost_json(unknown) == {
        "calls": 2,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": None,
        "known_cost_usd": 0.25,
        "unknown_costs": 1,
        "estimated_tokens": 7,
        "estimated_usd": 0.125,
    }
    assert cost_json(known)["cost_usd"] == 0.25


def test_sureness_is_told_where_it_is_known() -> None:
    assert [sureness(value) for value in (None, 0.0, 0.876)] == ["", ", 0.00 sure", ", 0.88 sure"]
