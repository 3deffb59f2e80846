"""Tools that behave, and tools that do not, run as a graph runs them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import Session
from stepgraph.nodes.toolkits import is_async, problem_with
from stepgraph.nodes.tools import CALL, MESSAGES, Tools
from stepgraph.state.errors import DefinitionError, EffectUnknown

never = threading.Event()


class Chat(TypedDict, total=False):
    customer: str
    wanted: list[Any]
    stepgraph_messages: Annotated[list[AnyMessage], add_messages]


class Called(TypedDict):
    stepgraph_call: Any


def lookup(order: str, verbose: bool = False) -> str:
    """Look up an order."""
    return f"{order}: on its way"


@tool
async def wait_and_see(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "waited"


@tool
async def deaf() -> str:
    """Ignore being cancelled."""
    for _ in range(60):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            continue
    return "heard nothing"


@tool
def hang() -> str:
    """Hang."""
    never.wait()
    return "never"


@tool
def flood() -> str:
    """Return 10 MB."""
    return "x" * 10_000_000


@tool
def fail(how: str) -> str:
    """Fail."""
    if how == "exit":
        sys.exit("bye")
    if how == "stop":
        raise StopIteration
    if how == "told":
        raise ToolException("Ask for a number below 10.")
    if how == "inside":
        Strict.model_validate({"size": "big"})
    raise RuntimeError("the key sk-abcdef123456 was refused")


class Strict(BaseModel):
    size: int


@tool
def whose(order: str, customer: Annotated[str, InjectedState("customer")]) -> str:
    """Say whose order it is."""
    return f"{order} is {customer}'s"


@tool
def steer() -> Any:
    """Try to take over."""
    return Command(goto="elsewhere")


class OwnClass(BaseTool):
    """A tool as a class, with a sync way only."""

    name: str = "own_class"
    description: str = "Say where it runs."

    def _run(self) -> str:
        return threading.current_thread().name


def graph_of(tools: Tools) -> Any:
    graph = StateGraph(Chat)
    graph.add_node("tools", tools, input_schema=Called)
    graph.add_conditional_edges(
        START, lambda chat: [Send("tools", {CALL: call}) for call in chat["wanted"]], ["tools"]
    )
    return graph


def run(
    *wanted: tuple[str, dict[str, Any]], tools: list[Any], config: Any = None, **options: Any
) -> list[ToolMessage]:
    box = Tools(tools, **{"timeout_s": 10.0, "max_chars": 1000, **options})
    calls = [tool_call(name=name, args=args, id=str(i)) for i, (name, args) in enumerate(wanted)]
    app = graph_of(box).compile()
    result = app.invoke({"wanted": calls, "customer": "Ada", MESSAGES: []}, config)
    messages: list[ToolMessage] = result[MESSAGES]
    return messages


def one(name: str, arguments: dict[str, Any], *tools: Any, **options: Any) -> ToolMessage:
    (message,) = run((name, arguments), tools=list(tools), **options)
    return message


def test_sync_and_async_tools_run_beside_each_other_and_answer_in_order() -> None:
    found = run(
        ("wait_and_see", {"seconds": 0.05}), ("lookup", {"order": "A1"}), tools=[lookup, wait_and_see]
    )
    assert [(m.tool_call_id, m.content, m.status) for m in found] == [
        ("0", "waited", "success"),
        ("1", "A1: on its way", "success"),
    ]


def test_sync_tools_meet_although_each_waits_for_the_other() -> None:
    barrier = threading.Barrier(4, timeout=20)

    @tool
    def meet() -> str:
        """Meet the others."""
        barrier.wait()
        return "met"

    found = run(*[("meet", {})] * 4, tools=[meet])
    assert [m.content for m in found] == ["met"] * 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "order: Field required"),
        ({"order": 3}, "order: Input should be a valid string, got 3."),
        ({"order": "A1", "verbos": True}, "verbos: there is no such argument. Did you mean 'verbose'?"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, Any], told: str) -> None:
    message = one("lookup", arguments, lookup)
    assert message.status == "error"
    assert told in message.content
    assert "Fix the arguments" in message.content


def test_a_tool_with_a_json_schema_is_checked_too() -> None:
    schema = {
        "type": "object",
        "properties": {"order": {}},
        "required": ["order"],
        "additionalProperties": False,
    }
    remote = tool("remote", args_schema=schema, description="Look up.")(lambda **given: given["order"])
    assert problem_with(remote, {"ordr": 1}) == (
        "order: missing. ordr: there is no such argument. Did you mean 'order'?"
    )
    assert one("remote", {"order": "A1"}, remote).content == "A1"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", "fail failed: RuntimeError: the key *** was refused"),
        ("told", "fail failed: Ask for a number below 10."),
        ("inside", "fail failed: ValidationError: 1 validation error for Strict"),
        ("exit", "fail failed: RuntimeError: SystemExit: bye"),
        ("stop", "fail failed: RuntimeError: StopIteration"),
    ],
)
def test_what_a_tool_raises_is_told(how: str, told: str) -> None:
    message = one("fail", {"how": how}, fail)
    assert message.status == "error"
    assert str(message.content).startswith(told)


@pytest.mark.parametrize("tool_", [hang, deaf], ids=lambda t: t.name)
def test_a_tool_that_hangs_is_left_behind(tool_: BaseTool) -> None:
    found = run((tool_.name, {}), ("lookup", {"order": "A1"}), tools=[tool_, lookup], timeout_s=2)
    assert found[0].content == f"{tool_.name} failed: it was stopped after 2 s."
    assert found[1].content == "A1: on its way"


def test_a_tool_that_hangs_does_not_keep_the_process_alive() -> None:
    code = """
