"""The support agent's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from stepgraph import Budget, ScriptedModel, Session, ToolCall, run, using
from stepgraph.graphs.ready.support_agent.graph import TURNS, Inquiry, find_order, graph
from stepgraph.nodes.costs import least, most
from stepgraph.runners.result import RunResult
from stepgraph.state.errors import AuthenticationFailed, InputError
from stepgraph.state.schema import parse_input

REQUESTS = Path(__file__).parents[3] / "examples" / "requests.jsonl"
ASKED = Inquiry("Where is SG-1043? Please tell me by e-mail.", "tom@example.com")
MAIL = ToolCall("send_email", {"subject": "Your order SG-1043", "text": "It waits for stock, dear Tom."})
TOLD = "I have written to you about SG-1043."


def ask(session: Session, given: Any, script: list[Any], thread: str = "t", **options: Any) -> RunResult:
    with ScriptedModel(script) as model, using(model):
        return run(graph.compile(), given, session, thread, **options)


def outbox() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(Path("outbox").glob("*"))]


def test_products_and_orders_are_looked_up_at_once_and_reach_the_model(session: Session) -> None:
    calls = [ToolCall("find_products", {"query": "blenders"}), ToolCall("find_order", {"number": "sg1044"})]
    script = [calls, "The Nimbus blender costs $89.00; for SG-1044 you paid $178.00."]
    with ScriptedModel(script) as model, using(model):
        result = run(graph.compile(), Inquiry("What did SG-1044 cost?", "i@example.com"), session, "t")
    told = [message["content"] for message in model.asks[1][1].messages if message["role"] == "tool"]
    assert told[1:] == [  # the first one is an example
        "Nimbus blender: $89.00, 17 in stock, 24 months of warranty.",
        "Order SG-1044 (2 x Nimbus blender) was shipped on 2026-11-04. $178.00 was charged on 2026-11-03.",
    ]
    assert (result.values["status"], result.values["problems"]) == ("released", [])


def test_an_email_waits_for_a_person_and_goes_to_the_customer_alone(session: Session) -> None:
    waiting = ask(session, ASKED, [MAIL]).waiting
    assert waiting[0].value["question"].startswith("Run send_email? Send an e-mail to the customer.")
    assert waiting[0].value["value"] == dict(MAIL.arguments)
    assert outbox() == []
    result = ask(session, Command(resume="approve"), [TOLD])
    assert (result.status, result.values["status"]) == ("done", "released")
    (mail,) = outbox()
    assert mail.startswith("To: tom@example.com\nSubject: Your order SG-1043\n")


def test_the_model_cannot_choose_who_gets_the_email(session: Session) -> None:
    elsewhere = ToolCall("send_email", {**MAIL.arguments, "to": "eve@example.com"})
    result = ask(session, ASKED, [elsewhere, "I could not write."])
    assert (result.status, outbox()) == ("done", [])


def test_the_same_email_is_written_once_however_often_it_is_asked_for(session: Session) -> None:
    ask(session, ASKED, [MAIL])
    ask(session, Command(resume="approve"), [MAIL])
    ask(session, Command(resume="approve"), [TOLD])
    assert len(outbox()) == 1


def test_a_failure_behind_the_email_does_not_repeat_it(session: Session) -> None:
    ask(session, ASKED, [MAIL])
    with using(ScriptedModel([AuthenticationFailed("no such key")])), pytest.raises(AuthenticationFailed):
        run(graph.compile(), Command(resume="approve"), session, "t")
    assert len(outbox()) == 1
    assert ask(session, None, [TOLD]).values["reply"] == TOLD
    assert len(outbox()) == 1


def test_an_edited_email_is_the_one_that_goes_out_and_the_model_learns_of_it(session: Session) -> None:
    ask(session, ASKED, [MAIL])
    edit = {"decision": "edit", "value": {"subject": "SG-1043", "text": "It comes in the new year, Tom."}}
    with ScriptedModel([TOLD]) as model, using(model):
        run(graph.compile(), Command(resume=edit), session, "t")
    assert "It comes in the new year, Tom." in outbox()[0]
    assert "A person changed the arguments" in model.asks[0][1].messages[-1]["content"]


def test_a_rejected_email_is_not_written_and_the_model_says_so(session: Session) -> None:
    ask(session, ASKED, [MAIL])
    with ScriptedModel(["We could not write to you."]) as model, using(model):
        no = {"decision": "reject", "reason": "call him"}
        result = run(graph.compile(), Command(resume=no), session, "t")
    assert "A person rejected this call: call him" in model.asks[0][1].messages[-1]["content"]
    assert (result.values["reply"], outbox()) == ("We could not write to you.", [])


@pytest.mark.parametrize("subject", ["Hi\nBcc: eve@example.com", "Hi\r\nBcc: eve@example.com"])
def test_no_header_can_be_smuggled_into_an_email(session: Session, subject: str) -> None:
    ask(session, ASKED, [ToolCall("send_email", {**MAIL.arguments, "subject": subject})])
    with ScriptedModel(["Sorry."]) as model, using(model):
        run(graph.compile(), Command(resume="approve"), session, "t")
    assert "send_email failed: that is no e-mail" in model.asks[0][1].messages[-1]["content"]
    assert outbox() == []


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("SG-1043 costs $12.50.", "$12.50 is no price of ours."),
        ("I do not know.", "It has nothing to do with the question."),
        ("SG-1043 waits. SG-1043 waits.", "It repeats itself."),
        ("Your order comes with SG-1048, please wait.", "Nobody asked about SG-1048."),
    ],
)
def test_a_reply_that_breaks_a_check_is_held(session: Session, reply: str, problem: str) -> None:
    values = ask(session, ASKED, [reply]).values
    assert (values["status"], values["problems"]) == ("held", [problem])


def test_unknown_orders_and_products_are_said(session: Session) -> None:
    assert find_order("SG-9999") == "There is no order SG-9999."
    script = [ToolCall("find_products", {"query": "bicycle"}), "We have no bicycle."]
    with ScriptedModel(script) as model, using(model):
        run(graph.compile(), Inquiry("Do you sell a bicycle?", "a@example.com"), session, "t")
    assert model.asks[1][1].messages[-1]["content"] == "We sell nothing of that name."


def test_an_agent_that_never_answers_is_asked_for_its_answer(session: Session) -> None:
    call = ToolCall("find_order", {"number": "SG-1043"})
    result = ask(session, ASKED, [call] * TURNS + ["SG-1043 waits for stock."])
    assert result.values["reply"] == "SG-1043 waits for stock."
    assert session.spent("t").calls == TURNS + 1


def test_a_budget_that_ends_pauses_the_agent(session: Session) -> None:
    call = ToolCall("find_order", {"number": "SG-1043"})
    assert ask(session, ASKED, [call], budget=Budget(calls=1)).status == "partial"
    result = ask(session, None, ["SG-1043 waits for stock."], budget=Budget(calls=2))
    assert result.values["status"] == "released"


@pytest.mark.parametrize(
    "email", ["", "tom", "a@example.com, eve@example.com", "a@example.com\nBcc: e@x.org"]
)
def test_an_address_must_be_one_address(email: str) -> None:
    with pytest.raises(InputError, match="email"):
        parse_input(Inquiry, {"body": "Hi", "email": email})


def test_the_example_requests_can_be_read() -> None:
    lines = REQUESTS.read_text(encoding="utf-8").splitlines()
    assert [parse_input(Inquiry, json.loads(line)).status for line in lines] == ["new"] * 3


def test_it_costs_a_call_to_one_more_than_its_turns() -> None:
    assert least(graph.cost) == 1
    assert most(graph.cost) == TURNS + 1


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.xdist_group("local")
def test_on_this_machine_it_ends_and_sends_nothing_by_itself(session: Session) -> None:
    """What the model answers is seldom of use, see docs/applications.md; the rules hold nevertheless."""
    with using("local"):
        result = run(graph.compile(), Inquiry("What does the blender cost?", "a@example.com"), session, "t")
    assert result.status in ("done", "interrupted")
    assert outbox() == []
    assert 1 <= session.spent("t").calls <= TURNS + 3
