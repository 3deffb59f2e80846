"""The marketing e-mail's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.marketing_email.graph import Campaign, Email, comply, graph
from stepgraph.state.errors import InputError, InvalidAnswer
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "campaigns.jsonl"
OFFER = ["The Golden toaster costs 49 euros until 30 June.", "Delivery is free."]
GIVEN = {
    "product": "Golden toaster",
    "offer": OFFER,
    "sender": "Golden Goods, Mill Lane 2",
    "unsubscribe": "https://golden-goods.example/u",
}
EMAIL = {
    "subject": "The Golden toaster for 49 euros",
    "body": "Until 30 June the Golden toaster costs 49 euros. Delivery is free.",
}
LOUD = {**EMAIL, "body": "ACT NOW! The BIGGEST deal is guaranteed for 30 euros!"}
CLAIMS = [{"quote": "Golden toaster costs 49 euros", "line": 1}, {"quote": "Delivery is free", "line": 2}]
GERMAN = {
    "subject": "Der Golden toaster für 49 Euro",
    "body": "Bis zum 30. Juni kostet der Golden toaster 49 Euro. Die Lieferung ist frei.",
}


def run(language: Any = None, **script: list[Any]) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel(script) as model, using(model):
        return graph.compile().invoke(parse_input(Campaign, {**GIVEN, "language": language})), model


def test_a_sound_email_is_signed_after_two_calls() -> None:
    result, model = run(draft=[EMAIL], find_claims=[CLAIMS])
    assert (result["status"], result["problems"], len(model.asks)) == ("ready", [], 2)
    assert result["ready"] == (
        f"{EMAIL['subject']}\n\n{EMAIL['body']}\n\nGolden Goods, Mill Lane 2\n"
        "You get this e-mail because you subscribed. Unsubscribe: https://golden-goods.example/u"
    )


def test_a_translation_is_signed_in_its_language() -> None:
    result, _ = run("German", draft=[EMAIL], find_claims=[CLAIMS], translate=[EMAIL, GERMAN])
    assert result["status"] == "ready"
    assert result["ready"].startswith("Der Golden toaster")
    assert "Abbestellen: https://" in result["ready"]


def test_what_does_not_comply_is_revised_with_the_reasons() -> None:
    result, model = run(draft=[LOUD, EMAIL], find_claims=[CLAIMS])
    assert result["status"] == "ready"
    again = model.asks[1][1].messages[-1]["content"]
    assert "Leave out: guaranteed, act now." in again
    assert "The offer does not say 30 as money." in again


def test_an_email_that_never_complies_is_held_unsigned_and_its_claims_cost_nothing() -> None:
    last = {**LOUD, "subject": "Once more"}
    result, model = run("German", draft=[LOUD, {**LOUD, "subject": "Again"}, last])
    assert (result["status"], result["ready"], len(model.asks)) == ("held", "", 3)


def test_a_claim_that_nothing_backs_is_mended_once() -> None:
    bad = {**EMAIL, "body": EMAIL["body"] + " It lasts a lifetime."}
    lasting = [*CLAIMS, {"quote": "It lasts a lifetime", "line": 0}]
    result, model = run(draft=[bad, EMAIL], find_claims=[lasting, CLAIMS])
    assert result["status"] == "ready"
    assert 'Nothing in the offer backs "It lasts a lifetime".' in model.asks[2][1].messages[-1]["content"]


@pytest.mark.parametrize("claims", [[], [{"quote": "It is the law", "line": 1}]])
def test_a_check_that_names_no_claim_of_the_email_holds_it(claims: list[Any]) -> None:
    result, _ = run(draft=[EMAIL, EMAIL], find_claims=[claims, claims])
    assert (result["status"], result["ready"]) == ("held", "")
    assert result["problems"][0].startswith("The claims could not be checked")


def test_a_line_that_does_not_exist_backs_nothing() -> None:
    claims = [{"quote": "Delivery is free", "line": 7}]
    result, _ = run(draft=[EMAIL, EMAIL], find_claims=[claims, claims])
    assert result["problems"] == ['Nothing in the offer backs "Delivery is free".']


def test_what_the_second_draft_breaks_is_seen_although_its_claims_are_backed() -> None:
    shouting = {**EMAIL, "body": EMAIL["body"] + " HURRY up, risk-free."}
    result, _ = run(draft=[EMAIL, shouting], find_claims=[[], CLAIMS])
    assert result["status"] == "held"
    assert result["problems"] == ["Leave out: risk-free.", "Do not shout."]


def test_a_bad_translation_is_held() -> None:
    cheaper = {**GERMAN, "body": GERMAN["body"].replace("49", "39")}
    result, _ = run("German", draft=[EMAIL], find_claims=[CLAIMS], translate=[cheaper, cheaper])
    assert (result["status"], result["ready"]) == ("held", "")
    assert result["problems"] == ["Keep all numbers, and add none."]


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("RE: Golden toaster", "The subject must not look like an answer."),
        ("Golden toaster for {name}", "Do not leave placeholders in brackets."),
        ("Golden toaster, 50 percent off", "The offer does not say 50, 50 percent."),
        ("Golden toaster, the cheapest", "Leave out: cheapest."),
        ("Golden toaster!!", "Do not shout."),
    ],
)
def test_compliance(subject: str, problem: str) -> None:
    campaign = parse_input(Campaign, {**GIVEN, "email": EMAIL})
    assert comply(campaign) == []
    campaign.email = Email(subject=subject, body=EMAIL["body"])
    assert comply(campaign) == [problem]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="unsubscribe"):
        parse_input(Campaign, {key: value for key, value in GIVEN.items() if key != "unsubscribe"})


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_only_an_email_without_problems_is_signed(session: Session) -> None:
    app, config = graph.compile(), session.config("t")
    with (
        using("local"),
        suppress(InvalidAnswer),
    ):  # no answer that fits: nothing is signed
        app.invoke(parse_input(Campaign, GIVEN), config)
    result = app.get_state(config).values
    status = result.get("status", "new")
    assert status == "new" or status == ("held" if result["problems"] else "ready")
    assert bool(result.get("ready")) == (status == "ready")


def test_the_examples_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(Campaign, json.loads(line)).offer
