"""A fan-out that workers share gives what one gives that they do not, at the same cost, on every engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Budget, Session, asubmit, asubmitted, run, using
from stepgraph.errors import DefinitionError, InputError, RunFailed
from stepgraph.runners.sessions import session_at
from stepgraph.runners.spreading import chunks
from stepgraph.runners.turns import Turn
from stepgraph.state.journal.jobs import find_job

from . import flows
from .places import LIMIT_S, MODULE, Model, Place, until

pytestmark = pytest.mark.xdist_group("cluster")
NAMES = ["Ada", "Bob", "Cy", "Di", "Eve", "Flo", "Gus"]


async def submit(place: Place, graph: str, names: list[str], **options: Any) -> Any:
    name = f"{MODULE}:{graph}"
    return await asubmit(name, {"to": names}, db=place.db, on=place.on, thread_id=graph, **options)


def parts(place: Place, parent: str) -> list[str]:
    sql = "SELECT thread_id FROM job_parts WHERE parent = ? ORDER BY first"
    return [row["thread_id"] for row in session_at(place.db).journal.query(sql, (parent,))]


def here(graph: Any, names: list[str], tmp_path: Path) -> tuple[Any, Model]:
    model = Model()
    with Session(tmp_path / "here.sqlite") as session, using(model):
        return run(graph.compile(), flows.Mailing(names), session, "here"), model


async def test_result_and_cost_are_those_of_one_that_is_not_shared(place: Place, tmp_path: Path) -> None:
    async with place.worker("spread"):
        result = await (await submit(place, "spread", NAMES)).aresult(LIMIT_S)
    expected, model = here(flows.unspread, NAMES, tmp_path)
    assert (result.status, result.values) == ("done", expected.values)
    assert result.spent == expected.spent
    assert place.model.asked == model.asked
    threads = parts(place, "spread")
    assert len(threads) == 3
    sql = "SELECT thread_id, count(*) AS n FROM calls GROUP BY thread_id ORDER BY thread_id"
    rows = {row["thread_id"]: row["n"] for row in session_at(place.db).journal.query(sql)}
    assert rows == dict(zip(threads, (4, 4, 6), strict=True))


async def test_a_budget_holds_over_all_parts_and_goes_on_with_more(place: Place) -> None:
    async with place.worker("spread"):
        run = await submit(place, "spread", NAMES, budget=Budget(calls=9))
        result = await run.aresult(LIMIT_S)
        assert (result.status, result.spent.calls) == ("partial", 9)
        assert result.budget_end.limit == "calls"
        done = [mail.to for mail in result.values["mails"]]
        assert sum(place.model.asked.values()) == 9
        assert done == [name for name in NAMES if place.model.asked[f"Seal {name}"]]
        await run.aresume(budget=Budget(calls=14))
        result = await run.aresult(LIMIT_S)
    assert (result.status, result.spent.calls) == ("done", 14)
    assert [mail.to for mail in result.values["mails"]] == NAMES
    assert set(place.model.asked.values()) == {1}


async def test_what_was_done_is_kept_when_it_is_canceled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    canceled: list[str] = []
    cancel = Turn.cancel

    def canceling(turn: Turn, thread: str) -> None:
        canceled.append(thread)
        cancel(turn, thread)

    monkeypatch.setattr(Turn, "cancel", canceling)
    held = place.model.held["Write to Gus"] = asyncio.Event()
    async with place.worker("spread"):
        run = await submit(place, "spread", NAMES)
        await until(lambda: sum(place.model.asked[f"Seal {name}"] for name in NAMES) == 6)
        await run.acancel()
        await until(lambda: parts(place, "spread")[-1] in canceled)
        held.set()
        result = await run.aresult(LIMIT_S)
        assert (result.status, await run.astatus()) == ("partial", "canceled")
        assert [mail.to for mail in result.values["mails"]] == NAMES[:6]
        await run.aresume()
        result = await run.aresult(LIMIT_S)
    assert [mail.to for mail in result.values["mails"]] == NAMES
    assert set(place.model.asked.values()) == {1}


async def test_a_part_that_fails_fails_the_whole_or_leaves_its_item_out(place: Place) -> None:
    place.model.refused = {"Seal Cy"}
    async with place.worker("spread", "spread_skipping"):
        run = await submit(place, "spread", NAMES)
        with pytest.raises(RunFailed, match="it will not do"):
            await run.aresult(LIMIT_S)
        await run.aresume()
        assert [mail.to for mail in (await run.aresult(LIMIT_S)).values["mails"]] == NAMES
        assert place.model.asked["Seal Cy"] == 2
        place.model.refused = {"Seal Gus"}
        result = await (await submit(place, "spread_skipping", NAMES)).aresult(LIMIT_S)
    assert [mail.to for mail in result.values["mails"]] == NAMES[:6]
    assert list(result.values["left_out"]) == ["6"]


async def test_a_worker_that_ends_hands_over_parts_and_whoever_waits(place: Place) -> None:
    held = place.model.held["Write to Ada"] = asyncio.Event()
    async with place.worker("spread"):
        run = await submit(place, "spread", NAMES)
        await until(lambda: sum(place.model.asked[f"Seal {name}"] for name in NAMES) == 6)
        asyncio.get_running_loop().call_later(0.2, held.set)
    assert await run.astatus() == "queued"
    async with place.worker("spread"):
        result = await run.aresult(LIMIT_S)
    assert [mail.to for mail in result.values["mails"]] == NAMES
    assert set(place.model.asked.values()) == {1}


async def test_pieces_of_a_map_reduce_are_shared_and_reduced_as_here(place: Place, tmp_path: Path) -> None:
    async with place.worker("spread_digest"):
        result = await (await submit(place, "spread_digest", NAMES[:4])).aresult(LIMIT_S)
    expected, model = here(flows.reduced(None), NAMES[:4], tmp_path)
    assert (result.status, result.values, result.spent) == ("done", expected.values, expected.spent)
    assert place.model.asked == model.asked
    assert len(parts(place, "spread_digest")) == 2


async def test_a_review_in_a_part_waits_in_its_own_thread(place: Place) -> None:
    async with place.worker("spread_reviews"):
        run = await submit(place, "spread_reviews", ["Ada", "Bob"])
        await until(lambda: len(parts(place, "spread_reviews")) == 2)
        for thread in parts(place, "spread_reviews"):
            part = await asubmitted(thread, db=place.db, on=place.on)
            assert (await part.aresult(LIMIT_S)).status == "interrupted"
            await part.aanswer("approve")
        assert [mail.to for mail in (await run.aresult(LIMIT_S)).values["mails"]] == ["Ada", "Bob"]


def test_without_workers_nothing_is_shared(tmp_path: Path) -> None:
    result, model = here(flows.spread, NAMES, tmp_path)
    assert [mail.to for mail in result.values["mails"]] == NAMES
    assert sum(model.asked.values()) == 14
    with Session(tmp_path / "here.sqlite") as session:
        assert session.journal.query("SELECT * FROM job_parts") == []
        assert find_job(session.journal, "here") is None


async def test_what_workers_share_does_not_go_on_here(tmp_path: Path) -> None:
    place = Place(tmp_path / "runs.sqlite", "local", Model())
    place.model.held["Write to Ada"] = asyncio.Event()
    async with place.worker("spread") as worker:
        await submit(place, "spread", NAMES)
        await until(lambda: place.model.asked["Write to Ada"] == 1)
        worker.cancel()
        place.model.held["Write to Ada"].set()
    with Session(place.db) as session, using(Model()), pytest.raises(InputError, match="given to workers"):
        run(flows.spread.compile(), None, session, "spread")


@pytest.mark.parametrize("spread", [1, 0, -2, 2.5, True])
def test_a_number_of_parts_that_cannot_be_is_told(spread: Any) -> None:
    with pytest.raises(DefinitionError, match="how many jobs share the items"):
        flows.reduced(spread)


def test_chunks_are_even_and_in_order() -> None:
    assert chunks(NAMES, 3) == [NAMES[:2], NAMES[2:4], NAMES[4:]]
    assert chunks(NAMES[:2], 3) == [["Ada"], ["Bob"]]
