"""A worker that is given a thread again while its own run of it still ends: what becomes of each turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, review, step, using
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners import turn_ends, turns
from stepgraph.runners.loading import Loaded
from stepgraph.runners.turns import Outcome, Turn
from stepgraph.state.errors import ClaimLost, InputError
from stepgraph.state.halts import Halt
from stepgraph.state.journal.job_turns import begin_turn, end_turn, take_job
from stepgraph.state.journal.jobs import JobRecord, find_job, give_answers, submit_job, wake_job
from stepgraph.state.journal.records import insert
from stepgraph.tracing.record.pending import read_waiting

from ..state.journal.test_journal import CALL
from .engines.flows import Mail

LEASE_S = 60.0


@step("text")
def write(mail: Mail) -> Ask[str]:
    return Ask(f"Write to {mail.to}")


@step("seal")
def seal(mail: Mail) -> Ask[str]:
    return Ask(f"Seal {mail.to}")


@review("text")
def check(mail: Mail) -> str:
    return f"Send {mail.text!r}?"


class Held(ScriptedModel):
    """Holds each call back until it may answer."""

    def __init__(self) -> None:
        super().__init__(lambda *_: "yes")
        self.asked: Counter[str] = Counter()
        self.begun, self.may = asyncio.Event(), asyncio.Event()

    async def complete(self, request: Request, context: CallContext) -> Any:
        self.asked[str(request.messages[-1]["content"])] += 1
        self.begun.set()
        await self.may.wait()
        return await super().complete(request, context)


def worker(session: Session, graph: Any) -> Turn:
    return Turn(session, {"mail": Loaded(graph.compile(), "mail")}, grace_s=60.0)


def submit(session: Session) -> None:
    submit_job(session.journal, JobRecord("t", "mail", 0, {"to": "Ada"}))


def taken(session: Session, turn: Turn) -> JobRecord:
    record = take_job(session.journal, ["mail"], turn.owner, LEASE_S)
    assert record is not None
    return record


def status(session: Session) -> str:
    record = find_job(session.journal, "t")
    assert record is not None
    return record.status


async def handed_back(session: Session, last: JobRecord) -> None:
    """Have another worker take a thread over, and hand it over itself at once, as at a deploy."""
    record = await begin_turn(session.journal, "t", "another", last.epoch + 1, ["mail"])
    assert record is not None
    await end_turn(session.journal, record, "queued", after_s=0.0)


async def both(session: Session, model: Held, forsaken: bool) -> list[Outcome]:
    """Return how two turns of one worker ended, between which another one had the thread."""
    turn = worker(session, chain(write, seal))
    submit(session)
    first = taken(session, turn)
    turning = [asyncio.create_task(turn.take(first))]
    await model.begun.wait()
    await handed_back(session, first)
    if forsaken:
        turn.forsake("t", first.epoch)
    second = taken(session, turn)
    turning.append(asyncio.create_task(turn.take(second)))
    await asyncio.sleep(0)
    turn.forsake("t", first.epoch)  # told late: the thread is ours again
    model.may.set()
    return list(await asyncio.gather(*turning))


@pytest.mark.parametrize(
    ("forsaken", "first"), [(True, "handed_over"), (False, "done")], ids=["it was told so", "it never knew"]
)
async def test_a_worker_ends_a_thread_that_it_lost_and_got_again(
    session: Session, forsaken: bool, first: str
) -> None:
    model = session.models = Held()
    outcomes = await both(session, model, forsaken)
    assert [outcome.status for outcome in outcomes] == [first, "done"]
    assert status(session) == "done"
    assert model.asked == {"Write to Ada": 1, "Seal Ada": 1}


async def test_a_thread_that_nobody_else_took_is_queued_again_and_not_canceled(session: Session) -> None:
    model = session.models = Held()
    turn = worker(session, chain(write, seal))
    submit(session)
    record = taken(session, turn)
    turning = asyncio.create_task(turn.take(record))
    await model.begun.wait()
    turn.forsake("t", record.epoch)
    model.may.set()
    assert (await turning).status == "handed_over"
    assert status(session) == "queued"
    assert (await turn.take(taken(session, turn))).status == "done"
    assert model.asked == {"Write to Ada": 1, "Seal Ada": 1}


async def test_an_answer_that_comes_while_its_turn_ends_has_a_turn_of_its_own(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = session.models = Held()
    model.may.set()
    again: list[asyncio.Task[Outcome]] = []
    turn = worker(session, chain(write, check))
    ended = turn_ends.end_turn

    async def answered(*arguments: Any, **options: Any) -> Any:
        """Give the answer right after the end of the first turn is on record."""
        found = await ended(*arguments, **options)
        if found == "waiting":
            await answer()
        return found

    async def answer() -> None:
        (waiting,) = read_waiting(session, "t")
        give_answers(session.journal, "t", {waiting.id: "approve"})
        wake_job(session.journal, "t")
        again.append(asyncio.create_task(turn.take(taken(session, turn))))

    monkeypatch.setattr(turn_ends, "end_turn", answered)
    submit(session)
    assert (await turn.take(taken(session, turn))).status == "interrupted"
    assert (await again[0]).status == "done"
    assert status(session) == "done"


async def test_a_turn_is_begun_once_more_by_its_own_worker_alone_and_not_by_one_that_does_not_serve_it(
    session: Session,
) -> None:
    """As where the connection is lost before the worker hears that its turn has begun."""
    submit(session)
    assert await begin_turn(session.journal, "t", "one", 5, ["other"]) is None
    assert status(session) == "queued"
    begun = [await begin_turn(session.journal, "t", "one", 5, ["mail"]) for _ in range(2)]
    assert [record and (record.owner, record.epoch, record.begun) for record in begun] == [("one", 5, -1)] * 2
    assert await begin_turn(session.journal, "t", "two", 5, ["mail"]) is None


async def test_a_turn_learns_what_was_begun_of_its_thread_before(session: Session) -> None:
    model = session.models = Held()
    model.may.set()
    turn = worker(session, chain(write))
    submit(session)
    assert (await turn.take(taken(session, turn))).status == "done"
    submit_job(session.journal, JobRecord("t", "mail", 1, {"to": "Bob"}))
    record = taken(session, turn)
    assert (record.begun, record.is_part, record.is_heard) == (0, False, False)
    outcome = await turn.take(record)
    assert (outcome.status, outcome.calls) == ("done", 2)
    assert model.asked == {"Write to Ada": 1, "Write to Bob": 1}


async def test_the_end_of_a_turn_that_is_sent_twice_loses_nobody_who_woke_it(session: Session) -> None:
    """So it is where the connection is lost before the answer comes."""
    submit(session)
    record = taken(session, worker(session, chain(write)))
    wake_job(session.journal, "t")
    ends = [await end_turn(session.journal, record, "waiting") for _ in range(2)]
    assert [*ends, status(session)] == ["queued"] * 3
    taken(session, worker(session, chain(write)))
    assert await end_turn(session.journal, record, "waiting") is None
    assert status(session) == "running"


@pytest.mark.parametrize("lives", [True, False], ids=["it is slow", "it died"])
async def test_only_turns_of_workers_that_died_count(session: Session, lives: bool) -> None:
    model = session.models = Held()
    model.may.set()
    submit(session)
    for _ in range(turns.MAX_ATTEMPTS + 2):
        slow = worker(session, chain(write))
        last = taken(session, slow)
        record = await begin_turn(session.journal, "t", "another", last.epoch + 1, ["mail"])
        assert record is not None
        if lives:
            assert (await slow.take(last)).kind == "ClaimLost"  # too late
        await end_turn(session.journal, record, "queued", after_s=0.0, attempts="one less")
    record = taken(session, slow)
    assert (record.attempts > turns.MAX_ATTEMPTS) is not lives


@pytest.mark.parametrize("store", ["file", "postgres_url"])
async def test_who_has_lost_a_thread_writes_nothing_more_of_it_at_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    database = tmp_path / "runs.sqlite" if store == "file" else request.getfixturevalue(store)
    with Session(database) as slow, Session(database) as other:
        turn = Turn(slow, {})
        slow.claims.acquire("t")  # so its claim is sure for seconds
        slow.journal.start_run("t")
        slow.journal.flush()
        other.claims.end("t", [turn.owner])  # as a worker does that is given its thread
        slow.journal.end_run("t", "done", of_run=True)
        with pytest.raises(ClaimLost):
            await slow.journal.commit_call(CALL)
        assert other.journal.query("SELECT status FROM runs") == [{"status": "running"}]
        assert other.journal.query("SELECT status FROM calls") == [{"status": "superseded"}]
        other.claims.acquire("t")  # nobody waits until the claim would have ended by itself


async def test_a_turn_that_waited_for_its_own_earlier_one_goes_on_with_what_that_has_begun(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was on record of the thread when it began: the earlier turn had not claimed it yet."""
    model = session.models = Held()
    model.may.set()
    turn = worker(session, chain(write, seal))
    take, begins, may = turn._claims.take, asyncio.Event(), asyncio.Event()

    async def taking(thread: str, of_turn: str) -> bool:
        begins.set()
        await may.wait()
        return await take(thread, of_turn)

    monkeypatch.setattr(turn._claims, "take", taking)
    monkeypatch.setattr(Halt, "ask", lambda *_: None)  # it is told too late
    submit(session)
    first = taken(session, turn)
    turning = [asyncio.create_task(turn.take(first))]
    await begins.wait()
    await handed_back(session, first)
    turn.forsake("t", first.epoch)
    second = taken(session, turn)
    assert not second.is_touched
    turning.append(asyncio.create_task(turn.take(second)))
    await asyncio.sleep(0)
    may.set()
    await asyncio.gather(*turning)
    assert status(session) == "done"
    assert model.asked == {"Write to Ada": 1, "Seal Ada": 1}


