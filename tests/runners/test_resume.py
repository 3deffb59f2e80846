"""A thread goes on from where it is, whoever asks: with an answer, without one, or from its first input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.types import interrupt

from stepgraph import Ask, ScriptedModel, Session, chain, section, step, using
from stepgraph.runners.run import aread_values, aresume, resume, run
from stepgraph.state.budget import Budget, Ledger
from stepgraph.state.errors import InputError
from stepgraph.state.journal.records import Description


@dataclass
class Memo:
    topic: str = ""
    draft: str = ""
    approval: str | None = ""
    second: str = ""


@step("draft")
def write(memo: Memo) -> Ask[str]:
    return Ask(f"write about {memo.topic}")


def approve(memo: Memo) -> dict[str, Any]:
    return {"approval": interrupt("good?")}


def approve_again(memo: Memo) -> dict[str, Any]:
    return {"second": interrupt("really?")}


reviewed = chain(write, approve).compile()


def test_a_thread_without_a_checkpoint_begins_with_the_input_on_its_record(session: Session) -> None:
    session.journal.queue_run("t", Description("memo.py:graph", {}, {"topic": "tea"}))
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        result = resume(reviewed, session, "t")
    assert (result.status, result.values["topic"], result.values["draft"]) == (
        "interrupted",
        "tea",
        "a draft",
    )


def test_the_state_given_goes_before_the_input_on_record(session: Session) -> None:
    session.journal.queue_run("t", Description("memo.py:graph", {}, {"topic": "tea"}))
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        assert resume(reviewed, session, "t", state=Memo("milk")).values["topic"] == "milk"


def test_a_thread_that_waits_is_only_read_until_it_gets_its_answer(session: Session) -> None:
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        run(reviewed, Memo("tea"), session, "t")
        again = resume(reviewed, session, "t")
        done = resume(reviewed, session, "t", answer=None)
    assert (again.status, again.waiting[0].value, again.values["draft"]) == (
        "interrupted",
        "good?",
        "a draft",
    )
    assert (done.status, done.values["approval"]) == ("done", None)


def test_a_thread_that_has_ended_is_only_read(session: Session) -> None:
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        run(reviewed, Memo("tea"), session, "t")
        resume(reviewed, session, "t", answer="yes")
        again = resume(reviewed, session, "t")
    assert (again.status, again.values["approval"], again.spent.calls) == ("done", "yes", 1)
    assert not any(name.startswith("stepgraph_") for name in again.values)


def test_one_answer_for_two_questions_is_refused_and_answers_go_by_their_ids(session: Session) -> None:
    graph = section({"approval": chain(approve), "second": chain(approve_again)}).compile()
    first = run(graph, Memo(), session, "t")
    with pytest.raises(InputError, match="2 questions wait on the thread 't'"):
        resume(graph, session, "t", answer="yes")
    by_id = {item.id: f"yes: {item.value}" for item in first.waiting}
    done = resume(graph, session, "t", answers=by_id)
    assert (done.values["approval"], done.values["second"]) == ("yes: good?", "yes: really?")


def test_a_crash_between_a_nodes_writes_and_the_next_checkpoint_does_not_end_the_thread(
    session: Session,
) -> None:
    graph = chain(write, approve).compile()
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        run(graph, Memo("tea"), session, "t")
        last = "SELECT max(checkpoint_id) FROM checkpoints"
        session.journal.write([(f"DELETE FROM checkpoints WHERE checkpoint_id = ({last})", ())])
        snapshot = graph.get_state(session.config("t"))
        assert (snapshot.next, [task.name for task in snapshot.tasks]) == ((), ["write"])
        result = resume(graph, session, "t")
    assert (result.status, result.values["draft"]) == ("interrupted", "a draft")
    assert result.waiting[0].value == "good?"


async def test_a_shared_budget_that_ends_is_told_by_limit_and_scope(session: Session) -> None:
    shared = _shared(calls=0)
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        result = await aresume(reviewed, session, "t", state=Memo("tea"), ledgers=(shared,))
        assert result.status == "partial"
        assert result.budget_end is not None
        assert (result.budget_end.limit, result.budget_end.scope) == ("calls", "all of it")
        assert result.limit == result.budget_end.message
        assert (await aread_values(reviewed, session, "t"))["topic"] == "tea"
        assert (await aresume(reviewed, session, "t")).status == "interrupted"


async def test_supersteps_of_the_thread_count_below_a_shared_budget_without_any(session: Session) -> None:
    graph = chain(write, approve).compile()
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        options = {"budget": Budget(supersteps=1), "ledgers": (_shared(calls=9),)}
        result = await aresume(graph, session, "t", state=Memo("tea"), **options)
    assert (result.status, result.missing) == ("partial", ("approve",))
    assert result.budget_end is not None
    assert (result.budget_end.limit, result.budget_end.scope) == ("supersteps", "the run")


def _shared(**limits: int) -> Ledger:
    return Ledger(Budget(**limits), scope="all of it")


def test_a_thread_whose_process_died_after_its_last_step_is_put_on_record_as_done(session: Session) -> None:
    with ScriptedModel({"write": ["a draft"]}) as model, using(model):
        run(chain(write).compile(), Memo("tea"), session, "t")
        session.journal.write([("UPDATE runs SET status = 'running' WHERE thread_id = 't'", ())])
        again = resume(chain(write).compile(), session, "t")
    assert (again.status, again.values["draft"], len(model.asks)) == ("done", "a draft", 1)
    assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]
