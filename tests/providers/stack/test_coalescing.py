"""Equal calls under way are joined; the cache answers across runs and says why."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import ModelRefused

from ...servers import Answer, ChatServer
from .test_coalescing_layer import Gated, joined as joined


@dataclass
class Text:
    body: str = "x"
    first: str = ""
    second: str = ""
    sample: int = 0


class Out(TypedDict):
    out: Annotated[list[str], operator.add]


@dataclass
class Five:
    topic: str
    a: str = ""
    b: str = ""
    c: str = ""
    d: str = ""
    e: str = ""


@step("first", cache_s=3600)
def cached(text: Text) -> Ask[str]:
    return Ask(f"First: {text.body}")


@step("second")
def fresh(text: Text) -> Ask[str]:
    return Ask(f"Second: {text.body}", sample=text.sample)


def counts(session: Session) -> dict[str, int]:
    rows = session.journal.query("SELECT source, count(*) AS n FROM calls GROUP BY source")
    return {row["source"]: row["n"] for row in rows}


def once_joined(joined: threading.Semaphore, number: int = 19) -> Callable[[], bool]:
    """Return what tells whether so many calls wait for an equal one."""
    left = [number]

    def holds() -> bool:
        while left[0] and joined.acquire(blocking=False):
            left[0] -= 1
        return not left[0]

    return holds


async def branches(session: Session, states: list[Text], thread: str = "t") -> list[str]:
    """Ask from nodes that run at the same time in one thread."""

    async def node(state: Text) -> dict[str, list[str]]:
        return {"out": [await fresh.answer(state)]}

    graph = StateGraph(Out)
    graph.add_node("node", node)  # type: ignore[arg-type]
    graph.add_conditional_edges(START, lambda _: [Send("node", state) for state in states], ["node"])
    graph.add_edge("node", END)
    result = await graph.compile().ainvoke({"out": []}, session.config(thread))
    answers: list[str] = result["out"]
    return answers


async def test_20_equal_calls_at_once_are_one_call(
    session: Session, server: ChatServer, joined: threading.Semaphore
) -> None:
    server.will(Answer("one", once=once_joined(joined)))
    with using(server.spec()):
        assert await branches(session, [Text()] * 20) == ["one"] * 20
    assert server.calls == 1
    assert counts(session) == {"coalesced": 19, "model": 1}
    (spent,) = session.journal.query("SELECT sum(input_tokens) AS tokens FROM calls")
    assert spent["tokens"] == 100


async def test_those_who_joined_share_the_answer_after_a_crash(
    session: Session, server: ChatServer, joined: threading.Semaphore
) -> None:
    """The leader's answer is committed; the process dies before those who wait for it have theirs."""
    server.always = Answer("one", once=once_joined(joined))
    failing = [True] * 20

    async def node(state: Text) -> dict[str, list[str]]:
        answer = await fresh.answer(state)
        if failing:
            failing.pop()
            raise RuntimeError("killed")
        return {"out": [answer]}

    graph: Any = StateGraph(Out)
    graph.add_node("node", node)
    graph.add_conditional_edges(START, lambda _: [Send("node", Text()) for _ in range(20)], ["node"])
    app = graph.compile()
    with using(server.spec()):
        with pytest.raises(RuntimeError):
            await app.ainvoke({"out": []}, session.config("t"))
        failing.clear()
        session.journal.write([("DELETE FROM calls WHERE source = 'coalesced'", ())])
        result = await app.ainvoke(None, session.config("t"))
    assert result["out"] == ["one"] * 20
    assert server.calls == 1


async def test_samples_are_never_joined(session: Session, server: ChatServer) -> None:
    server.always = Answer("x", delay_s=0.05)
    with using(server.spec()):
        await branches(session, [Text(sample=number) for number in range(1, 6)])
    assert server.calls == 5


async def test_equal_calls_of_different_threads_are_draws_of_their_own(
    session: Session, server: ChatServer
) -> None:
    server.always = Answer("x", delay_s=0.05)
    graph = chain(fresh).compile()
    with using(server.spec()):
        await asyncio.gather(*(graph.ainvoke(Text(), session.config(f"t{n}")) for n in range(4)))
    assert server.calls == 4


async def test_those_who_join_share_a_failure_too(session: Session, joined: threading.Semaphore) -> None:
    model = Gated(ModelRefused("no", model="m"))
    with using(model):
        asking = asyncio.create_task(branches(session, [Text()] * 5))
        for _ in range(4):
            assert await asyncio.to_thread(joined.acquire, timeout=60)
        model.gates[0].set()
        with pytest.raises(ModelRefused):
            await asking
    assert model.asked == 1


async def test_a_cancelled_leader_is_replaced_by_one_who_joined(session: Session, server: ChatServer) -> None:
    server.will(Answer("late", delay_s=600), Answer("x"))
    graph = chain(cached).compile()
    with using(server.spec()):
        leader = asyncio.create_task(graph.ainvoke(Text(), session.config("a")))
        assert await asyncio.to_thread(server.asked.wait, 60)
        follower = asyncio.create_task(graph.ainvoke(Text(), session.config("b")))
        await asyncio.sleep(0.1)  # for it to join
        leader.cancel()
        assert (await asyncio.wait_for(follower, 60))["first"] == "x"
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_the_cache_answers_an_equal_call_of_another_run_at_no_cost(session: Session) -> None:
    graph = chain(cached, fresh).compile()
    with ScriptedModel(["one", "two", "three"]) as model, using(model):
        await graph.ainvoke(Text(), session.config("a"))
        result = await graph.ainvoke(Text(), session.config("b"))
    assert (result["first"], result["second"]) == ("one", "three")
    (hit,) = session.journal.query("SELECT * FROM calls WHERE source = 'cache'")
    assert (hit["thread_id"], hit["cost_usd"], hit["input_tokens"]) == ("b", 0, 0)
    assert hit["reason"].endswith("s ago in a")
    assert session.spent("b").calls == 1


