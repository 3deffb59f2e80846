from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.errors import StoreError
from stepgraph.state.journal.records import Call, CallKey, Decision, Description

CALL = Call(
    id="1",
    thread_id="t",
    task="inner:1|write:2",
    path="inner/write",
    step="write",
    role=None,
    request_hash="h",
    occurrence=0,
    attempt=1,
    status="answered",
    model_asked="m",
    messages="[]",
    params="{}",
    latency_s=0.1,
    started_at=1.0,
    answer="Boil.",
)
KEY = CallKey("t", CALL.task, "h", 0)


class Execution:
    """Stands for one execution of a node."""


async def test_a_committed_answer_is_found_again(session: Session) -> None:
    assert await session.journal.find_answer(KEY) is None
    await session.journal.commit_call(CALL)
    assert await session.journal.find_answer(KEY) == CALL
    assert await session.journal.find_answer(replace(KEY, occurrence=1)) is None
    assert session.journal.query("SELECT replays FROM calls") == [{"replays": 1}]


async def test_a_failed_call_is_kept_but_is_no_answer(session: Session) -> None:
    await session.journal.commit_call(replace(CALL, status="failed", answer=None, problem="HTTP 500"))
    assert await session.journal.find_answer(KEY) is None
    assert session.journal.query("SELECT problem FROM calls") == [{"problem": "HTTP 500"}]


async def test_the_first_answer_to_a_call_stays(session: Session) -> None:
    await session.journal.commit_call(CALL)
    await session.journal.commit_call(replace(CALL, id="2", answer="Steep."))
    assert session.journal.query("SELECT answer, status FROM calls ORDER BY id") == [
        {"answer": "Boil.", "status": "answered"},
        {"answer": "Steep.", "status": "superseded"},  # it was paid for, too
    ]


@pytest.mark.sqlite_file("the commits of the connection to the file")
async def test_answers_that_arrive_together_are_committed_together(session: Session) -> None:
    commits: list[str] = []
    session.journal.store._connection.set_trace_callback(
        lambda sql: commits.append(sql) if sql == "COMMIT" else None
    )
    calls = [replace(CALL, id=str(number), occurrence=number) for number in range(50)]
    await asyncio.gather(*map(session.journal.commit_call, calls))
    assert len(commits) == 1
    assert session.journal.query("SELECT count(*) AS n FROM calls") == [{"n": 50}]


async def test_a_cancelled_waiter_takes_nobody_along(session: Session) -> None:
    journal = session.journal
    first = asyncio.create_task(journal.commit_call(CALL))
    second = asyncio.create_task(journal.commit_call(replace(CALL, id="2", occurrence=1)))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert journal.query("SELECT count(*) AS n FROM calls") == [{"n": 2}]


@pytest.mark.sqlite_file("a table of the file that is gone")
async def test_a_failed_commit_reaches_everyone_who_waits(session: Session) -> None:
    session.journal.store._connection.execute("DROP TABLE calls")
    calls = [session.journal.commit_call(replace(CALL, occurrence=number)) for number in range(2)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]


def test_equal_requests_of_one_execution_are_numbered(session: Session) -> None:
    one, other = Execution(), Execution()
    numbered = [session.journal.occurrence(one, "t", "task", digest) for digest in ("h", "h", "i")]
    assert numbered == [0, 1, 0]
    assert session.journal.occurrence(other, "t", "task", "h") == 0


def test_the_last_word_of_a_task_counts(session: Session) -> None:
    decision = Decision("t", "pick:1", "pick", "route", "tea", 0.5, None, 1.0)
    session.journal.add(decision)
    session.journal.add(replace(decision, choice="coffee"))
    assert session.journal.query("SELECT choice FROM decisions") == [{"choice": "coffee"}]


async def test_listeners_hear_of_every_record_once_it_is_kept(session: Session) -> None:
    heard: list[Any] = []
    session.journal.listeners.append(heard.append)
    await session.journal.commit_call(CALL)
    assert heard == [CALL]


async def test_listeners_hear_of_what_is_added_and_of_what_is_committed_at_once(session: Session) -> None:
    heard: list[Any] = []
    session.journal.listeners.append(heard.append)
    decision = Decision("t", "pick:1", "pick", "route", "tea", 0.5, None, 1.0)
    session.journal.add(decision)
    await session.journal.aadd(other := replace(decision, task="pick:2"))
    assert heard == [decision, other]
    assert session.journal.query("SELECT count(*) AS n FROM decisions") == [{"n": 2}]


