"""What earlier tries of a thread paid for: compared with what it asks now, or claimed where that is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.errors import PromptChanged
from stepgraph.state.journal.earlier import prompt_of
from stepgraph.state.journal.lost import LostTail, Unclaimed

from .test_journal import CALL, KEY


class Clock:
    """A clock on which no moment comes twice."""

    now = 1000.0

    def time(self) -> float:
        self.now += 1
        return self.now

    @classmethod
    def of(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = cls()
        monkeypatch.setattr("stepgraph.state.journal.journal.time", clock)
        return clock


@pytest.mark.parametrize(
    ("how", "compared", "since", "lost"),
    [
        ({"going_on": False, "input": "other"}, False, None, None),
        ({"going_on": True}, True, None, None),
        ({"going_on": True, "allow_changed": True}, False, None, None),
        ({"going_on": True, "may_have_lost": True}, True, None, LostTail),
        ({"going_on": True, "may_have_lost": True, "allow_changed": True}, False, None, LostTail),
        ({"going_on": False}, True, "began", Unclaimed),
        ({"going_on": False, "may_have_lost": True}, True, "began", Unclaimed),
        ({"going_on": False, "allow_changed": True}, False, None, Unclaimed),
        ({"going_on": False, "restart": True}, False, None, None),
        ({"going_on": False, "restart": True, "may_have_lost": True}, False, None, None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_what_an_earlier_try_paid_for_is_compared_and_claimed_where_it_may_be_lost(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
    compared: bool,
    since: str | None,
    lost: type[Any] | None,
) -> None:
    Clock.of(monkeypatch)
    how = dict(how)
    journal, given = session.journal, how.pop("input", "tea")
    journal.start_run("t")
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    await journal.commit_call(CALL)
    journal.begin_invocation("t", {"input_digest": "tea" if how["going_on"] else given}, **how)
    left = journal.earlier_try("t")
    assert type(left) is (lost or type(None))
    (began,) = journal.query("SELECT min(started_at) AS at FROM invocations")
    assert left is None or left.since == began["at"] < left.before
    # A call of the same words in another order, in the same place of another task, is refused or passes.
    await journal.commit_call(
        replace(CALL, id="2", request_hash="w", messages='["a b"]', started_at=began["at"])
    )
    key = replace(KEY, request_hash="other", task="task of another id" if since else CALL.task)
    prompt = prompt_of('["b a"]', "{}")
    if compared:
        with pytest.raises(PromptChanged):
            await journal.check_unanswered(key, CALL.path, CALL.step, lambda: prompt)
        await journal.check_unanswered(key, "another path" if since else CALL.path, "other", lambda: prompt)
    else:
        await journal.check_unanswered(key, CALL.path, CALL.step, lambda: prompt)
    journal.end_run("t", "done", of_run=True)
    await journal.check_unanswered(key, CALL.path, CALL.step, lambda: prompt)


async def test_what_was_asked_like_this_before_and_failed_may_be_asked_again(session: Session) -> None:
    journal = session.journal
    await journal.commit_call(replace(CALL, messages='["a b"]'))
    await journal.commit_call(replace(CALL, id="2", request_hash="i", status="failed", answer=None))
    journal.begin_invocation("t", {"input_digest": None}, going_on=True)
    await journal.check_unanswered(
        replace(KEY, request_hash="i"), CALL.path, CALL.step, lambda: prompt_of('["b a"]', "{}")
    )


async def test_an_answer_of_a_lost_try_becomes_the_calls_own_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def written_by(graph: str) -> list[str]:
        return []

    journal, clock = session.journal, Clock.of(monkeypatch)
    key = replace(KEY, task="inner:8|write:9")
    assert await journal.claim_answer(key, CALL.path, written_by) is None  # there was no earlier try
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    for number in range(2):
        call = replace(CALL, id=str(number), occurrence=number, started_at=clock.time())
        await journal.commit_call(call)
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    assert await journal.claim_answer(key, "another path", written_by) is None
    for number in range(2):
        found = await journal.claim_answer(replace(key, occurrence=number), CALL.path, written_by)
        assert found is not None
        assert (found.id, found.task, found.occurrence) == (str(number), key.task, number)
    assert await journal.claim_answer(replace(key, occurrence=2), CALL.path, written_by) is None


async def test_a_node_that_begins_again_keeps_its_answers(session: Session) -> None:
    journal = session.journal
    journal.enter("t", "a:1")  # nothing is lost
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    journal.begin_invocation("t", {"input_digest": None}, going_on=True, may_have_lost=True)
    journal.enter("t", "a:1")
    lost = journal.earlier_try("t")
    assert isinstance(lost, LostTail)
    assert lost.began == {"a:1"}


def test_an_end_that_others_tell_says_nothing_while_the_thread_is_run(session: Session) -> None:
    journal = session.journal
    with Session(session.database) as other:
        other.claims.acquire("t")
        other.journal.start_run("t")
        other.journal.flush()
        journal.end_run("t", "failed")
        journal.try_flush()
        assert journal.query("SELECT status FROM runs") == [{"status": "running"}]
        other.journal.end_run("t", "done", of_run=True)
        other.journal.flush()
        assert journal.query("SELECT status FROM runs") == [{"status": "done"}]
        other.claims.release("t")


async def test_new_input_has_nothing_to_do_with_what_was_asked_before(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, clock = session.journal, Clock.of(monkeypatch)
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    await journal.commit_call(replace(CALL, messages='["a b"]', started_at=clock.time()))
    journal.begin_invocation("t", {"input_digest": "tea"}, going_on=False)
    assert journal.earlier_try("t") is not None
    journal.begin_invocation("t", {"input_digest": "milk"}, going_on=False)
    assert journal.earlier_try("t") is None
    key, prompt = replace(KEY, request_hash="other"), prompt_of('["b a"]', "{}")
    await journal.check_unanswered(key, CALL.path, CALL.step, lambda: prompt)
