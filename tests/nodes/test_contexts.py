"""A long agent in a small context: nothing is lost, nothing stands alone, and every call fits."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph.message import add_messages

from stepgraph import Ask, Context, Request, ScriptedModel, Session, ToolCall, agent, run, step, using
from stepgraph.errors import ContextTooLong, DefinitionError
from stepgraph.nodes.contexts import LeftOut, boundaries, read_again, shown
from stepgraph.providers.stack.prompt_bound import bound_of

from ..long_agents import LongRun, check_request


@pytest.mark.parametrize(("turns", "tokens"), [(60, 8_000), (40, 16_000)])
def test_a_long_agent_answers_from_what_it_read_long_ago(turns: int, tokens: int, tmp_path: Path) -> None:
    done = LongRun(turns=turns, facts=12, tokens=tokens).run(tmp_path)
    assert done.answered == 12
    assert done.left_out  # or nothing was tested
    assert done.most_tokens <= tokens


@dataclass
class Talk:
    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    reply: str = ""


@step("reply")
def answer(talk: Talk) -> Ask[str]:
    return Ask(talk.messages or "Go on.", system="Be brief.", max_tokens=100)


def look(page: int) -> str:
    """Read a page."""
    return f"page {page}: " + "blah " * 300


def test_earlier_turns_of_a_dialogue_make_room_and_are_found_again(tmp_path: Path) -> None:
    said: list[AnyMessage] = []
    for number in range(60):
        said += [HumanMessage(f"Box {number} is {number * 37}. " + "and so on " * 10), AIMessage("Noted.")]
    said.append(HumanMessage("What is box 3?"))

    def model(request: Request, _: Any) -> Any:
        check_request(request.messages)
        assert bound_of(request) <= 4_000
        last = request.messages[-1]
        if last["role"] != "tool":
            assert "Box 3 is" not in str(request.messages)
            return ToolCall("read_earlier", {"search": "box 3 is"})
        return re.search(r"Box 3 is (\d+)", last["content"])[1]

    app = agent(answer, tools=[look], context=Context(tokens=4_000)).compile()
    with Session(tmp_path / "runs.sqlite") as session, using(ScriptedModel(model)):
        assert run(app, Talk(said), session, "t").values["reply"] == "111"


def test_a_summary_stands_for_the_turns_that_are_left_out_and_is_a_call_like_others(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    asked: list[str] = []
    stop = True

    def model(request: Request, context: Any) -> Any:
        nonlocal stop
        asked.append(context.step)
        if context.step == "answer_summary":
            assert bound_of(request) <= 3_000
            return f"Summary {len(asked)}."
        turn = sum(message["role"] == "assistant" for message in request.messages)
        if "What they were about: Summary" in str(request.messages[1]):
            if stop:
                stop = False
                raise Stop
            return "done"
        return [ToolCall("look", {"page": turn * 10 + n}) for n in range(2)]

    app = agent(answer, tools=[look], turns=50, context=Context(tokens=3_000, summary="small")).compile()
    bound = {"default": ScriptedModel(model), "small": ScriptedModel(model)}
    with Session(tmp_path / "runs.sqlite") as session:
        with using(**bound), pytest.raises(Stop):
            run(app, Talk(), session, "t")
        paid = len(asked)
        with using(**bound):
            assert run(app, None, session, "t").values["reply"] == "done"
        assert asked[paid:] == ["answer"]  # the summary was paid for already


def test_what_cannot_fit_is_told_before_it_is_sent(tmp_path: Path) -> None:
    app = agent(answer, tools=[look], context=Context(tokens=1_000)).compile()
    with using(ScriptedModel([])), pytest.raises(ContextTooLong, match="newest turn have"):
        app.invoke(Talk([HumanMessage("word " * 2_000)]))
    with pytest.raises(DefinitionError, match="at least 1,000"):
        Context(tokens=10)


def test_a_long_result_is_read_page_by_page() -> None:
    text = "".join(f"{number:05d}," for number in range(2_000))
    messages: list[AnyMessage] = [
        HumanMessage("?", id="question-0"),
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "c1"}]),
        ToolMessage(text, name="look", tool_call_id="c1"),
    ]
    seen = shown(messages, LeftOut(chars=100), 100)[-1]
    assert len(str(seen.content)) < 250
    pages = [read_again(messages, {"id": "c1", "page": n}) for n in (1, 2, 3)]
    assert "".join(page.partition("\n[page")[0] for page in pages) == text
    assert "There is no page 4" in read_again(messages, {"id": "c1", "page": 4})
    assert "There is no call" in read_again(messages, {"id": "c9"})


@pytest.mark.parametrize("seed", range(20))
def test_no_call_is_parted_from_its_results(seed: int) -> None:
    rng = random.Random(seed)
    messages: list[AnyMessage] = [SystemMessage("s", id="question-0")] * rng.randint(0, 1)
    for number in range(rng.randint(0, 4)):
        messages += [HumanMessage("u", id=f"question-u{number}"), AIMessage("a", id=f"question-a{number}")]
    messages.append(HumanMessage("now?", id="question-9"))
    for turn in range(rng.randint(1, 12)):
        names = [f"c{turn}{n}" for n in range(rng.randint(0, 3))]
        messages.append(AIMessage("t", tool_calls=[{"name": "x", "args": {}, "id": name} for name in names]))
        messages += [ToolMessage("r" * 400, name="x", tool_call_id=name) for name in names]
        if not names:
            messages.append(HumanMessage("again", id=f"told-{turn}"))
    for end in [0, *boundaries(messages)]:
        seen = shown(messages, LeftOut(rng.randint(0, len(messages)), end, 100), 500)
        check_request([_plain(message) for message in seen])
        assert any("now?" in str(message.content) for message in seen)


def _plain(message: AnyMessage) -> Mapping[str, Any]:
    if isinstance(message, ToolMessage):
        return {"role": "tool", "tool_call_id": message.tool_call_id}
    calls = [{"id": call["id"]} for call in getattr(message, "tool_calls", [])]
    return {"role": "assistant" if isinstance(message, AIMessage) else "user", "tool_calls": calls}