async def test_a_thread_is_touched_once_it_was_claimed(session: Session) -> None:
    session.claims.acquire("t")
    session.claims.release("t")
    found = await asyncio.gather(*map(session.journal.is_touched, ("t", "u")))
    assert found == [True, False]


def test_a_run_has_a_beginning_and_an_end(session: Session) -> None:
    journal = session.journal
    journal.start_run("t", description=Description("flow.py:app", {"default": "local"}, {"topic": "tea"}))
    journal.end_run("t", "failed", "boom")
    (run,) = journal.query("SELECT graph, models, input, status, error FROM runs")
    assert run == {
        "graph": "flow.py:app",
        "models": '{"default": "local"}',
        "input": '{"topic": "tea"}',
        "status": "failed",
        "error": "boom",
    }


@pytest.mark.parametrize(
    ("ended", "input", "going_on", "trace"),
    [
        (True, None, True, 0),  # an interrupt is answered
        (False, None, True, 0),  # a crash, and going on without input
        (False, '{"topic": "tea"}', False, 0),  # a crash, and the same input once more
        (True, '{"topic": "tea"}', False, 1),
        (False, '{"topic": "milk"}', False, 1),
    ],
)
def test_only_new_input_begins_a_new_trace(
    session: Session, ended: bool, input: str | None, going_on: bool, trace: int
) -> None:
    journal = session.journal
    journal.start_run("t")
    tea = '{"topic": "tea"}'
    journal.begin_invocation("t", {"input": tea, "input_digest": tea}, going_on=False)
    if ended:
        journal.end_run("t", "done")
    journal.begin_invocation("t", {"input": input, "input_digest": input}, going_on=going_on)
    rows = journal.query("SELECT trace FROM invocations ORDER BY id")
    assert [row["trace"] for row in rows] == [0, trace]


def test_what_waits_is_written_when_the_session_ends(session: Session) -> None:
    session.journal.start_run("t")
    session.close()
    with Session(session.database) as again:
        assert again.journal.query("SELECT status FROM runs") == [{"status": "running"}]


def test_each_attempt_at_an_execution_counts_anew(session: Session) -> None:
    one, journal = Execution(), session.journal
    asked = [("task", "h", 1), ("task", "h", 2), ("task", "h", 2), ("other", "h", 1), ("task", "h", 1)]
    numbers = [journal.occurrence(one, "t", task, digest, attempt=n) for task, digest, n in asked]
    assert numbers == [0, 0, 1, 0, 1]


async def test_a_call_outside_of_any_graph_has_a_number_of_its_own(session: Session) -> None:
    journal = session.journal
    assert journal.occurrence(None, "t", CALL.task, "h") == 0
    await journal.commit_call(CALL)
    await journal.commit_call(replace(CALL, id="2", occurrence=1, status="failed"))
    assert journal.occurrence(None, "t", CALL.task, "h") == 2
    assert journal.occurrence(None, "t", "another", "h") == journal.occurrence(None, "t", CALL.task, "i") == 0


async def test_a_replay_is_on_record(session: Session) -> None:
    await session.journal.commit_call(CALL)
    for _ in range(2):
        await session.journal.find_answer(KEY)
    assert (
        session.journal.query("SELECT thread_id, task, call_id FROM replays")
        == [{"thread_id": "t", "task": CALL.task, "call_id": "1"}] * 2
    )
    assert session.journal.query("SELECT replays FROM calls") == [{"replays": 2}]


