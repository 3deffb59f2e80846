from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import (
    Ask,
    Budget,
    ScriptedModel,
    Session,
    agent,
    chain,
    refine,
    route,
    rule,
    run,
    section,
    step,
    using,
    within,
)
from stepgraph.graphs.patterns.agent import NO_MORE_TOOLS
from stepgraph.nodes.costs import least, most
from stepgraph.providers.model import ToolCall
from stepgraph.state.errors import DefinitionError, InvalidAnswer

from ...servers import Answer, ChatServer, Fault
from .desk import LOOKUP, Finding, Ticket, ask, count, decisions, find, helper, lookup, support, told


def test_the_model_calls_tools_until_it_answers(session: Session) -> None:
    both = [LOOKUP, ToolCall("weather", {"city": "Rome"})]
    result, model = ask(support, [both, "In 2 days."], session.config("t"))
    assert result["reply"] == "In 2 days."
    assert not [name for name in result if name.startswith("stepgraph")]
    assert told(model) == ["A1 arrives in 2 days", "rain in Rome"]
    assert decisions(session) == ["lookup, weather", "answered"]
    assert decisions(session, "tool") == ["ran", "ran"]
    assert [tool["name"] for tool in model.asks[0][1].tools] == ["lookup", "weather"]


async def test_async_and_streamed_turns_are_visible() -> None:
    with ScriptedModel([LOOKUP, "In 2 days."]) as model, using(model):
        seen = [
            name
            async for _, update in support.compile().astream(Ticket(), stream_mode="updates", subgraphs=True)
            for name in update
        ]
    assert seen == ["begin", "helper", "tools", "helper"]


def test_without_tool_calls_it_is_the_plain_step() -> None:
    assert ask(support, ["I know: tomorrow."])[0]["reply"] == "I know: tomorrow."


def test_at_the_cap_it_answers_without_tools(session: Session) -> None:
    result, model = ask(support, [LOOKUP, LOOKUP, LOOKUP, "In 2 days."], session.config("t"))
    assert result["reply"] == "In 2 days."
    assert len(model.asks) == 4
    last = model.asks[-1][1]
    assert (last.messages[-1]["content"], last.tool_choice) == (NO_MORE_TOOLS, "none")
    assert decisions(session)[-1] == "turns used up"


def test_a_model_that_never_answers_is_an_error() -> None:
    with pytest.raises(InvalidAnswer, match="'helper'"), using(ScriptedModel(lambda *_: LOOKUP)):
        support.compile().invoke(Ticket())


def test_no_more_calls_than_allowed_run_at_once() -> None:
    few = agent(helper, tools=[lookup], calls=2)
    _, model = ask(few, [[LOOKUP] * 5, "Done."])
    refused = [text for text in told(model) if text.startswith("This call was not made: at most 2")]
    assert (len(told(model)), len(refused)) == (5, 3)


def test_calls_that_cannot_be_made_are_told() -> None:
    calls = [
        ToolCall("lokup", {}),
        ToolCall("lookup", problem="no valid JSON"),
        ToolCall("lookup", {"id": 1}),
    ]
    _, model = ask(support, [calls, "Sorry."])
    unknown, broken, wrong = told(model)
    assert unknown == "There is no tool 'lokup'. Did you mean 'lookup'?"
    assert broken.startswith("The call cannot be read: no valid JSON.")
    assert "order: Field required" in wrong


@pytest.mark.parametrize(
    "given",
    [
        ["call00101", "call00101"],
        ["call00101", "call00100", "call00101"],
        ["call00102", "call00101", "call00102"],
        ["", "call00100", ""],
        ["", "", "call00101", "call00100"],
        ["x", "x", "x"],
        ["a\nb", " ", "y" * 1000],
    ],
)
def test_ids_that_collide_are_renamed_before_anything_runs(given: list[str]) -> None:
    """Also where an id looks like one that is made: each call has an id, and so a result, of its own."""
    calls = [ToolCall("lookup", {"order": f"A{n}"}, id=own) for n, own in enumerate(given)]
    _, model = ask(support, [calls, calls[::-1], "Done."])
    told = model.asks[-1][1].messages
    ids = [call["id"] for message in told for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in told if message["role"] == "tool"]
    assert len(ids) == len(set(ids)) == 2 * len(given)
    assert sorted(results) == sorted(ids)


def test_calls_without_ids_or_with_equal_ones_are_told_apart() -> None:
    same = ToolCall("lookup", {"order": "A1"}, id="call_0")
    _, model = ask(support, [[same, same], same, "Done."])
    ids = [m["tool_call_id"] for m in model.asks[-1][1].messages if m["role"] == "tool"]
    assert ids == ["call_0", "call00101", "call00200"]


