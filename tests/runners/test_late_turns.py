"""What a worker may still do that stood still between the beginning of its turn and that of its run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.graph import START, StateGraph

from stepgraph import Session, arun, chain, effect
from stepgraph.runners.loading import Loaded
from stepgraph.runners.turns import Turn
from stepgraph.state.journal.job_turns import begin_turn, take_job
from stepgraph.state.journal.jobs import (
    JobRecord,
    find_job,
    give_answers,
    stop_job,
    submit_job,
    wake_job,
)

from .engines.flows import Mail, check, seal, write
from .test_turns import Held, worker

LEASE_S = 60.0
DONE = {"Write to Ada": 1, "Seal Ada": 1}


@dataclass
class Workers:
    """Two workers of one record, what their model was asked, and whom they have sent a mail."""

    slow: Turn
    other: Turn
    model: Held
    sent: list[str]

    def submit(self, to: str, trace: int = 0) -> None:
        submit_job(self.slow.session.journal, JobRecord("t", "mail", trace, {"to": to}))

    def begun(self, turn: Turn, *, lease_s: float = LEASE_S) -> JobRecord:
        """Begin the turn that is due. One with no lease is over at once, as of a worker that stands still."""
        record = take_job(turn.session.journal, ["mail"], turn.owner, lease_s)
        assert record is not None
        return record

    async def given(self, turn: Turn, token: int) -> JobRecord | None:
        """Begin the turn as an engine gives it."""
        return await begin_turn(turn.session.journal, "t", turn.owner, token, ["mail"], claims=turn._claims)

    def job(self) -> JobRecord:
        record = find_job(self.slow.session.journal, "t")
        assert record is not None
        return record

    def traces(self) -> list[tuple[int, str]]:
        sql = "SELECT trace, status FROM invocations WHERE thread_id = 't' ORDER BY id"
        self.slow.session.journal.flush()
        return [(row["trace"], row["status"]) for row in self.slow.session.journal.query(sql)]


@pytest.fixture(params=["file", "postgres_url"])
def workers(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workers]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    is_file = request.param == "file"
    database: Any = tmp_path / "runs.sqlite" if is_file else request.getfixturevalue(request.param)
    sent: list[str] = []

    @effect
    def send(mail: Mail) -> dict[str, int]:
        sent.append(mail.to)
        return {"tries": mail.tries + 1}

    graph = chain(write, send, seal)
    with ExitStack() as opened:
        slow, other = (opened.enter_context(Session(database)) for _ in range(2))
        model = slow.models = other.models = Held()
        model.may.set()
        yield Workers(worker(slow, graph), worker(other, graph), model, sent)


@pytest.mark.parametrize("is_first", [True, False], ids=["a new thread", "a thread that was run"])
async def test_a_turn_that_another_worker_has_taken_over_and_ended_begins_nothing(
    workers: Workers, is_first: bool
) -> None:
    if not is_first:
        workers.submit("Bob")
        await workers.other.take(workers.begun(workers.other))
    workers.submit("Ada", trace=0 if is_first else 1)
    late = workers.begun(workers.slow, lease_s=-1.0)
    assert (await workers.other.take(workers.begun(workers.other))).status == "done"
    asked, sent, traces = dict(workers.model.asked), list(workers.sent), workers.traces()
    outcome = await workers.slow.take(late)
    assert (outcome.kind, outcome.retryable) == ("ClaimLost", True)
    assert (workers.model.asked, workers.sent, workers.traces()) == (asked, sent, traces)
    assert workers.job().status == "done"


async def test_a_turn_of_a_job_that_was_canceled_meanwhile_begins_nothing(workers: Workers) -> None:
    workers.submit("Ada")
    late = workers.begun(workers.slow, lease_s=-1.0)
    stop_job(workers.other.session.journal, "t")
    assert (await workers.other.take(workers.begun(workers.other))).status == "canceled"
    assert (await workers.slow.take(late)).kind == "ClaimLost"
    assert (workers.model.asked, workers.sent, workers.traces()) == ({}, [], [])
    assert workers.job().status == "canceled"


async def test_a_turn_that_begins_nothing_leaves_the_thread_to_whose_turn_it_is(workers: Workers) -> None:
    workers.submit("Ada")
    late = workers.begun(workers.slow, lease_s=-1.0)
    record = workers.begun(workers.other)
    assert (await workers.slow.take(late)).kind == "ClaimLost"
    assert not workers.other.session.claims.is_run("t")
    assert (await workers.other.take(record)).status == "done"
    assert workers.sent == ["Ada"]
    assert workers.model.asked == DONE


async def test_a_turn_that_its_own_worker_begins_once_more_is_the_same_one(workers: Workers) -> None:
    """As where the connection is lost before the worker hears that its turn has begun."""
    workers.submit("Ada")
    first, again = [await workers.given(workers.slow, 5) for _ in range(2)]
    assert first is not None
    assert again is not None
    outcomes = await asyncio.gather(workers.slow.take(first), workers.slow.take(again))
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert workers.model.asked == DONE


async def test_an_error_of_a_run_that_had_to_look_the_thread_up_is_tried_again_only_if_that_may_help(
    workers: Workers,
) -> None:
    """A recursion limit is passed by the next turn as well, which pays for it once more."""
    graph = StateGraph(Mail).add_node("write", write).add_edge(START, "write").add_edge("write", "write")
    app = graph.compile().with_config(recursion_limit=3)
    slow = Turn(workers.slow.session, {"mail": Loaded(app, "mail")})
    workers.submit("Ada")
    record = workers.begun(slow)
    await app.aupdate_state(workers.other.session.config("t"), {"to": "Ada", "text": "known"}, "__start__")
    assert not record.is_touched
    outcome = await slow.take(record)
    assert (outcome.kind, outcome.retryable) == ("GraphRecursionError", False)


async def test_who_takes_a_turn_over_leaves_the_claim_of_a_run_that_is_no_workers(workers: Workers) -> None:
    """The worker before was killed ere it claimed the thread, which somebody runs by themselves now."""
    workers.submit("Ada")
    workers.begun(workers.slow, lease_s=-1.0)
    graph = chain(write, seal).compile()
    held = Held()
    with Session(workers.slow.session.database, models=held) as direct:
        run = asyncio.create_task(arun(graph, Mail("Ada"), direct, "t"))
        await held.begun.wait()
        outcome = await workers.other.take(workers.begun(workers.other))
        assert (outcome.kind, outcome.retryable) == ("ThreadBusy", True)
        assert direct.claims.is_run("t")
        held.may.set()
        assert (await run).status == "done"
    assert workers.model.asked == {}
    assert held.asked == DONE


@pytest.mark.parametrize("between", [False, True], ids=["next", "after one that was killed"])
async def test_who_takes_a_turn_over_ends_the_claim_of_the_worker_before_at_once(
    workers: Workers, between: bool
) -> None:
    workers.submit("Ada")
    held = workers.slow.session.models = Held()
    turning = asyncio.create_task(workers.slow.take(workers.begun(workers.slow, lease_s=-1.0)))
    await held.begun.wait()
    if between:
        third = Turn(workers.other.session, {})
        workers.begun(third, lease_s=-1.0)
    record = workers.begun(workers.other)
    assert record.formers == [workers.slow.owner, *([third.owner] if between else [])]
    assert (await workers.other.take(record)).status == "done"
    held.may.set()
    assert (await turning).kind == "ClaimLost"
    assert workers.traces() == [(0, "running"), (0, "done")]


@pytest.mark.parametrize("when", ["before its turn", "while its turn begins"])
async def test_a_jobs_input_is_run_though_somebody_gave_the_thread_another_one(
    workers: Workers, when: str
) -> None:
    workers.submit("Ada")
    graph = chain(write, seal).compile()
    early = workers.begun(workers.slow) if when == "while its turn begins" else None
    await arun(graph, Mail("Bob"), workers.other.session, "t")
    outcome = await workers.slow.take(early or workers.begun(workers.slow))
    assert outcome.status == "done"
    assert workers.model.asked == {
        f"{what} {to}": 1 for what in ("Write to", "Seal") for to in ("Ada", "Bob")
    }
    assert (await graph.aget_state(workers.slow.session.config("t"))).values["to"] == "Ada"
    assert workers.traces() == [(0, "done"), (1, "done")]


@pytest.mark.parametrize("when", ["before its turn", "while its turn begins"])
async def test_a_jobs_input_that_somebody_else_gave_the_thread_is_not_paid_for_again(
    workers: Workers, when: str
) -> None:
    workers.submit("Ada")
    early = workers.begun(workers.slow) if when == "while its turn begins" else None
    await arun(chain(write, seal).compile(), Mail("Ada"), workers.other.session, "t")
    outcome = await workers.slow.take(early or workers.begun(workers.slow))
    assert outcome.status == "done"
    assert workers.model.asked == DONE


@dataclass
class Numbered(Mail):
    number: str = field(default_factory=lambda: str(uuid4()))


@pytest.mark.parametrize("by", ["its worker", "a worker of a version before"])
@pytest.mark.parametrize("is_first", [True, False], ids=["a new thread", "a thread that somebody ran"])
async def test_a_jobs_later_turns_go_on_though_its_input_is_never_read_in_the_same_way(
    workers: Workers, is_first: bool, by: str
) -> None:
    """Its state has a new number each time, as one that a deployment changes is another one then."""
    parts = {"write": write, "check": check, "seal": seal}
    app = StateGraph(Numbered).add_sequence([*parts.items()]).add_edge(START, "write").compile()
    turn = Turn(workers.slow.session, {"mail": Loaded(app, "mail")})
    workers.submit("Ada")
    if not is_first:
        await arun(app, {"to": "Bob", "text": "known"}, workers.other.session, "t")
        workers.model.asked.clear()
    first = await turn.take(workers.begun(turn))
    assert first.status == "interrupted"
    journal = workers.slow.session.journal
    if by != "its worker":
        journal.write([("UPDATE invocations SET of_job = NULL WHERE of_job = 1", ())])
    give_answers(journal, "t", dict.fromkeys(first.waiting, "approve"))
    wake_job(journal, "t")
    assert (await turn.take(workers.begun(turn))).status == "done"
    assert workers.model.asked == DONE
