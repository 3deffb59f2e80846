"""Tools of MCP servers in an agent: a real server, over stdio and over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from stepgraph import (
    MCPServer,
    ScriptedModel,
    Session,
    ToolCall,
    agent,
    chain,
    mcp,
    run,
    using,
)
from stepgraph.errors import DefinitionError
from stepgraph.tracing import fork

from .mcp_cases import (
    Desk,
    Shop,
    Ticket,
    assist,
    desk as desk,
    lines,
    log as log,
    served_shop as served_shop,
    shop as shop,
    stdio as stdio,
)

CALLS = [
    [ToolCall("find_order", {"order": "A"}), ToolCall("count", {})],
    ToolCall("fail", {"order": "B"}),
    ToolCall("refund", {}),
    ToolCall("refund", {"order": "A"}),
    ToolCall("picture", {}),
    "It is in Rome.",
]


def check_the_calls(desk: Desk, calls: list[str]) -> None:
    found, counted, failed, wrong, refunded, picture = desk.results()
    assert (found, refunded) == ("A is in Rome.", "A is paid back.")
    assert "7" in counted
    assert failed == "fail failed: Error executing tool fail: no order B"
    assert "missing" in wrong
    assert [part["type"] for part in picture] == ["text", "image_url", "input_audio", "text"]
    assert calls == ["find A", "refund A"]
    assert "shop/refund(" in desk.decisions()[-2]


def test_an_agent_calls_a_servers_tools_over_stdio(
    desk: Desk, stdio: Callable[..., MCPServer], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("THE_KEY", "swordfish")
    server = stdio("banner", env={"SHOP_KEY": "$THE_KEY"})  # what comes before the protocol is passed over
    script = [*CALLS[:-1], ToolCall("environment", {}), "It is in Rome."]
    assert desk(server, script, turns=9).values["reply"] == "It is in Rome."
    seen = desk.results().pop()
    assert "SHOP_KEY" in seen
    assert "OPENAI_API_KEY" not in seen
    first, *calls, last = lines(log)
    assert (first, last) == ("start", "end")  # one session
    assert calls == ["find A", "refund A"]


def test_an_agent_calls_a_servers_tools_over_http(desk: Desk, shop: Shop) -> None:
    desk(shop(), CALLS)
    check_the_calls(desk, shop.calls)


def test_one_session_serves_all_agents_of_a_run_and_no_local_tool_is_lost(
    stdio: Callable[..., MCPServer], log: Path
) -> None:
    def find_order(order: str) -> str:
        """Look for an order."""
        return f"{order}: nothing here."

    both = [find_order, stdio()]
    graph = chain(agent(assist, tools=both, name="one"), agent(assist, tools=stdio(), name="two")).compile()
    calls = [[ToolCall("find_order", {"order": "A"}), ToolCall("shop_find_order", {"order": "A"})], "x"]
    model = ScriptedModel([*calls, ToolCall("find_order", {"order": "B"}), "y"])
    with using(model):
        assert graph.invoke(Ticket())["reply"] == "y"  # without a session too
        shown = [m["content"] for m in model.asks[1][1].messages if m["role"] == "tool"]
    assert shown == ["A: nothing here.", "A is in Rome."]
    assert lines(log) == ["start", "find A", "find B", "end"]


def test_a_call_of_a_tool_that_may_change_something_happens_once(desk: Desk, shop: Shop) -> None:
    class Stop(Exception):
        pass

    refund = ToolCall("refund", {"order": "A"})
    with pytest.raises(Stop):
        desk(shop(), [refund, refund, Stop()])
    with Session(desk.folder / "runs.sqlite") as session:
        keys = session.journal.query("SELECT key, status FROM effects", ())
        assert [row["status"] for row in keys] == ["done", "done"]  # two calls of the model are two
    desk(mcp("http://127.0.0.1:9/mcp", name="shop"), ["done"])  # a resume that calls no tool needs no server
    assert shop.calls == ["refund A", "refund A"]


def test_the_same_words_are_another_call_for_the_threads_next_input_but_not_in_a_fork(
    desk: Desk, shop: Shop
) -> None:
    script = [ToolCall("refund", {"order": "A"}), "done"]
    desk(shop(), script)
    with Session(desk.folder / "runs.sqlite") as session, using(ScriptedModel(script)):
        copy = fork(session, "t", at=0)
        run(agent(assist, tools=shop()).compile(), None, session, copy)
    assert shop.calls == ["refund A"]
    desk(shop(), script)
    assert shop.calls == ["refund A", "refund A"]


@pytest.mark.parametrize(
    ("tool", "once", "kept"),
    [
        ("refund", None, 1),
        ("mark", None, 1),
        ("find_order", None, 0),
        ("refund", False, 0),
        ("find_order", True, 1),
    ],
)
def test_hints_decide_what_happens_once(
    tool: str, once: bool | None, kept: int, desk: Desk, shop: Shop
) -> None:
    desk(shop(once=once), [ToolCall(tool, {"order": "A"}), "done"])
    with Session(desk.folder / "runs.sqlite") as session:
        assert len(session.journal.query("SELECT key FROM effects", ())) == kept


def answers() -> list[Any]:
    return [
        ("approve", "A is cancelled: none."),
        ({"decision": "reject", "reason": "no"}, "A is kept."),
        ({"decision": "edit", "value": {"sure": True, "note": "gift"}}, "A is cancelled: gift."),
        ({"sure": True, "note": "plain"}, "A is cancelled: plain."),
        ({"action": "accept", "content": {"sure": False}}, "A is kept."),
    ]


@pytest.mark.parametrize(("answer", "result"), answers())
def test_a_servers_question_parks_the_run_until_a_person_answers(
    answer: Any, result: str, desk: Desk, shop: Shop
) -> None:
    cancel = ToolCall("cancel", {"order": "A"})
    parked = desk(shop(), [cancel])
    assert parked.status == "interrupted"
    assert parked.waiting[0].value["question"] == "shop asks: Cancel A?"
    assert parked.waiting[0].value["value"] == {"sure": True, "note": "none"}
    assert shop.calls == ["cancel A", "kept A: cancel"]  # nothing is held while somebody thinks
    assert desk(shop(), ["ok"], Command(resume=answer)).status == "done"
    assert desk.results() == [result]
    assert shop.calls.count("cancelled A") == ("cancelled" in result)


def test_an_answer_that_does_not_fit_is_asked_again(desk: Desk, shop: Shop) -> None:
    desk(shop(), [ToolCall("cancel", {"order": "A"})])
    again = desk(shop(), [], Command(resume={"sure": "perhaps"}))
    assert "sure: 'perhaps' is not of type 'boolean'" in again.waiting[0].value["problem"]
    desk(shop(), ["ok"], Command(resume=True))
    assert desk.results() == ["A is cancelled: none."]


def test_questions_of_calls_at_the_same_time_go_to_their_own_calls(desk: Desk, shop: Shop) -> None:
    calls = [ToolCall("ask_first", {"order": name}) for name in "AB"]
    waiting = desk(shop(), [calls]).waiting
    assert sorted(item.value["question"] for item in waiting) == ["shop asks: Show A?", "shop asks: Show B?"]
    given = {
        item.id: "approve" if "B?" in item.value["question"] else {"action": "decline"} for item in waiting
    }
    desk(shop(), ["ok"], Command(resume=given))
    assert desk.results() == ["A: decline", "B: accept"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"approve": ["refnd"]}, "Did you mean 'refund'"),
        ({"once": ["nothing"]}, "none of its tools"),
    ],
)
def test_options_name_tools_of_servers(options: Any, told: str, desk: Desk, shop: Shop) -> None:
    with pytest.raises(DefinitionError, match=told):
        desk(shop(), [], **options)


def test_only_the_tools_that_are_taken_are_offered(desk: Desk, shop: Shop) -> None:
    desk(
        shop(tools=["count"], prefix=True),
        [ToolCall("refund", {"order": "A"}), ToolCall("shop_count", {}), "ok"],
    )
    assert "There is no tool 'refund'" in desk.results()[0]
    assert "7" in desk.results()[1]
    with pytest.raises(DefinitionError, match="Did you mean 'count'"):
        desk(shop(tools=["cuont"]), [], thread="other")


def test_a_person_approves_a_servers_tool(desk: Desk, shop: Shop) -> None:
    waiting = desk(shop(), [ToolCall("refund", {"order": "A"})], approve=["refund"]).waiting
    assert waiting[0].value["value"] == {"order": "A"}
    edit = {"decision": "edit", "value": {"order": "B"}}
    desk(shop(), ["ok"], Command(resume=edit), approve=["refund"])
    assert [line for line in shop.calls if line.startswith("refund")] == ["refund B"]