@pytest.mark.parametrize(
    "final", [ToolCall("final_answer", {"order": "A1", "days": 2}), {"order": "A1", "days": 2}]
)
def test_a_typed_answer_comes_as_a_call_or_as_text(final: Any) -> None:
    result, model = ask(agent(find, tools=[lookup]), [LOOKUP, final])
    assert result["finding"] == Finding(order="A1", days=2)
    assert model.asks[0][1].schema is None
    assert model.asks[0][1].tools[-1]["name"] == "final_answer"


class Split(Finding):
    parts: list[Finding]


def test_the_schema_of_the_final_answer_is_whole_in_itself() -> None:
    """Some servers refuse a tool whose parameters hold references."""

    @step("finding")
    def find_parts(ticket: Ticket) -> Ask[Split]:
        return Ask(ticket.body)

    _, model = ask(agent(find_parts, tools=[lookup]), [{"order": "A1", "days": 2, "parts": []}])
    parameters = model.asks[0][1].tools[-1]["parameters"]
    assert parameters["properties"]["parts"]["items"]["required"] == ["order", "days"]
    assert "$" not in json.dumps(parameters)


def test_an_empty_answer_is_shown_as_nothing_and_a_call_without_text_as_none() -> None:
    _, model = ask(agent(helper, tools=[lookup]), [LOOKUP, "", "Soon."])
    called, empty = (request.messages for _, request in model.asks[1:])
    assert called[-2]["content"] in ("", None)
    assert empty[-2]["content"] == "(nothing)"


@pytest.mark.parametrize(
    "bad", [ToolCall("final_answer", {"order": "A1"}), "soon", ToolCall("final_answer", problem="cut off")]
)
def test_an_answer_that_does_not_fit_is_asked_again(session: Session, bad: Any) -> None:
    good = {"order": "A1", "days": 2}
    result, model = ask(agent(find, tools=[lookup]), [bad, good], session.config("t"))
    assert result["finding"] == Finding(**good)
    assert "That answer does not fit" in model.asks[1][1].messages[-1]["content"]
    assert decisions(session) == ["again", "answered"]
    (first, _) = session.journal.query("SELECT problem FROM calls ORDER BY started_at")
    assert first["problem"]


def test_the_last_answer_has_its_schema_and_is_asked_again() -> None:
    result, model = ask(agent(count, tools=[lookup], turns=1), [LOOKUP, "soon", 2])
    assert result["days"] == 2
    assert model.asks[1][1].schema is not None


def test_it_nests_in_every_pattern() -> None:
    @rule("kind")
    def sort(ticket: Ticket) -> Literal["order", "other"]:
        return "order" if "A1" in ticket.body else "other"

    def long_enough(ticket: Ticket) -> bool:
        return len(ticket.reply) > 3

    better = refine(support, long_enough, until=bool, rounds=2)
    desk = chain(route(sort, {"order": better, "other": helper}), agent(find, tools=[lookup]))
    answers = [LOOKUP, "Hm.", LOOKUP, "In 2 days.", {"order": "A1", "days": 2}]
    result, model = ask(desk, answers)
    assert (result["reply"], result["finding"]) == ("In 2 days.", Finding(order="A1", days=2))
    assert told(model, 2) == []  # a second round begins a conversation of its own


def test_agents_beside_each_other_keep_apart(session: Session) -> None:
    both = section({"words": support, "facts": agent(find, tools=[lookup])})
    answers = {"helper": [LOOKUP, "In 2 days."], "find": [LOOKUP, {"order": "A1", "days": 2}]}
    result, model = ask(both, answers, session.config("t"))
    assert (result["reply"], result["finding"]) == ("In 2 days.", Finding(order="A1", days=2))
    assert sorted((name, len(told(model, i))) for i, (name, _) in enumerate(model.asks)) == [
        ("find", 0),
        ("find", 1),
        ("helper", 0),
        ("helper", 1),
    ]


def test_a_second_run_on_the_thread_begins_anew(session: Session) -> None:
    ask(support, [LOOKUP, "In 2 days."], session.config("t"))
    _, model = ask(support, ["Hello."], session.config("t"), {"body": "Hello"})
    assert [m["content"] for m in model.asks[0][1].messages] == ["Look things up.", "Hello"]


def test_a_budget_ends_it_in_between_and_it_goes_on(session: Session) -> None:
    app = within(support, Budget(calls=1)).compile()
    with ScriptedModel([LOOKUP, "In 2 days."]) as model, using(model):
        first = run(app, Ticket(), session, "t")
        assert (first.status, len(model.asks)) == ("partial", 1)
        larger = within(support, Budget(calls=2)).compile()
        second = run(larger, None, session, "t")
    assert (second.status, second.values["reply"]) == ("done", "In 2 days.")


