"""What the on-device model is asked: with a system message always, and a length for all that may grow."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.providers.backends.ondevice import MAX_ITEMS, MAX_STRING, SYSTEM, OnDevice, _suited, bounded
from stepgraph.providers.model import Request
from stepgraph.providers.settings import ModelSettings

USER = {"role": "user", "content": "Tea?"}
OWN = {"role": "system", "content": "Be brief."}
LONG = {"type": "string", "maxLength": MAX_STRING}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, LONG),
        ({"type": "string", "maxLength": 5}, {"type": "string", "maxLength": 5}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "const": "a"}, {"type": "string", "const": "a"}),
        ({"type": "integer"}, {"type": "integer"}),
        (
            {"type": "array", "items": {"type": "string"}},
            {"type": "array", "items": LONG, "maxItems": MAX_ITEMS},
        ),
        ({"type": "array", "maxItems": 2}, {"type": "array", "maxItems": 2}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [LONG, {"type": "null"}]}),
        (
            {"$defs": {"A": {"properties": {"b": {"type": "string"}}}}, "required": ["a"]},
            {"$defs": {"A": {"properties": {"b": LONG}}}, "required": ["a"]},
        ),
    ],
)
def test_all_that_may_grow_has_a_length(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bounded(schema) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((USER,), ({"role": "system", "content": SYSTEM}, USER)),
        ((OWN, USER), (OWN, USER)),
        ((), ({"role": "system", "content": SYSTEM},)),
    ],
)
def test_a_small_model_is_told_what_it_is(messages: Any, expected: Any) -> None:
    assert _suited(Request(messages)).messages == expected
    assert _suited(Request(messages)).schema is None
    assert _suited(Request(messages, schema={"type": "string"})).schema == LONG


def test_its_answers_are_short_unless_the_settings_say_otherwise() -> None:
    assert OnDevice().max_tokens == 256
    assert OnDevice(settings=ModelSettings(provider="local", max_tokens=9)).max_tokens == 9
    assert OnDevice().name == "SmolLM2-135M-Instruct.Q4_1"
