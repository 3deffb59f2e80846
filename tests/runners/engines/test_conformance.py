"""What every engine promises: threads run at workers as they do here, and nothing is paid twice or lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stepgraph import Budget, Session, asubmit, asubmitted, aworker
from stepgraph.errors import AnswerTooLate, InputError, RunFailed
from stepgraph.runners.loading import Loaded
from stepgraph.runners.sessions import close_sessions
from stepgraph.state.halts import Halt
from stepgraph.state.journal.jobs import JobRecord, submit_job

from . import flows
from .places import LIMIT_S, MODULE, Model, Place, ended, until

pytestmark = pytest.mark.xdist_group("cluster")


async def test_a_thread_ends_as_it_does_here_and_the_same_input_is_the_same_job(place: Place) -> None:
    async with place.worker("plain"):
        run = await place.submit("plain", "Ada", user="ada", tags=["x"])
        result = await run.aresult(LIMIT_S)
        again = await place.submit("plain", "Ada")
        assert (await again.aresult(LIMIT_S)).values == result.values
        with pytest.raises(InputError, match="JSON, which cannot say it"):
            await asubmit(f"{MODULE}:plain", {"to": object()}, db=place.db, on=place.on)
    assert result.status == "done"
    assert result.value == flows.Mail("Ada", "Write to Ada, 1", "Seal Ada, 1")
    assert result.spent.calls == 2
    assert set(place.model.asked.values()) == {1}


async def test_an_answer_from_elsewhere_goes_on_and_what_cannot_be_taken_is_refused(place: Place) -> None:
    async with place.worker("asking"):
        run = await place.submit("asking", "Ada")
        result = await run.aresult(LIMIT_S)
        assert result.status == "interrupted"
        other = await asubmitted(run.thread_id, db=place.db, on=place.on)
        for wrong in ("reject", {"decision": "perhaps"}, {"decision": "edit"}):
            with pytest.raises(InputError, match="cannot take that"):
                await other.aanswer(wrong)
        with pytest.raises(InputError, match="No question"):
            await other.aanswer(answers={"0" * 32: "approve"})
        await other.aanswer({"decision": "edit", "value": "Better", "by": "grace"})
        result = await run.aresult(LIMIT_S)
        assert (result.status, result.values["text"]) == ("done", "Better")
        with pytest.raises(InputError, match="it has ended"):
            await run.aanswer("approve")
    assert set(place.model.asked.values()) == {1}


async def test_a_deadline_passes_by_itself(place: Place) -> None:
    async with place.worker("hasty"):
        run = await place.submit("hasty", "Ada")
        await until(lambda: place.model.asked["Seal Ada"] == 1)
        assert (await run.aresult(LIMIT_S)).status == "done"
        with pytest.raises((AnswerTooLate, InputError)):
            await run.aanswer("approve")


async def test_a_budgets_end_is_partial_and_goes_on_with_more(place: Place) -> None:
    async with place.worker("plain"):
        run = await place.submit("plain", "Ada", budget=Budget(calls=1))
        result = await run.aresult(LIMIT_S)
        assert (result.status, result.spent.calls) == ("partial", 1)
        await run.aresume(budget=Budget(calls=2))
        result = await run.aresult(LIMIT_S)
    assert (result.status, result.spent.calls) == ("done", 2)
    assert set(place.model.asked.values()) == {1}


async def test_a_failure_is_told_and_only_what_passes_is_tried_again(place: Place) -> None:
    place.model.refused = {"Seal Ada"}
    flows.FAILURES["Bob"] = 1
    async with place.worker("plain", "shaky"):
        run, shaken = await place.submit("plain", "Ada"), await place.submit("shaky", "Bob")
        with pytest.raises(RunFailed, match="it will not do") as failed:
            await run.aresult(LIMIT_S)
        assert failed.value.kind == "ModelRefused"
        assert await run.astatus() == "failed"
        await run.aresume()
        assert (await run.aresult(LIMIT_S)).status == "done"
        assert (await shaken.aresult(LIMIT_S)).values["tries"] == 1
    assert place.model.asked == {"Write to Ada": 1, "Seal Ada": 2, "Write to Bob": 1, "Seal Bob": 1}


async def test_canceling_keeps_the_call_under_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    ask = Halt.ask
    monkeypatch.setattr(Halt, "ask", lambda halt, reason: (heard.append(reason), ask(halt, reason))[1])
    held = place.model.held["Write to Ada"] = asyncio.Event()
    async with place.worker("plain"):
        run = await place.submit("plain", "Ada")
        await until(lambda: place.model.asked["Write to Ada"] == 1)
        await run.acancel()
        await until(lambda: bool(heard))
        held.set()
        result = await run.aresult(LIMIT_S)
        assert (result.status, await run.astatus()) == ("partial", "canceled")
        assert result.values["text"] == "Write to Ada, 1"
        await run.aresume()
        assert (await run.aresult(LIMIT_S)).status == "done"
    assert set(place.model.asked.values()) == {1}


async def test_a_worker_that_ends_hands_over_when_its_call_is_kept(place: Place) -> None:
    held = place.model.held["Write to Ada"] = asyncio.Event()
    async with place.worker("plain") as first:
        run = await place.submit("plain", "Ada")
        await until(lambda: place.model.asked["Write to Ada"] == 1)
        ending = asyncio.create_task(ended(first))
        await asyncio.sleep(0.1)
        assert not ending.done()
        held.set()
        await ending
        assert place.model.asked["Seal Ada"] == 0
        async with place.worker("plain"):
            assert (await run.aresult(LIMIT_S)).status == "done"
    assert set(place.model.asked.values()) == {1}


async def test_graphs_of_all_kinds_run_unedited(place: Place) -> None:
    flows.FAILURES["Ada"] = 1
    async with place.worker("mixed"):
        run = await place.submit("mixed", "Ada")
        result = await run.aresult(LIMIT_S)
    assert (result.status, result.values["tries"]) == ("done", 1)
    # Equal votes stay draws of their own; two that differ may decide before the third is asked.
    assert place.model.asked["Write to Ada"] in {3, 4}
    assert place.model.asked["Seal Ada"] == 1


async def test_an_answer_for_which_no_worker_is_there_is_taken_by_the_next_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.on.startswith("temporal"):
        monkeypatch.setattr("stepgraph.runners.engines.temporal.ANSWER_S", 0.5)
    async with place.worker("asking"):
        run = await place.submit("asking", "Ada")
        assert (await run.aresult(LIMIT_S)).status == "interrupted"
    await run.aanswer("approve")
    async with place.worker("asking"):
        assert (await run.aresult(LIMIT_S)).status == "done"
    assert set(place.model.asked.values()) == {1}


async def test_a_state_of_20_mb_comes_back_whole(place: Place) -> None:
    async with place.worker("heavy"):
        run = await place.submit("heavy", "Ada")
        assert (await run.aresult(LIMIT_S)).status == "interrupted"
        await run.aanswer("approve")
        result = await run.aresult(LIMIT_S)
    assert (result.status, sum(map(len, result.values["parts"]))) == ("done", 20_000_000)
    assert set(place.model.asked.values()) == {1}


async def test_a_job_chooses_no_code(place: Place, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    async with place.worker("plain"):
        run = await asubmit("evil.py:app", {}, db=place.db, on=place.on, thread_id="evil")
        other = await place.submit("plain", "Ada")
        await other.aresult(LIMIT_S)
        assert await run.astatus() == "queued"
    assert not (tmp_path / "touched").exists()


def test_a_record_does_not_choose_where_we_connect_to(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    with Session(file) as session:
        elsewhere = JobRecord("one", "blog", 0, {}, engine="temporal://example.org:7233")
        submit_job(session.journal, elsewhere)
    with pytest.raises(InputError, match="If you trust that address, name it: --on"):
        asyncio.run(asubmitted("one", db=file))
    close_sessions()


async def test_a_result_is_told_where_the_graph_is_not_known(tmp_path: Path) -> None:
    file, model = tmp_path / "runs.sqlite", Model()
    served = {"mine": Loaded(flows.plain.compile(), "mine")}
    worker = asyncio.create_task(aworker(served, db=file, models=model))
    run = await asubmit("mine", {"to": "Ada"}, db=file, thread_id="one", budget=Budget(calls=1))
    result = await run.aresult(LIMIT_S)
    assert (result.status, result.values["text"]) == ("partial", "Write to Ada, 1")
    assert "calls = 1" in str(result.limit)
    await ended(worker)
    close_sessions()