import time
from dataclasses import dataclass
from stepgraph import Ask, ScriptedModel, agent, step, using
from stepgraph.providers.model import ToolCall

@dataclass
class Q:
    answer: str = ""

@step("answer")
def ask(q: Q) -> Ask[str]:
    return Ask("?")

def hang() -> str:
    "Hang."
    time.sleep(1000)
    return ""

with using(ScriptedModel([ToolCall("hang"), "gave up"])):
    print(agent(ask, tools=[hang], timeout_s=0.1).compile().invoke(Q())["answer"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "gave up\n", done.stderr


def test_a_flood_is_cut_with_a_mark() -> None:
    content = str(one("flood", {}, flood).content)
    assert content == "x" * 1000 + "\n[cut: 1000 of 10000000 characters are shown]"


def test_state_is_injected_and_cannot_be_forged() -> None:
    assert one("whose", {"order": "A1"}, whose).content == "A1 is Ada's"
    forged = one("whose", {"order": "A1", "customer": "Eve"}, whose)
    assert "customer: there is no such argument" in forged.content


def test_a_class_with_a_sync_way_only_runs_off_the_loop() -> None:
    assert not is_async(OwnClass())
    assert is_async(wait_and_see)
    assert "asyncio" not in str(one("own_class", {}, OwnClass()).content)


def test_a_tool_cannot_take_the_control() -> None:
    with pytest.raises(DefinitionError, match="The tool 'steer' returned a Command"):
        one("steer", {}, steer)


def test_a_call_in_once_happens_once(session: Session) -> None:
    sent: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send."""
        sent.append(to)
        return f"sent no. {len(sent)}"

    calls = [("send", {"to": "ada"}), ("send", {"to": "ada"}), ("send", {"to": "bob"})]
    for _ in range(2):
        found = run(*calls, tools=[send], once=["send"], config=session.config("t"))
        assert found[0].content == found[1].content
    assert sorted(sent) == ["ada", "bob"]
    run(*calls, tools=[send], once=["send"], config=session.config("another"))
    assert len(sent) == 4


def test_the_order_of_the_arguments_makes_no_other_call(session: Session) -> None:
    sent: list[str] = []

    @tool
    def send(to: str, notes: dict[str, str]) -> str:
        """Send."""
        sent.append(to)
        return "sent"

    for args in (
        {"to": "ada", "notes": {"a": "1", "b": "2"}},
        {"notes": {"b": "2", "a": "1"}, "to": "ada"},
    ):
        assert one("send", args, send, once=["send"], config=session.config("t")).content == "sent"
    assert sent == ["ada"]


def test_a_key_counts_in_all_threads(session: Session) -> None:
    paid: list[str] = []

    @tool
    def refund(order: str, note: str) -> str:
        """Refund."""
        paid.append(order)
        return "done"

    for thread in ("a", "b"):
        args = {"order": "A1", "note": thread}
        options = {"once": {"refund": lambda given: given["order"]}, "config": session.config(thread)}
        assert one("refund", args, refund, **options).content == "done"
    assert paid == ["A1"]
    assert session.journal.query("SELECT key, status FROM effects") == [
        {"key": "refund:A1", "status": "done"}
    ]


def test_after_a_failure_it_is_open_and_the_model_is_told(session: Session) -> None:
    tries: list[int] = []

    @tool
    def send() -> str:
        """Send."""
        tries.append(1)
        raise OSError("connection lost")

    for told in ("OSError: connection lost Nobody knows", "It failed before. Nobody knows"):
        message = one("send", {}, send, once=["send"], config=session.config("t"))
        assert told in str(message.content)
    assert len(tries) == 1
    (record,) = session.undecided_effects()
    session.decide_effect(record.key, happened=True, update={"result": "It was sent at nine."})
    assert one("send", {}, send, once=["send"], config=session.config("t")).content == "It was sent at nine."


def test_a_tool_exception_says_that_nothing_happened(session: Session) -> None:
    tries: list[int] = []

    @tool
    def send() -> str:
        """Send."""
        tries.append(1)
        if len(tries) == 1:
            raise ToolException("no such address")
        return "sent"

    options = {"once": ["send"], "config": session.config("t")}
    assert one("send", {}, send, **options).content == "send failed: no such address"
    assert one("send", {}, send, **options).content == "sent"


def test_what_a_crash_left_open_is_for_a_person(session: Session) -> None:
    @tool
    def send() -> str:
        """Send."""
        return "sent"

    key = lambda _: "k"  # noqa: E731
    sql = "INSERT INTO effects (key, thread_id, path, status, started_at) VALUES (?, 't', '', 'started', 1)"
    session.journal.write([(sql, ("send:k",))])
    with pytest.raises(EffectUnknown, match="send:k"):
        one("send", {}, send, once={"send": key}, config=session.config("t"))


@pytest.mark.parametrize(
    ("tools", "options", "told"),
    [
        ([lookup, lookup], {}, "'lookup' is given twice"),
        ([3], {}, "3 is no tool"),
        ([lambda x: x], {}, "makes no tool"),
        ([], {}, "at least one tool"),
        ([lookup], {"approve": ["lokup"]}, "Did you mean 'lookup'"),
        ([lookup], {"once": ["lokup"]}, "Did you mean 'lookup'"),
        ([tool("final_answer", description="x")(lookup)], {}, "'final_answer' is reserved"),
    ],
)
def test_tools_that_cannot_work_are_refused(tools: list[Any], options: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Tools(tools, timeout_s=1, max_chars=10, **options)
