from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph import nearest
from stepgraph.state.errors import DefinitionError

LABELS = {
    "billing": ["I was charged twice", "Where is my refund?", "The invoice is wrong"],
    "technical": ["It does not turn on", "The screen flickers", "The app crashes"],
}


@dataclass
class Ticket:
    body: str
    topic: str = ""


@nearest(LABELS, writes="topic")
def topic(ticket: Ticket) -> str:
    return ticket.body


@pytest.mark.parametrize(
    ("body", "label"), [("You charged my card two times", "billing"), ("The app crashes a lot", "technical")]
)
async def test_the_nearest_label_is_found_with_its_confidence_and_reason(body: str, label: str) -> None:
    choice = await topic.answer(Ticket(body))
    assert choice.label == label
    assert choice.confidence is not None
    assert 0.5 < choice.confidence <= 1
    assert choice.reason.startswith(f"similarity: {label} ")
    assert topic.invoke(Ticket(body)) == {"topic": label}


async def test_a_text_without_words_has_no_label() -> None:
    assert (await topic.answer(Ticket("?! …"))).label is None
    assert topic.invoke(Ticket("")) == {}


def test_labels_without_examples_and_misspelt_fields_are_refused() -> None:
    for labels in ({}, {"billing": []}, {"billing": "charged twice"}):
        with pytest.raises(DefinitionError, match="a list of example texts"):
            nearest(labels)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"Did you mean 'topic'\?"):

        @nearest(LABELS, writes="topics")
        def misspelt(ticket: Ticket) -> str:
            return ticket.body
