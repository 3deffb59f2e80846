from __future__ import annotations

import asyncio
from dataclasses import replace
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