def test_the_cost_is_bounded_by_the_turns() -> None:
    assert (least(support.cost), most(support.cost)) == (1, 4)
    assert most(chain(support, refine(support, helper, until=bool, rounds=2)).cost) == 4 + 2 * (4 + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turns": 0}, r"turns=0\): expected a whole number"),
        ({"calls": 1.5}, r"calls=1.5\)"),
        ({"timeout_s": 0}, r"timeout_s=0\)"),
        ({"approve": ["loookup"]}, "Did you mean 'lookup'"),
    ],
)
def test_an_agent_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        agent(helper, tools=[lookup], **options)
    with pytest.raises(DefinitionError, match="takes a step"):
        agent(lookup, tools=[lookup])  # type: ignore[arg-type]


def test_a_workflow_may_be_a_tool(session: Session) -> None:
    @step("reply")
    def summarise(ticket: Ticket) -> Ask[str]:
        return Ask(f"Sum up: {ticket.body}")

    inner = agent(summarise, tools=[lookup]).compile()

    async def research(topic: str) -> str:
        """Find out about a topic."""
        found = await inner.ainvoke(Ticket(topic))
        return str(found["reply"])

    calls = [ToolCall("research", {"topic": "tea"}), ToolCall("research", {"topic": "rum"})]
    script = {"helper": [calls, "Done."], "summarise": [LOOKUP, LOOKUP, "It is fine.", "It is fine."]}
    _, model = ask(agent(helper, tools=[research]), script, session.config("t"))
    assert told(model) == ["It is fine.", "It is fine."]
    assert len(session.journal.query("SELECT 1 FROM calls")) == 6


class Typed(TypedDict, total=False):
    body: str
    reply: str


class Modelled(BaseModel):
    body: str = "?"
    reply: str = ""


@dataclass(frozen=True)
class Frozen:
    body: str = "?"
    reply: str = ""


@pytest.mark.parametrize("given", [Typed(body="?"), Modelled(), Frozen()], ids=["dict", "pydantic", "frozen"])
def test_every_kind_of_state_will_do(session: Session, given: Any) -> None:
    def question(state: Any) -> Ask[str]:
        return Ask("?")

    kind = Typed if isinstance(given, dict) else type(given)
    question.__annotations__ = {"state": kind, "return": Ask[str]}
    app = agent(step("reply")(question), tools=[lookup]).compile()
    with ScriptedModel([LOOKUP, "Fine."]) as model, using(model):
        assert app.invoke(given, session.config("t")) == {"body": "?", "reply": "Fine."}


# Over the wire


CALL = Answer(None, tool_calls=(("lookup", '{"order": "A1"}'),), finish_reason="tool_calls")


def test_tools_over_the_wire(server: ChatServer) -> None:
    broken = Answer(None, tool_calls=(("lookup", '{"order": '), ("lookup", '{"order": "B2"}')))
    server.will(CALL, broken, Fault(status=503), "In 2 days.")
    with using(server.spec(retries=1)):
        assert support.compile().invoke(Ticket())["reply"] == "In 2 days."
    first, *_, last = server.bodies
    assert first["tools"][0]["function"]["parameters"]["required"] == ["order"]
    assert "tool_choice" not in first
    calls = [m for m in last["messages"] if m["role"] == "assistant"]
    assert calls[0]["tool_calls"][0]["function"] == {"name": "lookup", "arguments": '{"order": "A1"}'}
    results = [m["content"] for m in last["messages"] if m["role"] == "tool"]
    assert results[0] == "A1 arrives in 2 days"
    assert "B2 arrives in 2 days" in results
    assert any("The call cannot be read: no valid JSON" in text for text in results)


def test_the_last_turn_over_the_wire_forbids_tools(server: ChatServer) -> None:
    server.will(CALL, json.dumps({"answer": 2}))
    with using(server.spec()):
        assert agent(count, tools=[lookup], turns=1).compile().invoke(Ticket())["days"] == 2
    assert server.bodies[-1]["tool_choice"] == "none"
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


@pytest.mark.local
@pytest.mark.xdist_group("local")
def test_the_model_on_this_machine_calls_a_tool_by_emulation(session: Session) -> None:
    """It picks the only sensible tool; whether its words are right is another matter."""

    @step("reply", cache_s=None)
    def where(ticket: Ticket) -> Ask[str]:
        return Ask(ticket.body, temperature=0, max_tokens=80)

    with using("local"):
        result = agent(where, tools=[lookup], turns=2).compile().invoke(Ticket(), session.config("t"))
    assert result["reply"]
    rows = session.journal.query("SELECT tool_calls, answer FROM calls")
    assert all(row["tool_calls"] or row["answer"] for row in rows)
