"""When a call is made at all, and how its row is committed together with what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.providers.model import AttemptOutcome, CallContext
from stepgraph.providers.stack.journal import (
    JournalLayer,
    ReplayLayer,
)
from stepgraph.state.cost import Cost
from stepgraph.state.errors import ClaimLost, ModelRefused, StoreError
from stepgraph.state.journal.records import Call, CallKey
from stepgraph.state.run_context import RunContext

from .journal_cases import BARE, FULL, HELLO, Answers, in_a_node, rows


@pytest.fixture
def here(session: Session) -> CallContext:
    return in_a_node(session)


def never(call: Call, context: CallContext) -> None:
    return None


@pytest.mark.parametrize("check", ["check_halt", "check_claim"])
async def test_a_run_that_is_stopped_or_taken_over_asks_nobody(
    session: Session, here: CallContext, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    class Stopped(Exception): ...

    def stop(run: RunContext) -> None:
        raise Stopped

    async def astop(run: RunContext) -> None:
        raise Stopped

    monkeypatch.setattr(RunContext, check, stop if check == "check_halt" else astop)
    model = Answers(BARE)
    with pytest.raises(Stopped):
        await JournalLayer(model).complete(HELLO, here)
    assert (model.contexts, rows(session)) == ([], [])


async def test_what_an_earlier_life_asked_in_another_order_is_not_asked(
    session: Session, here: CallContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(Exception): ...

    async def check(key: CallKey, path: str, step: str, prompt: Callable[[], str]) -> None:
        raise Changed(key.thread_id, path, step, prompt())

    monkeypatch.setattr(session.journal, "check_unanswered", check)
    model = Answers(BARE)
    with pytest.raises(Changed) as caught:
        await ReplayLayer(JournalLayer(model), "identity", never).complete(HELLO, here)
    assert caught.value.args == ("t", here.path, "step", '[{"role": "user", "content": "Hello"}] {}')
    assert model.contexts == []


class Held:
    """What a call has set aside in budgets that threads share."""

    def __init__(self, journal: Any) -> None:
        self.journal = journal
        self.settled_for: list[Cost] = []
        self.ends = 0

    def settlements(self, spent: Cost) -> list[Any]:
        self.settled_for.append(spent)
        return []

    def settled(self) -> None:
        self.ends += 1


async def committed_with(session: Session, held: Any) -> AttemptOutcome:
    outcome = AttemptOutcome(held=held)
    context = CallContext("step", config=session.config("t"), outcome=outcome)
    await JournalLayer(Answers(FULL)).complete(HELLO, context)
    return outcome


async def test_what_a_call_set_aside_is_settled_together_with_its_row(session: Session) -> None:
    held = Held(session.journal)
    outcome = await committed_with(session, held)
    assert (outcome.held, held.settled_for, held.ends) == (None, [outcome.cost], 1)
    assert outcome.cost == Cost(1, 10, 20, 0.25)
    assert len(rows(session)) == 1


async def test_what_was_set_aside_elsewhere_is_left_to_settle(session: Session, tmp_path: Path) -> None:
    with Session(tmp_path / "other.sqlite") as other:
        held = Held(other.journal)
        outcome = await committed_with(session, held)
    assert (outcome.held, held.settled_for, held.ends) == (held, [], 0)
    assert len(rows(session)) == 1


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [(StoreError("full"), True), (ClaimLost("gone"), False)],
    ids=["not kept", "superseded"],
)
async def test_an_answer_that_could_not_be_kept_settles_when_it_can(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception, is_kept: bool
) -> None:
    async def commit(call: Call, *settlements: Any) -> None:
        raise error

    monkeypatch.setattr(session.journal, "commit_call", commit)
    held: Any = Held(session.journal)
    outcome = AttemptOutcome(held=held)
    context = CallContext("step", config=session.config("t"), outcome=outcome)
    with pytest.raises(type(error)):
        await JournalLayer(Answers(FULL)).complete(HELLO, context)
    assert (outcome.held, held.ends) == ((held, 0) if is_kept else (None, 1))


@pytest.mark.parametrize(
    ("error", "committed"),
    [(ModelRefused("no"), ["failed"]), (asyncio.CancelledError(), [])],
    ids=["failed", "cancelled"],
)
async def test_a_failure_is_committed_before_anyone_sees_it_and_a_cancellation_waits_for_nothing(
    session: Session,
    here: CallContext,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    committed: list[str],
) -> None:
    commits: list[str] = []
    commit = session.journal.commit_call

    async def noted(call: Call, *settlements: Any) -> None:
        await commit(call, *settlements)
        commits.append(call.status)

    monkeypatch.setattr(session.journal, "commit_call", noted)
    with pytest.raises(type(error)):
        await JournalLayer(Answers(error)).complete(HELLO, here)
    assert commits == committed
    assert [row["status"] for row in rows(session)] == ["failed"]
