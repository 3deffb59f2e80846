"""Budgets on the wire: counted at the server, at 200 parallel branches, over resumes."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from stepgraph import Ask, ScriptedModel, Session, chain, fan_out as graphs_fan_out, step, using
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.prices import Price
from stepgraph.runners.run import arun, run
from stepgraph.state.budget import Budget
from stepgraph.state.cost import NOTHING, Cost
from stepgraph.state.errors import BudgetExceeded, SettingsError
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.records import Call
from stepgraph.state.names import LEDGERS_KEY

from ...servers import Answer, ChatServer, Fault


@dataclass
class Load:
    number: int = 0
    out: Annotated[list[str], operator.add] = field(default_factory=list)


@step("out")
def ask(load: Load) -> Ask[list[str]]:
    return Ask(f"Ticket {load.number}: say something kind.")


async def work(load: Load) -> dict[str, list[str]]:
    return {"out": [await one.answer(load)]}


@dataclass
class One(Load):
    text: str = ""


@step("text")
def one(load: One) -> Ask[str]:
    return Ask(f"Ticket {load.number}: say something kind.")


@dataclass
class Many:
    loads: list[One] = field(default_factory=list)


def fan_out(width: int) -> Any:
    graph = StateGraph(One)
    graph.add_node("work", work)  # type: ignore[arg-type]
    graph.add_conditional_edges(START, lambda _: [Send("work", One(n)) for n in range(width)], ["work"])
    graph.add_edge("work", END)
    return graph.compile()


async def test_calls_are_hard_at_200_parallel_branches_and_paid_answers_are_kept(
    session: Session, server: ChatServer
) -> None:
    server.always = Answer("kind", delay_s=0.005)
    graph = fan_out(200)
    with using(server.spec(max_concurrency=50)):
        result = await arun(graph, One(), session, "t", budget=Budget(calls=20))
        assert (result.status, server.calls, len(result.values["out"])) == ("partial", 20, 20)
        assert result.limit is not None
        assert "calls = 20" in result.limit
        assert result.spent == Cost(20, 20 * 100, 20 * 20, unknown=20)

        more = await arun(graph, None, session, "t", budget=Budget(calls=30))
        assert (more.status, server.calls, len(more.values["out"])) == ("partial", 30, 30)
        done = await arun(graph, None, session, "t", budget=Budget())
    assert (done.status, server.calls, len(done.values["out"])) == ("done", 200, 200)
    assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]


@pytest.mark.parametrize("width", [8, 200])
async def test_tokens_are_never_overspent_by_a_server_that_honours_max_tokens(
    session: Session, server: ChatServer, width: int
) -> None:
    server.always = Answer("kind", input_tokens=12, output_tokens=30, delay_s=0.002)
    with using(server.spec(max_tokens=30)):
        result = await arun(fan_out(width), One(), session, "t", budget=Budget(tokens=width * 20))
    assert result.status == "partial"
    assert server.calls * 42 == result.spent.tokens <= width * 20
    assert len(result.values["out"]) == server.calls
    assert {body["max_tokens"] for body in server.bodies} == {30}


async def test_money_is_never_overspent(session: Session, server: ChatServer) -> None:
    server.always = Answer("kind", input_tokens=12, output_tokens=30, delay_s=0.002)
    spec = server.spec(max_tokens=30, price={"input": 100, "output": 1000})
    with using(spec):
        result = await arun(fan_out(100), One(), session, "t", budget=Budget(usd=1.0))
    each = (12 * 100 + 30 * 1000) / 1e6
    assert result.spent.usd == pytest.approx(server.calls * each)
    assert 1.0 - 2 * (30 * 1000 + 100 * 100) / 1e6 < result.spent.usd <= 1.0


async def test_an_unbounded_answer_gets_a_bound_where_tokens_are_limited(
    session: Session, server: ChatServer
) -> None:
    with using(server.spec()):
        await arun(fan_out(1), One(), session, "t", budget=Budget(tokens=5000, answer_tokens=77))
        await arun(fan_out(1), One(), session, "u", budget=Budget(calls=5))
    assert [body.get("max_tokens") for body in server.bodies] == [77, None]


async def test_a_server_that_ignores_max_tokens_is_found_out(session: Session, server: ChatServer) -> None:
    server.always = Answer("kind", input_tokens=12, output_tokens=3000)
    with using(server.spec(max_tokens=30)):
        result = await arun(fan_out(50), One(), session, "t", budget=Budget(tokens=1000))
    assert result.status == "partial"
    assert result.spent.tokens == server.calls * 3012 > 1000


async def test_money_without_a_price_is_refused_before_anything_is_paid(
    session: Session, server: ChatServer
) -> None:
    with using(server.spec()), pytest.raises(SettingsError, match="price of served is not known"):
        await arun(fan_out(1), One(), session, "t", budget=Budget(usd=1))
    assert server.calls == 0


async def test_failed_attempts_count_as_calls(session: Session, server: ChatServer) -> None:
    server.always = Fault(status=500)
    with using(server.spec(retries=5)):
        result = await arun(fan_out(1), One(), session, "t", budget=Budget(calls=2))
    assert (result.status, server.calls, result.spent.calls) == ("partial", 2, 2)


async def test_the_clock_cancels_a_call_and_ends_the_run(session: Session, server: ChatServer) -> None:
    server.always = Answer("late", delay_s=600)
    with using(server.spec()):
        result = await arun(fan_out(2), One(), session, "t", budget=Budget(seconds=2))
    assert result.status == "partial"
    assert result.limit is not None
    assert "seconds = 2" in result.limit
    problems = session.journal.query("SELECT status, problem FROM calls")
    assert {row["status"] for row in problems} == {"failed"}


def test_the_limits_of_a_thread_survive_its_resume_in_another_session(
    session: Session, server: ChatServer
) -> None:
    with using(server.spec()):
        run(fan_out(9), One(), session, "t", budget=Budget(calls=3))
        with Session(session.path) as other:
            assert run(fan_out(9), None, other, "t").status == "partial"
            assert server.calls == 3
            assert run(fan_out(9), None, other, "t", budget=Budget(calls=9)).status == "done"
    assert server.calls == 9


async def test_without_a_checkpointer_the_end_is_an_error(session: Session) -> None:
    config = session.config("t", budget=Budget(calls=0))
    with using(ScriptedModel(["x"])), pytest.raises(BudgetExceeded, match="calls = 0"):
        await one.answer(One(), config)


async def test_a_scripted_price_makes_a_money_budget_testable(session: Session) -> None:
    model = ScriptedModel(lambda *_: "three short words", price=Price(input=0, output=1e6))
    with using(model):
        result = await arun(fan_out(5), One(), session, "t", budget=Budget(usd=7, answer_tokens=3))
    assert (result.status, result.spent.usd) == ("partial", pytest.approx(6))


async def cancelled(running: asyncio.Task[Any]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_answer_that_comes_right_before_a_cancellation_is_paid_for(
    session: Session, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on record, so the budget knows of it too, in this invocation as in the next one."""
    commit, committed = Journal.commit_call, asyncio.Event()

    async def slowly(journal: Journal, call: Call) -> None:
        await commit(journal, call)
        committed.set()
        await asyncio.sleep(600)

    monkeypatch.setattr(Journal, "commit_call", slowly)
    config = session.config("t", budget=Budget(tokens=10_000))
    with using(server.spec()):
        running = asyncio.create_task(fan_out(1).ainvoke(One(), config))
        await committed.wait()
        await cancelled(running)
    (ledger,) = config.get("configurable", {})[LEDGERS_KEY]
    assert ledger.spent == session.spent("t") == Cost(calls=1, input_tokens=100, output_tokens=20, unknown=1)
    assert ledger.reserved == NOTHING


