"""The claim on a new thread, which is taken before the run of a turn begins."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from stepgraph import Session, arun, chain
from stepgraph.runners.loading import Loaded
from stepgraph.runners.turns import Turn
from stepgraph.state.errors import StoreError, ThreadBusy
from stepgraph.state.journal.jobs import JobRecord, stop_job
from stepgraph.state.journal.postgres.wire import Segment, Wire

from .engines.flows import Mail, seal, write
from .test_late_turns import DONE, Workers, workers

__all__ = ["workers"]


class Heard(BaseCallbackHandler):
    """Notes the beginnings and ends of graphs."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def _note(self, what: str, parent: UUID | None) -> None:
        if parent is None:
            self.heard.append(what)

    def on_chain_start(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._note("start", parent_run_id)

    def on_chain_end(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._note("end", parent_run_id)

    def on_chain_error(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._note("error", parent_run_id)


class Inline(Heard):
    run_inline = True


class Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_chain_start(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        if parent_run_id is None:
            self.heard.append("start")

    async def on_chain_end(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        if parent_run_id is None:
            self.heard.append("end")


def is_postgres(workers: Workers) -> bool:
    return not workers.slow.session.journal.store.has_file


@pytest.mark.parametrize("kind", [Heard, Inline, Async])
@pytest.mark.parametrize("before", [True, False], ids=["somebody was faster", "nobody was"])
async def test_a_handler_of_the_graph_hears_one_beginning(
    workers: Workers, kind: type[Any], before: bool
) -> None:
    """Somebody may run the thread between the beginning of a turn and that of its run."""
    handler = kind()
    graph = chain(write, seal).compile()
    turn = Turn(workers.slow.session, {"mail": Loaded(graph.with_config(callbacks=[handler]), "mail")})
    workers.submit("Ada")
    record = workers.begun(turn)
    if before:
        await arun(graph, Mail("Bob"), workers.other.session, "t")
    assert (await turn.take(record)).status == "done"
    assert handler.heard == ["start", "end"]
    assert {name: workers.model.asked[name] for name in DONE} == DONE


async def test_a_new_thread_is_claimed_with_the_beginning_of_its_turn(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.submit("Ada")
    await workers.slow.session.journal.aflush()
    sent: list[int] = []
    send = Wire.send

    def counted(wire: Wire, segments: list[Segment]) -> None:
        sent.append(len(segments))
        send(wire, segments)

    monkeypatch.setattr(Wire, "send", counted)
    record = await workers.given(workers.slow, 1)
    assert record is not None
    assert sent == ([2] if is_postgres(workers) else [])
    monkeypatch.undo()
    assert await workers.slow._claims.take("t", record.turn)
    with pytest.raises(ThreadBusy):
        await arun(chain(write, seal).compile(), Mail("Bob"), workers.other.session, "t")
    with pytest.raises(ThreadBusy):  # nor may somebody else here take it over
        await arun(chain(write, seal).compile(), Mail("Bob"), workers.slow.session, "t")
    assert (await workers.slow.take(record)).status == "done"
    assert workers.model.asked == DONE
    assert not workers.other.session.claims.is_run("t")


async def test_a_claim_that_no_run_takes_over_is_given_up(workers: Workers) -> None:
    workers.submit("Ada")
    record = await workers.given(workers.slow, 1)
    assert record is not None
    assert workers.slow.session.claims.is_run("t") == is_postgres(workers)
    stop_job(workers.other.session.journal, "t")
    workers.slow.drain()
    assert (await workers.slow.take(record)).status == "canceled"
    assert not workers.other.session.claims.is_run("t")
    assert workers.model.asked == {}


@pytest.mark.parametrize("case", ["canceled", "begun by somebody", "given a state", "one that did not end"])
async def test_no_other_thread_is_claimed_with_a_turn(workers: Workers, case: str) -> None:
    workers.submit("Ada")
    graph = chain(write, seal).compile()
    if case == "canceled":
        stop_job(workers.other.session.journal, "t")
    elif case == "begun by somebody":
        await arun(graph, Mail("Bob"), workers.other.session, "t")
    elif case == "given a state":
        await graph.aupdate_state(workers.other.session.config("t"), {"text": "known"}, "write")
    else:
        workers.begun(workers.other)
    assert ((await workers.given(workers.slow, 5)) is None) == (case == "canceled")
    workers.slow.session.journal.flush()
    assert not workers.other.session.claims.is_run("t")


async def test_a_claim_of_a_turn_that_is_canceled_as_it_begins_ends(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of it any more."""
    workers.submit("Ada")
    store = workers.slow.session.journal.store
    execute = type(store).aexecute_all

    async def executed(*statements: Any) -> None:
        await execute(store, *statements)
        raise asyncio.CancelledError

    monkeypatch.setattr(store, "aexecute_all", executed)
    if is_postgres(workers):
        with pytest.raises(asyncio.CancelledError):
            await workers.given(workers.slow, 1)
    workers.slow.session.journal.flush()
    assert not workers.other.session.claims.is_run("t")


@pytest.mark.parametrize("is_begun", [False, True], ids=["before the answer", "before its input is read"])
async def test_the_claim_of_a_turn_ends_that_could_not_begin_since_the_database_was_away(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    workers.submit("Ada")
    journal, store = workers.slow.session.journal, workers.slow.session.journal.store
    execute = type(store).aexecute_all

    async def executed(*statements: Any) -> None:
        await execute(store, *statements)
        raise StoreError("The connection was lost.")

    def read(*_: Any) -> None:
        raise StoreError("The connection was lost.")

    with monkeypatch.context() as patched, suppress(StoreError):
        if is_begun:
            patched.setattr(journal, "whole", read)
        else:
            patched.setattr(store, "aexecute_all", executed)
        await workers.given(workers.slow, 1)
    journal.flush()
    assert not workers.slow.session.claims.ahead
    assert not workers.other.session.claims.is_run("t")


@pytest.mark.parametrize("knows", ["by its clock", "by a renewal", "not"])
async def test_a_turn_whose_claim_was_taken_over_before_its_run_pays_for_nothing(
    workers: Workers, knows: str
) -> None:
    """Its process stood still meanwhile."""
    workers.submit("Ada")
    late = await workers.given(workers.slow, 1)
    assert late is not None
    claims = workers.slow.session.claims
    assert await workers.slow._claims.take("t", late.turn)
    if knows == "by its clock":
        age(workers)
    elif knows == "by a renewal":
        workers.other.session.claims.end("t", [workers.slow.owner])
        claims._renew_all()
        assert not claims.is_ahead("t", late.turn)
    record = await workers.given(workers.other, 2)
    assert record is not None
    assert (await workers.other.take(record)).status == "done"
    assert (await workers.slow.take(late)).kind == "ClaimLost"
    assert (workers.model.asked, workers.traces()) == (DONE, [(0, "done")])


def age(workers: Workers) -> None:
    claim = workers.slow.session.claims._held["t"]
    claim.ticking -= 60.0
    claim.on_clock -= 60.0


async def test_a_turn_that_stood_still_after_its_claim_looks_the_thread_up(workers: Workers) -> None:
    workers.submit("Ada")
    record = await workers.given(workers.slow, 1)
    assert record is not None
    assert await workers.slow._claims.take("t", record.turn)
    age(workers)
    assert (await workers.slow.take(record)).status == "done"
    assert (workers.model.asked, workers.traces()) == (DONE, [(0, "done")])


async def test_a_turn_that_stood_still_before_its_run_is_begun_again_and_was_no_attempt(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.submit("Ada")
    record = await workers.given(workers.slow, 1)
    assert record is not None
    begin = workers.slow._broadcast.begin

    async def begun(record: JobRecord) -> Any:
        age(workers)
        return await begin(record)

    with monkeypatch.context() as patched:
        patched.setattr(workers.slow._broadcast, "begin", begun)
        outcome = await workers.slow.take(record)
    assert (outcome.kind, outcome.retryable, workers.job().attempts) == ("ThreadBusy", True, 0)
    assert not workers.other.session.claims.is_run("t")
    again = await workers.given(workers.slow, 2)
    assert again is not None
    assert (await workers.slow.take(again)).status == "done"
    assert (workers.model.asked, workers.traces()) == (DONE, [(0, "done")])


async def test_a_turn_that_is_over_takes_over_no_claim_of_another_one(workers: Workers) -> None:
    """Not even in the same session: the job has another input by then."""
    turns = [Turn(workers.slow.session, {"mail": Loaded(chain(write, seal).compile(), "mail")}) for _ in "ab"]
    workers.submit("Ada")
    late = workers.begun(turns[0], lease_s=-1.0)
    stop_job(workers.other.session.journal, "t")
    assert (await turns[1].take(workers.begun(turns[1]))).status == "canceled"
    workers.submit("Bob")
    record = workers.begun(turns[1])
    assert await turns[1]._claims.take("t", record.turn)
    assert (await turns[0].take(late)).kind == "ThreadBusy"
    assert (await turns[1].take(record)).status == "done"
    assert workers.model.asked == {"Write to Bob": 1, "Seal Bob": 1}


@pytest.mark.parametrize("is_new", [True, False], ids=["a new thread", "a thread that was run"])
async def test_a_run_that_cannot_begin_leaves_its_thread(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """As where the database goes away when the thread is claimed, and before that is begun."""
    if not is_new:
        await arun(chain(write, seal).compile(), Mail("Bob"), workers.other.session, "t")
    workers.submit("Ada", trace=0 if is_new else 1)
    journal = workers.slow.session.journal

    def begin(*_: Any, **__: Any) -> None:
        raise StoreError("The connection was lost.")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "begin_invocation", begin)
        assert (await workers.slow.take(workers.begun(workers.slow))).kind == "StoreError"
    journal.flush()
    assert not workers.other.session.claims.is_run("t")
    again = await workers.given(workers.slow, 5)
    assert again is not None
    assert (await workers.slow.take(again)).status == "done"
    assert {name: workers.model.asked[name] for name in DONE} == DONE


async def test_what_is_claimed_for_a_turn_ends_with_its_session(workers: Workers) -> None:
    workers.submit("Ada")
    with Session(workers.slow.session.database) as session:
        turn = Turn(session, {"mail": Loaded(chain(write, seal).compile(), "mail")})
        record = await workers.given(turn, 1)
        assert record is not None
        assert await turn._claims.take("t", record.turn)
        assert workers.other.session.claims.is_run("t")
    assert not workers.other.session.claims.is_run("t")


@pytest.mark.parametrize("of_turn", [True, False], ids=["a turn", "a claim"])
async def test_who_is_stopped_while_the_file_is_locked_holds_no_claim(
    workers: Workers, of_turn: bool
) -> None:
    """The thread that waits for the lock may get it when nobody is there any more to hold the claim."""
    if is_postgres(workers):
        pytest.skip("no file that is locked")
    workers.submit("Ada")
    record, session = workers.begun(workers.slow), workers.slow.session
    with closing(sqlite3.connect(session.journal.store.file, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        claims = workers.slow._claims
        taking = claims.take("t", record.turn) if of_turn else session.claims.aacquire("t", record.turn)
        task = asyncio.ensure_future(taking)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        lock.execute("ROLLBACK")
    await asyncio.sleep(0.3)  # it looks for the lock every 0.05 s
    assert not session.claims._held
    assert not workers.other.session.claims.is_run("t")
