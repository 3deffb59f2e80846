"""Recorded runs through a changed graph: what is answered, what is asked anew, what is not done."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph import (
    Ask,
    Budget,
    ScriptedModel,
    Session,
    ToolCall,
    chain,
    effect,
    step,
    using,
    vote,
)
from stepgraph.evals.replays.cases import CaseDifference
from stepgraph.evals.replays.replay import replay
from stepgraph.runners.run import resume, run

from .mail_desk import WORLD, Mail, answers, desk, record, replayed


def broken(request: Any, context: Any) -> str:
    if context.step == "advise":
        raise ValueError("broken")
    return "x"


def steps_paid(session: Session, case: CaseDifference) -> list[str]:
    session.journal.flush()
    sql = "SELECT step FROM calls WHERE thread_id = ? AND source = 'model' ORDER BY started_at"
    return [row["step"] for row in session.journal.query(sql, (case.thread,))]


@pytest.mark.parametrize("by", ["whole", "key"])
def test_an_unchanged_graph_asks_nothing_and_does_nothing(session: Session, by: str) -> None:
    record(session, "a", "b", graph=desk(by=by))
    report = replayed(session, desk(by=by))
    assert [case.origin for case in report.cases] == ["a", "b"]
    for case in report.cases:  # each has the answers of its own run
        assert (case.what, case.departure, case.stopped) == ((), None, None)
        assert case.replayed.values == case.recorded.values
        assert case.replayed.spent.cost == case.recorded.spent.cost
    assert report.cases[0].replayed.values["reply"] != report.cases[1].replayed.values["reply"]
    assert report.paid.calls == 0
    assert WORLD == []
    assert report.complete
    assert {c.measure: c.change for c in report.comparison.changes}["calls"] == 0


def test_a_vote_that_is_decided_early_does_not_ask_the_others_anew(session: Session) -> None:
    @step("votes")
    def guess(mail: Mail) -> Ask[str]:
        return Ask(f"Guess: {mail.body}")

    graph = chain(vote(guess, n=5), name="poll").compile()
    with using(ScriptedModel(lambda request, context: "yes", delay_s=0.01)):
        for thread in ("a", "b", "c"):
            run(graph, Mail("tea"), session, thread)
    report = replayed(session, graph, "graph=poll")
    assert report.paid.calls == 0
    assert [case.departure for case in report.cases] == [None] * 3


def test_originals_stay_as_they_are_and_replays_say_where_they_come_from(session: Session) -> None:
    record(session, "a")
    session.journal.flush()
    tables = (
        "runs",
        "calls",
        "node_runs",
        "decisions",
        "invocations",
        "effects",
        "waits",
        "retrievals",
        "writes",
    )

    def rows() -> Any:
        return {t: session.journal.query(f"SELECT * FROM {t} WHERE thread_id = 'a'") for t in tables}

    before = rows()
    report = replayed(session, desk("Answer well"))
    session.journal.flush()
    assert rows() == before
    (case,) = report.cases
    parents = session.journal.query("SELECT parent_thread FROM runs WHERE thread_id = ?", (case.thread,))
    assert parents == [{"parent_thread": "a"}]
    assert session.journal.query("SELECT 1 FROM effects WHERE thread_id = ?", (case.thread,)) == []


def test_a_change_pays_for_what_comes_after_it_and_for_no_more(session: Session) -> None:
    record(session, "a", "b")
    report = replayed(session, desk("Answer well"), allow_tools=True)
    for case in report.cases:
        assert steps_paid(session, case) == ["advise"] * 3
        assert case.departure is not None
        assert case.departure.node == "agent_advise/advise"
        assert case.departure.why == "its prompt changed"
        assert case.stopped is not None
        assert "colleague" in case.stopped
    assert WORLD == ["look tea"] * 4


def test_a_tool_call_that_the_record_does_not_know_is_not_made(session: Session) -> None:
    record(session, "a")

    def say(request: Any, context: Any) -> Any:
        turns = sum(message["role"] == "tool" for message in request.messages)
        return ToolCall("look", {"q": "tea"}) if turns < 3 else "well"

    with using(ScriptedModel(say)) as _:
        (case,) = replay(desk("Answer well"), session, "graph=desk").cases
        assert WORLD == []
        assert steps_paid(session, case) == ["advise"] * 3
        assert case.stopped is not None
        assert "--allow-tools" in case.stopped
        assert 'look({"q":"tea"})' in case.stopped
        (case,) = replay(desk("Answer well"), session, "graph=desk", allow_tools=True).cases
    assert WORLD == ["look tea"]
    assert steps_paid(session, case) == ["advise"] * 4


@pytest.mark.parametrize(("by", "may"), [("whole", False), ("whole", True), ("key", False)])
def test_an_effect_that_the_record_does_not_know_happens_only_if_it_may(
    session: Session, by: str, may: bool
) -> None:
    record(session, "a", graph=desk(by=by))

    def post(mail: Mail) -> dict[str, str]:
        WORLD.append(f"sent {mail.reply}")
        return {"sent": "anew"}

    @step("reply")
    def note(mail: Mail) -> Ask[str]:
        return Ask(f"Hm: {mail.body}")

    send = effect(key=lambda mail: mail.body)(post) if by == "key" else effect(post)
    graph = chain(note, send, name="desk").compile()
    allowed = ["post"] if may else []
    report = replayed(session, graph, allow_effects=allowed)
    (case,) = report.cases
    if by == "key":  # it happened, for this mail
        assert WORLD == []
        assert case.stopped is None
    elif may:
        assert len(WORLD) == 1
        assert case.replayed.values["sent"] == "anew"
        report = replayed(session, graph, allow_effects=allowed)
        assert len(WORLD) == 1
    else:
        assert WORLD == []
        assert case.stopped is not None
        assert "--allow-effects post" in case.stopped


def test_who_goes_on_with_a_replay_does_nothing_either(session: Session) -> None:
    record(session, "a")
    report = replayed(session, desk("Answer well"))
    (case,) = report.cases
    with using(answers("new")):
        for _ in range(4):
            result = resume(desk("Answer well"), session, case.thread)
            if result.waiting and result.waiting[0].value.get("review"):
                result = resume(desk("Answer well"), session, case.thread, answer="approve")
    assert WORLD == []


@pytest.mark.parametrize("edited", [False, True])
def test_a_review_is_answered_as_it_was_only_where_nothing_changed(session: Session, edited: bool) -> None:
    compiled = desk()
    decision: dict[str, Any] = (
        {"decision": "edit", "value": "mine"} if edited else {"decision": "reject", "reason": "no"}
    )
    with using(answers("old")):
        run(compiled, Mail("tea"), session, "a")
        resume(compiled, session, "a", answer="nonsense")
        resume(compiled, session, "a", answer=decision)
    WORLD.clear()
    report = replayed(session, desk())
    assert report.cases[0].what == ()
    assert report.cases[0].stopped is None
    assert report.cases[0].replayed.values["note"] == ("" if edited else "no")
    report = replayed(session, desk(kind="What kind"))  # the question is equal, what came before is not
    assert report.cases[0].stopped is not None


@pytest.mark.parametrize("status", ["partial", "failed", "interrupted"])
def test_a_run_that_did_not_end_stops_where_it_stopped(session: Session, status: str) -> None:
    model = answers("old")
    if status == "failed":
        model = ScriptedModel(broken)
    budget = Budget(calls=5) if status == "partial" else Budget(calls=50)
    with using(model):
        try:
            assert run(desk(), Mail("tea"), session, "a", budget=budget).status == status
        except ValueError:
            assert status == "failed"
    WORLD.clear()
    report = replayed(session, desk())
    (case,) = report.cases
    assert case.recorded.status == status
    if status == "failed":
        assert steps_paid(session, case) == ["advise"]
        assert case.departure is not None
        assert case.departure.why == "asks what was not asked before"
    else:
        assert case.replayed.status == status
        assert report.paid.calls == 0
