from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from stepgraph import Ask, Budget, Session, chain, step, using
from stepgraph.state.errors import ModelUnavailable
from stepgraph.state.journal.records import HEDGE

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
    server.will(Answer("slow", delay_s=2), Fault(500))
    with using(server.spec(hedge_after_s=0.1, retries=0)):
        assert (await app.ainvoke(Post(), session.config()))["draft"] == "slow"
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