async def test_the_cache_can_be_on_for_a_run_and_has_a_lifetime(session: Session) -> None:
    graph = chain(fresh).compile()
    with ScriptedModel(["one", "two"]) as model, using(model):
        await graph.ainvoke(Text(), session.config("a"))
        again = await graph.ainvoke(Text(), session.config("b", cache_s=60))
        await asyncio.sleep(0.02)
        late = await graph.ainvoke(Text(), session.config("c", cache_s=0.01))
    assert (again["second"], late["second"]) == ("one", "two")
    (row,) = session.journal.query("SELECT reason FROM calls WHERE thread_id = 'c'")
    assert "the recorded answer is" in row["reason"]


async def test_an_answer_that_did_not_fit_is_never_cached(session: Session) -> None:
    @dataclass
    class Count:
        number: int = 0

    @step("number", cache_s=60)
    def count(state: Count) -> Ask[int]:
        return Ask("How many?")

    graph = chain(count).compile()
    with ScriptedModel(["many", 3, 4]) as model, using(model):
        await graph.ainvoke(Count(), session.config("a"))
        result = await graph.ainvoke(Count(), session.config("b"))
    assert result["number"] in (3, 4)
    first = model.asks[0][1]
    assert [request for _, request in model.asks].count(first) == 2


async def test_editing_one_prompt_of_five_asks_again_only_what_the_edit_changes(session: Session) -> None:
    def workflow(wording: str) -> Any:
        @step("a", cache_s=3600)
        def one(s: Five) -> Ask[str]:
            return Ask(f"a of {s.topic}")

        @step("b", cache_s=3600)
        def two(s: Five) -> Ask[str]:
            return Ask(f"{wording} {s.a}")

        @step("c", cache_s=3600)
        def three(s: Five) -> Ask[str]:
            return Ask(f"c of {s.b}")

        @step("d", cache_s=3600)
        def four(s: Five) -> Ask[str]:
            return Ask(f"d of {s.a}")

        @step("e", cache_s=3600)
        def five(s: Five) -> Ask[str]:
            return Ask(f"e of {s.c}")

        return chain(one, two, three, four, five).compile()

    # The answer depends on the prompt's topic alone where the number is even, else on all of it.
    def answer(request: Any, _: Any) -> str:
        text = str(request.messages[-1]["content"])
        number = int(text.split("#")[1].split()[0])
        kind = text.split()[0]
        return f"{kind if number % 2 == 0 else text} #{number} "

    model = ScriptedModel(answer)
    with using(model):
        for version in ("b of", "better"):
            graph = workflow(version)
            for number in range(20):
                thread = f"{version}-{number}"
                await graph.ainvoke(Five(f"#{number} "), session.config(thread))
    asked = session.journal.query(
        "SELECT step, count(*) AS n FROM calls "
        "WHERE thread_id LIKE 'better%' AND source = 'model' GROUP BY step"
    )
    # Every `two` changed; `two` answers "better #n" then, so `three` and `five` ask anew downstream of it.
    assert {row["step"]: row["n"] for row in asked} == {"two": 20, "three": 20, "five": 10}
    reasons = session.journal.query(
        "SELECT DISTINCT reason FROM calls WHERE thread_id LIKE 'better%' AND source = 'model'"
    )
    assert reasons == [{"reason": "no recorded call has this prompt"}]
    hits = session.journal.query(
        "SELECT count(*) AS n FROM calls WHERE thread_id LIKE 'better%' AND source = 'cache'"
    )
    assert hits == [{"n": 50}]


async def test_another_model_is_told_as_the_reason(session: Session, server: ChatServer) -> None:
    graph = chain(cached).compile()
    for name in ("small", "large"):
        with using(server.spec(model=name)):
            await graph.ainvoke(Text(), session.config(name))
    rows = session.journal.query("SELECT reason FROM calls ORDER BY started_at")
    assert [row["reason"] for row in rows] == ["the first call of this step", "the model was small"]


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "answers", "reason"),
    [
        ("How many?", None, ["many", 3, 4], "the recorded answer did not fit"),
        ("How many?", 5, [3, 4], 'the parameters were {"schema"'),
        ("How much?", None, [3, 4], "no recorded call has this prompt"),
    ],
    ids=["it did not fit", "other parameters", "another prompt"],
)
async def test_what_is_asked_says_why_no_recorded_answer_serves(
    session: Session, prompt: str, max_tokens: int | None, answers: list[Any], reason: str
) -> None:
    @dataclass
    class Count:
        prompt: str = "How many?"
        max_tokens: int | None = None
        number: int = 0

    @step("number", cache_s=60)
    def count(state: Count) -> Ask[int]:
        return Ask(state.prompt, max_tokens=state.max_tokens)

    graph = chain(count).compile()
    with ScriptedModel(answers) as model, using(model):
        await graph.ainvoke(Count(prompt, max_tokens), session.config("a"))
        await graph.ainvoke(Count(), session.config("b"))
    (row,) = session.journal.query("SELECT reason FROM calls WHERE thread_id = 'b'")
    assert row["reason"].startswith(reason)