async def test_a_call_that_is_cancelled_in_line_was_never_made(session: Session, server: ChatServer) -> None:
    server.always = Answer("x", delay_s=600)
    config = session.config("t", budget=Budget(calls=100))
    with using(server.spec(max_concurrency=2)):
        running = asyncio.create_task(fan_out(20).ainvoke(One(), config))
        while server.calls < 2:  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.01)
        await cancelled(running)
    (ledger,) = config.get("configurable", {})[LEDGERS_KEY]
    assert server.calls == 2
    assert ledger.spent == session.spent("t") == Cost(calls=2)
    assert ledger.reserved == NOTHING


async def test_a_budget_that_ends_in_a_task_group_pauses_the_run(
    session: Session, server: ChatServer
) -> None:
    """Not even a fan-out that leaves out what fails may take it for a failure."""

    async def two(load: One) -> dict[str, str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.answer(One(2 * load.number + n))) for n in range(2)]
        return {"text": " ".join(task.result() for task in tasks)}

    def split(many: Many) -> list[One]:
        return [One(number) for number in range(5)]

    app = graphs_fan_out(split, two, into="loads", failed="skip").compile()
    with using(server.spec()):
        result = await arun(app, Many(), session, "t", budget=Budget(calls=4))
        assert (result.status, server.calls) == ("partial", 4)
        result = await arun(app, None, session, "t", budget=Budget())
    assert result.status == "done"
    assert len(result.values["loads"]) == 5


@dataclass
class Text:
    text: str = ""


@pytest.mark.parametrize("price", [None, Price(input=1000, output=1000)])
async def test_a_server_that_counts_nothing_is_charged_the_same_after_a_resume(
    session: Session, price: Price | None
) -> None:
    class Silent:
        name = "silent"
        calls = 0

        def __init__(self) -> None:
            self.price = price

        async def complete(self, request: Request, context: CallContext) -> Reply:
            Silent.calls += 1
            return Reply("said", "silent")

    def asking(number: int) -> Any:
        def ask(state: Text) -> Ask[str]:
            return Ask(f"{number} of many", max_tokens=50)

        ask.__name__ = f"ask_{number}"
        return step("text")(ask)

    app = chain(*(asking(number) for number in range(6))).compile()
    limits = Budget(tokens=400) if price is None else Budget(usd=0.4)
    with using(Silent()):
        first = await arun(app, Text(), session, "t", budget=limits)
        made = Silent.calls
        again = [await arun(app, None, session, "t") for _ in range(2)]
    assert [first.status, *(result.status for result in again)] == ["partial"] * 3
    assert 0 < Silent.calls == made < 6
