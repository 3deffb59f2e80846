"""The arguments of a tool call, however a model spells them."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.providers.backends.tool_calls import read_arguments

A = {"a": 1}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ("None", {}),
        ("{}", {}),
        ('{"a": 1}', A),
        (' {"a": 1}\n', A),
        ('"{\\"a\\": 1}"', A),
        ('""', {}),
        ('"  "', {}),
        ('```json\n{"a": 1}\n```', A),
        ('```\n{"a": 1}\n```', A),
        ('```{"a": 1}```', A),
    ],
)
def test_arguments_are_read(text: str, arguments: dict[str, Any]) -> None:
    assert read_arguments(text) == (arguments, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no valid JSON"),
        ("Paris", "no valid JSON"),
        ('"Paris"', "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("3", "expected a JSON object, got int"),
        ('"[1]"', "expected a JSON object, got list"),
        ('"null"', "expected a JSON object, got NoneType"),
    ],
    ids=lambda text: text[:12],
)
def test_what_are_no_arguments(text: str, problem: str) -> None:
    arguments, told = read_arguments(text)
    assert arguments == {}
    assert told is not None
    assert told.startswith(problem)
