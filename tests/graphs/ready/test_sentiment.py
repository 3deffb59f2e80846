"""The sentiment vote's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.sentiment.graph import CustomerRemark, graph, one_way, other_way
from stepgraph.state.errors import InputError, StepgraphError
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "sentiment.jsonl"
TEXT = "The soup was wonderful, but we had to wait."
GOOD = {"quote": "soup was wonderful", "mood": "positive"}
BAD = {"quote": "had to wait", "mood": "negative"}
MADE_UP = {"quote": "the soup was cold", "mood": "negative"}


def run(one: list[Any], other: list[Any], text: str = TEXT) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel({"one_way": one, "other_way": other}) as model, using(model):
        return graph.compile().invoke(CustomerRemark(text)), model


def test_five_of_six_decide_and_say_by_which_words() -> None:
    result, _ = run([GOOD, GOOD, GOOD], [GOOD, GOOD, GOOD])
    assert result["sentiment"] == "positive"
    assert result["explanation"].endswith('It goes by "soup was wonderful".')


def test_a_model_that_picks_the_first_label_whatever_the_text_is_found_out() -> None:
    result, _ = run([GOOD] * 3, [BAD] * 3)
    assert (result["sentiment"], result["opinion"]) == ("UNCERTAIN", None)


def test_no_majority_is_uncertain() -> None:
    result, _ = run([GOOD, GOOD, BAD], [GOOD, BAD, GOOD])
    assert result["sentiment"] == "UNCERTAIN"
    assert "5 of 6 are needed" in result["explanation"]


def test_ballots_that_quote_what_is_not_there_do_not_count() -> None:
    result, _ = run([MADE_UP] * 3, [MADE_UP] * 3)
    assert result["sentiment"] == "UNCERTAIN"
    assert set(result["tally"].counts) == {"UNCERTAIN"}


def test_voters_that_fail_abstain_and_if_all_do_the_run_fails() -> None:
    result, _ = run([GOOD] * 3, ["?"] * 3 + [GOOD] * 2)
    assert result["sentiment"] in ("positive", "UNCERTAIN")
    with pytest.raises(StepgraphError, match="none of 6 voters answered"):
        run(["?"] * 9, ["?"] * 9)


@pytest.mark.parametrize("text", ["???", "12 / 7", ":-)"])
def test_without_words_nobody_is_asked(text: str) -> None:
    result, model = run([], [], text)
    assert (result["sentiment"], model.asks) == ("UNCERTAIN", [])


def test_the_two_prompts_differ_in_the_order_of_the_labels_only() -> None:
    first, second = (str(step.ask(CustomerRemark(TEXT)).prompt) for step in (one_way, other_way))
    assert first.replace("positive, negative or mixed", "mixed, negative or positive") == second


def test_bad_input() -> None:
    with pytest.raises(InputError, match="does not fit CustomerRemark"):
        parse_input(CustomerRemark, {"text": "  "})


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_a_sentiment_has_five_ballots_with_words_of_the_text(session: Session) -> None:
    with using("local"):
        result = graph.compile().invoke(CustomerRemark(TEXT), session.config("t"))
    counts = result["tally"].counts
    if result["sentiment"] != "UNCERTAIN":
        assert counts[result["sentiment"]] >= 5
        assert result["opinion"].quote.casefold() in TEXT.casefold()
    assert sum(counts.values()) + len(result["tally"].failed) <= 6


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(CustomerRemark, json.loads(line)).text
