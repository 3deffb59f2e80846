from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from stepgraph import Ask, Budget, Session, chain, step, using
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.stack.hedging import HedgingLayer
from stepgraph.state.errors import ModelRefused, ModelUnavailable
from stepgraph.state.journal.records import HEDGE, CallKey
from stepgraph.state.session.internals import chunk_handler

from ...servers import Answer, ChatServer, Fault


@dataclass
class Post:
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


app = chain(write).compile()


def rows(session: Session) -> list[dict[str, Any]]:
    session.journal.flush()
    sql = "SELECT status, answer, reason, request_hash FROM calls ORDER BY started_at"
    return session.journal.query(sql)


async def test_a_straggler_is_doubled_and_cancelled(server: ChatServer, session: Session) -> None:
    server.will(Answer("slow", delay_s=30), Answer("fast"))
    with using(server.spec(hedge_after_s=0.1)):
        result = await app.ainvoke(Post(), session.config(budget=Budget(calls=5)))
    assert result["draft"] == "fast"
    slow, fast = rows(session)
    assert (slow["status"], fast["status"], fast["answer"]) == ("failed", "answered", "fast")
    assert fast["reason"] == "hedge: no answer after 0.1 s"
    assert fast["request_hash"] == slow["request_hash"] + HEDGE
    assert server.calls == 2


async def test_a_call_in_time_is_made_once(server: ChatServer, session: Session) -> None:
    with using(server.spec(hedge_after_s=60)):
        await app.ainvoke(Post(), session.config())
    assert server.calls == 1


async def test_an_error_in_time_is_told_at_once(server: ChatServer) -> None:
    server.always = Fault(500)
    with using(server.spec(hedge_after_s=60, retries=0)), pytest.raises(ModelUnavailable):
        await write.answer(Post())
    assert server.calls == 1


async def test_the_first_counts_although_the_second_failed(server: ChatServer, session: Session) -> None:
    has_failed = threading.Event()
    server.will(Answer("slow", once=has_failed.is_set), Fault(500))
    with using(server.spec(hedge_after_s=0.1, retries=0)):
        call = asyncio.create_task(app.ainvoke(Post(), session.config()))
        async with asyncio.timeout(60):
            while "failed" not in [row["status"] for row in rows(session)]:  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(0.01)
        has_failed.set()
        assert (await call)["draft"] == "slow"
    assert [row["status"] for row in rows(session)] == ["answered", "failed"]


async def test_a_hedge_needs_room_in_the_budget(server: ChatServer, session: Session) -> None:
    server.always = Answer("slow", delay_s=0.3)
    with using(server.spec(hedge_after_s=0.05)):
        result = await app.ainvoke(Post(), session.config(budget=Budget(calls=1)))
    assert result["draft"] == "slow"
    assert server.calls == 1


async def test_a_resume_replays_the_answer_of_the_second_call(server: ChatServer, session: Session) -> None:
    fails = [True]

    async def node(post: Post) -> dict[str, str]:
        draft = await write.answer(post)
        if fails.pop():
            raise RuntimeError("stop")
        return {"draft": draft}

    server.will(Answer("slow", delay_s=30), Answer("fast"))
    graph = chain(node).compile()
    with using(server.spec(hedge_after_s=0.1)):
        with pytest.raises(RuntimeError):
            await graph.ainvoke(Post(), session.config("t"))
        fails.append(False)
        assert (await graph.ainvoke(None, session.config("t")))["draft"] == "fast"
    assert server.calls == 2


HELLO = Request(({"role": "user", "content": "Hello"},))


class Twice:
    """Gives each call the outcome that a test sets, when it sets it."""

    name = "twice"

    def __init__(self) -> None:
        self.outcomes: list[asyncio.Future[str]] = []
        self.contexts: list[CallContext] = []
        self.both = asyncio.Event()
        self.ended = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        outcome = asyncio.get_running_loop().create_future()
        self.outcomes.append(outcome)
        self.contexts.append(context)
        if len(self.outcomes) == 2:
            self.both.set()
        try:
            return Reply(await outcome, self.name)
        finally:
            await asyncio.sleep(0)  # it goes on record
            self.ended += 1


async def both_under_way(context: CallContext) -> tuple[Twice, asyncio.Task[Reply]]:
    model = Twice()
    layer = HedgingLayer(model, 0.01)
    assert layer.name == "twice"
    call = asyncio.create_task(layer.complete(HELLO, context))
    await asyncio.wait_for(model.both.wait(), 60)
    return model, call


@pytest.mark.parametrize("quick", [0, 1], ids=["the first", "the second"])
async def test_the_first_answer_counts_and_the_other_call_is_cancelled(quick: int) -> None:
    model, call = await both_under_way(CallContext("step"))
    model.outcomes[quick].set_result("ok")
    assert (await call).text == "ok"
    assert model.outcomes[1 - quick].cancelled()
    assert model.ended == 2


@pytest.mark.parametrize("failed", [0, 1], ids=["the first", "the second"])
async def test_one_that_fails_leaves_the_other_its_time(failed: int) -> None:
    model, call = await both_under_way(CallContext("step"))
    model.outcomes[failed].set_exception(ModelRefused("no"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not call.done()
    model.outcomes[1 - failed].set_result("ok")
    assert (await call).text == "ok"


async def test_where_both_fail_the_first_ones_error_is_told() -> None:
    model, call = await both_under_way(CallContext("step"))
    model.outcomes[1].set_exception(ModelUnavailable("second"))
    model.outcomes[0].set_exception(ModelRefused("first"))
    with pytest.raises(ModelRefused, match="first"):
        await call


async def test_whoever_cancels_the_call_cancels_both() -> None:
    model, call = await both_under_way(CallContext("step"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [outcome.cancelled() for outcome in model.outcomes] == [True, True]


async def test_the_second_call_says_why_it_was_made_and_has_a_name_of_its_own() -> None:
    key = CallKey("t", "task", "hash", 2)
    for given, expected in ((key, CallKey("t", "task", f"hash{HEDGE}", 2)), (None, None)):
        model, call = await both_under_way(CallContext("step", key=given, reason="why"))
        model.outcomes[0].set_result("ok")
        await call
        first, second = model.contexts
        assert (first.key, first.reason) == (given, "why")
        assert (second.key, second.reason) == (expected, "hedge: no answer after 0.01 s")


async def test_a_call_that_somebody_listens_to_is_not_doubled() -> None:
    async def heard(_: object) -> None: ...

    listeners: list[BaseCallbackHandler] = [chunk_handler(heard, streams=True)]
    model = Twice()
    layer = HedgingLayer(model, 0)
    call = asyncio.create_task(layer.complete(HELLO, CallContext("step", config={"callbacks": listeners})))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(model.outcomes) == 1
    model.outcomes[0].set_result("ok")
    assert (await call).text == "ok"
