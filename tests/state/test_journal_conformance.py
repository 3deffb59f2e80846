"""What a journal and its threads do, whatever database holds them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import checkpointer_test
from langgraph.types import Command

from stepgraph import Session
from stepgraph.errors import InputError, StoreError, ThreadBusy
from stepgraph.state.blobs import referring
from stepgraph.state.journal.batches import Batch, BatchRequest, awaited, find_request, gather, keep_results
from stepgraph.state.journal.effects import (
    EffectRecord,
    Started,
    begin_effect,
    decide_effect,
    end_effect,
    find_effect,
    open_effects,
)
from stepgraph.state.journal.records import CallKey, NodeRun, Retrieval
from stepgraph.state.journal.retrievals import find_retrieval
from stepgraph.state.journal.waits import WaitRecord, begin_wait, end_wait, threads_due, waits_of
from stepgraph.tracing import diff, fork, read_history, read_run
from stepgraph.tracing.record.prune import PruneFilter, choose, delete_checkpoints, delete_threads
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.reads import records
from stepgraph.tracing.record.search import Search
from stepgraph.tracing.record.threads import count_threads, list_threads

from ..tracing.travels import asking, first_run, graph
from .conformance_cases import CALL, Place, _run, other as other, place as place, session as session

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


KEY = CallKey("t", CALL.task, "h", 0)


# The journal: calls, costs, images, waits, batches, effects


async def test_an_answer_is_found_again_and_the_first_one_stays(session: Session, other: Session) -> None:
    assert await session.journal.find_answer(KEY) is None
    await session.journal.commit_call(CALL)
    assert await other.journal.find_answer(KEY) == CALL
    await other.journal.commit_call(replace(CALL, id="2", answer="Steep."))
    found = await session.journal.find_answer(KEY)
    assert found is not None
    assert found.answer == "Boil."
    assert await session.journal.find_answer(replace(KEY, occurrence=1)) is None
    assert await session.journal.find_answer(replace(KEY, thread_id="u")) is None
    other.journal.flush()
    assert session.journal.query("SELECT count(*) AS n FROM replays") == [{"n": 2}]


async def test_answers_of_one_moment_are_all_kept(session: Session, other: Session) -> None:
    calls = [replace(CALL, id=str(number), occurrence=number) for number in range(300)]
    await asyncio.gather(*map(session.journal.commit_call, calls))
    assert other.journal.query("SELECT count(*) AS n, sum(cost_picos) AS c FROM calls") == [
        {"n": 300, "c": 30 * 10**12}
    ]
    assert other.journal.spent("t").known_usd == 30


async def test_images_are_kept_once_and_read_by_anyone(session: Session, other: Session) -> None:
    text = referring(f'[{{"role": "user", "content": "{PNG}"}}]')
    for number in range(3):
        await session.journal.commit_call(replace(CALL, id=str(number), occurrence=number, messages=text))
    (blob,) = other.journal.query("SELECT sha256, size FROM blobs")
    assert len(other.journal.blob(blob["sha256"])) == blob["size"]
    (row, *_) = other.journal.query("SELECT messages FROM calls")
    assert PNG not in row["messages"]
    assert PNG in other.journal.whole(row["messages"])
    with pytest.raises(StoreError):
        other.journal.blob("0" * 64)
    delete_threads(other, ["t"])
    assert session.journal.query("SELECT count(*) AS n FROM blobs") == [{"n": 0}]


async def test_retrievals_waits_and_batches_are_found_by_another_process(
    session: Session, other: Session
) -> None:
    journal = session.journal
    found = Retrieval("r", "t", "look:1", "look", "look", "h", "found", "shelf", "tea?", 0.1, 1.0, "[]", 0, 0)
    await journal.aadd(found)
    assert await find_retrieval(other.journal, "t", "look:1", "look", "h") == []
    wait = WaitRecord("t", "w:1", "w", "wait", 5.0, "waiting", 1.0, None)
    assert await begin_wait(journal, wait) == wait
    assert await begin_wait(other.journal, replace(wait, due=9.0)) == wait
    assert (threads_due(other.journal, 4.0), threads_due(other.journal, 5.0)) == ([], ["t"])
    await end_wait(journal, wait, "over", session.now())
    assert [each.status for each in waits_of(other.journal, "t", "wait")] == ["over"]
    assert waits_of(other.journal, "t", "review") == []
    journal.write([_run("t"), ("UPDATE runs SET status = 'running'", ())])
    await gather(journal, Batch("b", "openai", "x", "m", 1, "submitted"), [BatchRequest("q", "b", *_place())])
    request = await find_request(other.journal, KEY, "write", _nobody)
    assert request is not None
    assert [item.calls for item in awaited(other.journal, ["t"])["t"]] == [1]
    await keep_results(other.journal, "b", {"q": "{}"}, None)
    await journal.commit_call(replace(CALL, batch_request="q"))
    assert await find_request(journal, KEY, "write", _nobody) is None


def _place() -> tuple[Any, ...]:
    return "t", CALL.task, "write", "write", "h", 0


async def _nobody(namespace: str) -> list[str]:
    return []


async def test_an_effect_begins_once_whoever_tries(session: Session, other: Session) -> None:
    journals = [session.journal, other.journal] * 4
    begun = await asyncio.gather(
        *(begin_effect(each, "k", f"t{number}", "mail", again=False) for number, each in enumerate(journals))
    )
    (mine,) = (each for each in begun if isinstance(each, Started))
    assert [effect.key for effect in open_effects(other.journal)] == ["k"]
    again = await begin_effect(other.journal, "k", "t", "mail", again=True)
    assert isinstance(again, Started)
    await end_effect(session.journal, mine, '{"update": {}}')  # it is not its own any more
    assert [effect.key for effect in open_effects(session.journal)] == ["k"]
    await end_effect(session.journal, again, '{"update": {}}')
    done = await begin_effect(other.journal, "k", "t", "mail", again=True)
    assert isinstance(done, EffectRecord)
    with pytest.raises(InputError, match="that it happened"):
        decide_effect(other.journal, "k", happened=False)
    decide_effect(other.journal, "k", happened=False, change=True)
    undone = find_effect(session.journal, "k")
    assert undone is not None
    assert (undone.status, open_effects(session.journal)) == ("undone", [])
    begun = await begin_effect(session.journal, "k", "t", "mail", again=False)
    assert isinstance(begun, Started)


# Threads: claims, checkpoints, spans, forks, pruning


def test_a_thread_is_claimed_once(session: Session, other: Session) -> None:
    session.claims.acquire("t")
    with pytest.raises(ThreadBusy, match="'t'"):
        other.claims.acquire("t")
    other.claims.acquire("u")
    assert other.claims.is_run("t")
    session.claims.release("t")
    other.claims.acquire("t")
    with pytest.raises(ThreadBusy):
        session.claims.acquire("t")
    other.claims.release("t")
    other.claims.release("u")
    assert not session.claims.is_run("t")


async def test_the_checkpointer_does_all_that_langgraph_asks_of_one(place: Place) -> None:
    made = iter(range(1000))

    @checkpointer_test(name="SessionCheckpointer")
    async def saver() -> Any:
        with Session(place(f"saver_{next(made)}")) as session:
            yield session.checkpointer

    report = await validate(saver)
    assert {name: result.failures for name, result in report.results.items() if not result.passed} == {}
    assert len(report.results) >= 8


def test_a_run_is_resumed_and_read_back_by_another_process(session: Session, other: Session) -> None:
    app = first_run(session)
    with asking():
        done = app.invoke(Command(resume="yes"), other.config("t"))
    assert done["approved"] == "yes"
    spans = read_spans(session.journal.query, "t")
    shown = [(span.kind, span.path, span.status) for span in spans]
    assert shown[0][0] == "run"
    assert sum(kind == "call" for kind, _, _ in shown) == 9
    assert {span.status for span in spans} <= {"done", "interrupted"}
    assert all(span.checkpoint_id for span in spans if span.kind == "node")
    run = read_run(other, "t")
    assert (run.thread.cost.calls, run.thread.status) == (9, "done")
    assert len(read_history(other, "t")) == len(read_history(session, "t")) > 4


def test_a_fork_shares_and_a_pruned_thread_leaves_it(session: Session, other: Session) -> None:
    first_run(session)
    copy = fork(other, "t", new_thread="copy")
    assert copy == "copy"
    assert session.journal.query(
        "SELECT calls, shared, cost_usd FROM run_costs WHERE thread_id = 'copy'"
    ) == [{"calls": 9, "shared": 9, "cost_usd": 0.0}]
    assert diff(session, "t", "copy")
    assert [thread.thread_id for thread in list_threads(other.journal, order="costliest")] == ["t", "copy"]
    assert count_threads(other.journal, Search("COP")) == 1
    assert {row["record"] for row in records(other, ["t"])} >= {"run", "call", "node_run", "decision"}
    chosen = choose(other, PruneFilter(["t"]))
    assert [(each.thread_id, each.calls) for each in chosen] == [("t", 9)]
    before = chosen[0].checkpoints
    delete_threads(other, ["t"])
    assert choose(session, PruneFilter())[0].checkpoints <= before
    assert [thread.thread_id for thread in list_threads(session.journal)] == ["copy"]
    with asking():
        done = graph().invoke(Command(resume="yes"), session.config("copy"))
    assert done["approved"] == "yes"
    assert delete_checkpoints(other, ["copy"]) > 3
    assert read_history(session, "copy")


def test_node_runs_and_views_add_up(session: Session) -> None:
    first_run(session)
    session.journal.add(NodeRun("t", "late:1", "late", "late", 9, "failed", None, "broken", 1.0, 2.0))
    sums = "sum(calls) AS calls, sum(input_tokens) AS tokens, sum(cost_usd) AS usd"
    (whole,) = session.journal.query(
        "SELECT count(*) AS calls, sum(input_tokens) AS tokens, sum(cost_usd) AS usd FROM calls"
    )
    for view in ("steps", "costs_by_step", "run_costs"):
        assert session.journal.query(f"SELECT {sums} FROM {view}") == [pytest.approx(whole)], view
    assert session.journal.query("SELECT * FROM budgets") == []
