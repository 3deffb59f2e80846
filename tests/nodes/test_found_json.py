"""The JSON in a text: all of it, fences, and objects and lists in prose, whatever their texts hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.nodes.found_json import json_in

JSON = st.recursive(
    st.none() | st.integers() | st.text('a"\\{}[] ', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('b"}\\', max_size=3), inner, max_size=3)
    ),
)


@given(st.lists(st.lists(JSON) | st.dictionaries(st.text('c]"', max_size=3), JSON), max_size=3))
@settings(max_examples=80, deadline=None)
def test_every_value_in_prose_is_found_whole_and_in_order(values: list[object]) -> None:
    text = " and ".join(["They are", *map(json.dumps, values), "done."])
    assert list(json_in(text)) == [text, *map(json.dumps, values)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no value", []),
        ("a ) b } c ]", []),
        ('{"a": [1}', []),
        ('[1] then {"a": "cut', ["[1]"]),
        ("{[1]", []),
        ('say "{" then [1]', []),
        ("```json\n{}\n``` and [2]", ["{}"]),
        ("```\n1\n```\n``` \t\n 2 \n```", ["1", "2"]),
        ("``` not a language\n[1]", ["[1]"]),
        ("```json\n[1]", ["[1]"]),
        ("```json [1]", ["[1]"]),
        (f"```{'x' * 99}\n1\n```", ["1"]),
        (f"```{'x' * 100}\n1\n```", []),
        ("````\n[1]\n```", ["[1]"]),
    ],
)
def test_what_is_found_beside_the_whole_text(text: str, found: list[str]) -> None:
    assert list(json_in(text)) == [text, *found]