@pytest.mark.parametrize("finder", ["find_answer", "find_coalesced", "find_rejected"])
async def test_nothing_is_looked_up_for_a_call_of_a_new_thread(
    session: Session, finder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = session.journal
    session.claims.acquire("t")
    journal.new_threads.begin("t")
    looked: list[Any] = []
    arows = journal.arows
    monkeypatch.setattr(journal, "arows", lambda *asked: looked.append(asked) or arows(*asked))
    assert not await getattr(journal, finder)(KEY)
    assert not looked
    await journal.commit_call(CALL)
    await getattr(journal, finder)(KEY)
    assert looked
    session.claims.release("t")


def test_what_is_added_to_a_new_thread_is_known(session: Session) -> None:
    journal = session.journal
    journal.new_threads.begin("t")
    journal.add(replace(CALL, occurrence=4))
    assert journal.new_threads.may_have(replace(KEY, occurrence=4))
    assert not journal.new_threads.may_have(KEY)
    journal.note_coalesced(KEY, "leader")
    assert journal.new_threads.may_have(KEY)


async def test_who_waited_for_an_equal_call_finds_its_answer(session: Session) -> None:
    journal = session.journal
    mine = replace(KEY, task="mine:1", occurrence=0)
    journal.note_coalesced(mine, "nobody:1")
    assert await journal.find_coalesced(mine) is None
    journal.note_coalesced(mine, CALL.task)
    await journal.commit_call(CALL)
    assert await journal.find_coalesced(mine) == CALL
    assert await journal.find_coalesced(replace(mine, task="other:1")) is None


async def test_answers_that_were_rejected_are_found_in_their_order(session: Session) -> None:
    journal, heard = session.journal, list[Any]()
    journal.listeners.append(heard.append)
    calls = [replace(CALL, id=str(n), started_at=9.0 - n) for n in range(3)]
    for call in calls:
        await journal.commit_call(call)
        journal.reject("t", [call.id])
        assert await journal.find_answer(KEY) is None
    assert [call.id for call in await journal.find_rejected(KEY)] == ["2", "1", "0"]
    assert await journal.find_rejected(replace(KEY, occurrence=1)) == []
    assert heard == calls


def test_a_rejection_is_written_at_once(session: Session) -> None:
    session.journal.add(CALL)
    session.journal.reject("t", ["1", "nobody's"])
    with Session(session.database) as other:
        assert other.journal.query("SELECT status FROM calls") == [{"status": "rejected"}]


async def test_a_cached_answer_is_young_enough_and_fits(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, now = session.journal, 10_000.0
    monkeypatch.setattr("stepgraph.state.journal.journal.time", SimpleNamespace(time=lambda: now))
    calls = {
        "young": replace(CALL, started_at=now - 50, thread_id="a"),
        "older": replace(CALL, started_at=now - 5000, thread_id="b"),
        "other": replace(CALL, started_at=now, thread_id="c", request_hash="i"),
        "wrong": replace(CALL, started_at=now, thread_id="d"),
    }
    for name, call in calls.items():
        await journal.commit_call(replace(call, id=name))
    journal.note_problem("d", "wrong", "it does not fit")
    found = await journal.find_cached("h", 50)
    assert found is not None
    assert found.id == "young"
    assert await journal.find_cached("h", 49) is None


async def test_the_nearest_answer_of_a_step_is_found(session: Session) -> None:
    journal = session.journal
    calls = {"old": CALL, "new": replace(CALL, started_at=2.0), "words": replace(CALL, messages='["x"]')}
    calls["equal"] = replace(CALL, request_hash="i")
    calls["other"] = replace(CALL, step="other", started_at=9.0)
    for number, (name, call) in enumerate(calls.items()):
        await journal.commit_call(replace(call, id=name, occurrence=number))

    async def found(digest: str, messages: str) -> str | None:
        call = await journal.find_like("write", digest, messages)
        return call and call.id

    assert [await found("i", "?"), await found("?", '["x"]'), await found("?", "[]")] == [
        "equal",
        "words",
        "new",
    ]
    assert await journal.find_like("nobody's", "h", "[]") is None


def test_a_problem_is_kept_without_keys(session: Session) -> None:
    session.journal.add(CALL)
    key = f"sk-proj-{'aB3' * 12}"
    session.journal.note_problem("t", "1", f"HTTP 401 for {key}")
    session.journal.flush()
    ((problem,),) = session.journal.rows("SELECT problem FROM calls")
    assert problem.startswith("HTTP 401 for ")
    assert key not in problem


def test_a_thread_that_waits_to_begin_is_queued_once(session: Session) -> None:
    journal = session.journal
    journal.queue_run("t", Description("flow.py:app", {}, 1))
    journal.queue_run("t", Description("other.py:app", {}, 2))
    told = "SELECT graph, input, status, lane, budget FROM runs"
    queued = {"graph": "flow.py:app", "input": "1", "status": "queued", "lane": None, "budget": None}
    assert journal.query(told) == [queued]
    journal.start_run("t", "f", "{}", lane="batch")
    journal.start_run("t")
    journal.flush()
    assert journal.query(told) == [{**queued, "status": "running", "lane": "batch", "budget": "{}"}]
