"""What other libraries say of a decision, as a choice: labels, probabilities, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph import Choice
from stepgraph.nodes.decisions import choice_of, is_decision

SHARES = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.15, "e": 0.1, "f": 0.05}
REASON = "b 0.40, c 0.20, d 0.15, a 0.10, e 0.10"

MEANT: dict[str, tuple[Any, Choice[Any]]] = {
    "a label": ("a", Choice(label="a")),
    "no label": (None, Choice(label=None)),
    "a choice": (
        Choice(label="a", confidence=0.3, reason="so"),
        Choice(label="a", confidence=0.3, reason="so"),
    ),
    "a decision": (
        {"choice": "c", "probabilities": SHARES},
        Choice(label="c", confidence=0.2, reason=REASON),
    ),
    "a decision that says how sure it is": (
        {"choice": "c", "probabilities": SHARES, "confidence": 0.0},
        Choice(label="c", confidence=0.0, reason=REASON),
    ),
    "a decision for what has no share": (
        {"choice": "z", "probabilities": {"a": 1.0}},
        Choice(label="z", reason="a 1.00"),
    ),
    "probabilities without a choice": (
        {"choice": None, "probabilities": SHARES},
        Choice(label={"choice": None, "probabilities": SHARES}),
    ),
    "a predicate that holds": ({"probability": 0.5}, Choice(label=True, confidence=0.5)),
    "a certain predicate": ({"probability": 1}, Choice(label=True, confidence=1.0)),
    "a predicate that does not hold": ({"probability": 0.25}, Choice(label=False, confidence=0.75)),
    "a refusal": ({"type": "refusal"}, Choice(label=None, reason="the model refused to decide")),
    "an answer of one": ({"answers": {"q": {"probability": 0.75}}}, Choice(label=True, confidence=0.75)),
    "a refused answer of one": (
        {"answers": {"q": {"type": "refusal", "probability": 0.75}}},
        Choice(label=None, reason="the model refused to decide"),
    ),
    "answers of two": ({"answers": {"q": "a", "r": "b"}}, Choice(label={"answers": {"q": "a", "r": "b"}})),
    "no answers": ({"answers": {}}, Choice(label={"answers": {}})),
    "a list of answers": ({"answers": ["a"]}, Choice(label={"answers": ["a"]})),
}


@pytest.mark.parametrize("kind", [dict, SimpleNamespace], ids=["mapping", "object"])
@pytest.mark.parametrize("name", MEANT)
def test_it_is_read_as_the_choice_that_it_stands_for(name: str, kind: Any) -> None:
    value, choice = MEANT[name]
    if kind is SimpleNamespace and isinstance(value, dict):
        value = SimpleNamespace(**value)
        if isinstance(choice.label, dict):
            choice = Choice(label=value)
    assert choice_of(value) == choice


def test_a_decision_has_a_choice_and_the_probabilities_of_all() -> None:
    assert is_decision({"choice": "a", "probabilities": {"a": 1.0}})
    assert not is_decision({"choice": "a", "probabilities": [1.0]})
    assert not is_decision({"probabilities": {"a": 1.0}})
    assert not is_decision("a")
