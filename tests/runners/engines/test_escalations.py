"""A review asks the next one by itself: on every engine, also where no worker lived when it was time."""

from __future__ import annotations

import asyncio

import pytest

from stepgraph.runners.sessions import session_at

from .places import LIMIT_S, Place, until

pytestmark = pytest.mark.xdist_group("cluster")
ASKED = "SELECT asked, until, asked_at FROM escalations WHERE thread_id = ? ORDER BY number"


async def test_a_review_asks_the_next_one_by_itself_and_takes_anybodys_answer(place: Place) -> None:
    async with place.worker("passed_on"):
        run = await place.submit("passed_on", "Ada")
        result = await run.aresult(LIMIT_S)
        (question,) = result.waiting
        assert question.value["asked"][0]["to"] == "ada"
        assert question.value["escalates"] < question.value["due"]
    journal = session_at(place.db).journal
    first, *_ = journal.query(ASKED, (run.thread_id,))
    if first["until"] is not None:  # nobody else was asked yet, while the first worker was there
        await asyncio.sleep(max(0.0, first["until"] - first["asked_at"]))
    async with place.worker("passed_on"):  # which comes up after the time
        await until(lambda: len(journal.query(ASKED, (run.thread_id,))) == 2)
        assert await run.astatus() in ("running", "waiting")
        await run.aanswer(answers={question.id: {"decision": "approve", "by": "ada"}})
        await until(lambda: place.model.asked["Seal Ada"] == 1)
        assert (await run.aresult(LIMIT_S)).status == "done"
    asked = journal.query(ASKED, (run.thread_id,))
    assert [(row["asked"], row["until"]) for row in asked] == [("ada", None), ("grace", None)]
    assert asked[0]["asked_at"] + 0.4 <= asked[1]["asked_at"]
    assert set(place.model.asked.values()) == {1}