@pytest.mark.parametrize("budget", [None, Budget(calls=1)], ids=["no budget", "a budget"])
async def test_what_somebody_runs_between_a_turns_beginning_and_its_run_counts(
    session: Session, budget: Budget | None
) -> None:
    """Nothing was on record of the thread when its turn began, so nothing more was to be looked up."""
    model = session.models = Held()
    model.may.set()
    turn = worker(session, chain(write, seal))
    submit(session)
    record = taken(session, turn)
    assert not record.is_touched
    with Session(session.database) as other, using(model):
        await arun(chain(write, seal).compile(), Mail("Ada"), other, "t", budget=budget)
    before = dict(model.asked)
    outcome = await turn.take(record)
    if budget is None:  # it has ended with another one's run: the same input begins anew, as ever
        assert outcome.status == "done"
    else:
        assert (outcome.status, dict(model.asked)) == ("partial", before)


async def test_a_turn_that_could_not_begin_leaves_nothing_that_a_later_run_goes_by(session: Session) -> None:
    model = session.models = Held()
    model.may.set()
    graph = chain(write, seal)
    turn = worker(session, graph)
    submit_job(session.journal, JobRecord("t", "mail", 0, {"no such field": 1}))
    assert (await turn.take(taken(session, turn))).kind == "InputError"
    with Session(session.database) as other, using(model):
        await arun(graph.compile(), Mail("Ada", text="known"), other, "t", restart=True)
    with pytest.raises(InputError, match="would reset that"):
        await arun(graph.compile(), Mail("Bob"), session, "t")


async def test_a_thread_of_which_something_was_on_record_is_looked_up(session: Session) -> None:
    submit(session)
    session.journal.write([("UPDATE runs SET budget = '{}' WHERE thread_id = 't'", ())])
    assert taken(session, worker(session, chain(write))).is_touched


async def test_a_thread_with_calls_alone_begins_once(session: Session) -> None:
    """A claim does not take it for new, so a turn may not either: the run would begin twice."""
    model = session.models = Held()
    model.may.set()
    submit(session)
    session.journal.write([insert(replace(CALL, thread_id="t"))])
    turn = worker(session, chain(write))
    record = taken(session, turn)
    assert record.is_touched
    assert (await turn.take(record)).status == "done"
