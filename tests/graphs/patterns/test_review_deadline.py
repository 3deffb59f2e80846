"""A review's deadline: what happens when nobody answers, and that an answer after it is refused."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from stepgraph import (
    Ask,
    ScriptedModel,
    Session,
    chain,
    due,
    end,
    refine,
    resume,
    review,
    route,
    run,
    section,
    step,
    using,
)
from stepgraph.errors import AnswerTooLate, DeadlinePassed, DefinitionError, InputError, Rejected
from stepgraph.tracing import read_waiting
from stepgraph.tracing.forks.fork import fork

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DUE = (BEGIN + DAY).isoformat()


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite", clock=clock) as session:
        yield session


@dataclass
class Mail:
    to: str = "ada"
    text: str = "hello"
    other: str = ""
    why: str = ""
    status: str = ""
    until: datetime = BEGIN + DAY


def send(mail: Mail) -> dict[str, str]:
    return {"status": f"{mail.status} sent".strip()}


def park(mail: Mail) -> dict[str, str]:
    return {"status": "parked"}


def question(mail: Mail) -> str:
    return f"Send {mail.text}?"


@review("text", deadline=DAY, otherwise="approve")
def approving(mail: Mail) -> str:
    return question(mail)


@review("text", deadline="until", otherwise="reject", reason="why")
def rejecting(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=lambda mail: mail.until, otherwise="reject")
def stopping(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=BEGIN + DAY, otherwise=park)
def parking(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=DAY)
def expiring(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=DAY * 2, otherwise=park)
def boss(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=DAY, otherwise=boss)
def escalating(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=DAY, otherwise=end())
def ending(mail: Mail) -> str:
    return question(mail)


@review("text", deadline=DAY, otherwise=chain(park, end("parked")))
def park_and_end(mail: Mail) -> str:
    return question(mail)


routed = route(expiring, {"approved": send, "rejected": park, "expired": park})

ALL = {
    "approve": (chain(approving, send), "sent", "approved"),
    "reject": (chain(rejecting, send), "sent", "rejected"),
    "part": (chain(parking, send), "parked sent", "expired"),
    "route": (routed, "parked", "expired"),
    "end": (chain(chain(ending), send), "", "expired"),
    "part and end": (chain(park_and_end, send), "parked", "expired"),
    "nested": (chain(chain(chain(parking)), send), "parked sent", "expired"),
}
STOP = {"error": (chain(expiring, send), DeadlinePassed), "rejected": (chain(stopping, send), Rejected)}


@pytest.mark.parametrize("name", [*ALL, *STOP])
def test_an_answer_in_time_counts_as_without_a_deadline(name: str, session: Session, clock: Clock) -> None:
    app = (ALL.get(name) or STOP[name])[0].compile()
    first = run(app, Mail(), session, "t")
    assert first.waiting[0].value["due"] == DUE
    clock.now += DAY - timedelta(seconds=1)
    assert due(session) == []
    assert resume(app, session, "t").status == "interrupted"
    answer = {"decision": "edit", "value": "bye", "by": "ada"}
    result = app.invoke(Command(resume=answer), session.config("t"))
    assert (result["status"], result["text"]) == ("sent", "bye")
    assert session.journal.query("SELECT status FROM waits") == [{"status": "answered"}]


@pytest.mark.parametrize("name", ALL)
async def test_without_one_the_run_goes_on_elsewhere(name: str, session: Session, clock: Clock) -> None:
    graph, status, choice = ALL[name]
    app = graph.compile()
    for thread in ("one", "two", "three"):
        run(app, Mail(), session, thread)
    clock.now += DAY
    assert [item.thread_id for item in due(session)] == ["one", "three", "two"]
    result = resume(app, session, "one")
    assert result.values["status"] == status
    if name == "end":
        assert result.ended_early == {"status": f"nobody answered until {DUE}"} or DUE in str(
            result.ended_early
        )
    assert (await app.ainvoke(None, session.config("two")))["status"] == status
    list(app.stream(None, session.config("three")))
    assert due(session) == []
    if name == "reject":
        assert f"nobody answered until {DUE}" in app.get_state(session.config("one")).values["why"]
    for thread in ("one", "two", "three"):
        sql = "SELECT reason FROM decisions WHERE thread_id = ? AND choice IN (?, 'park', 'expired')"
        (decided,) = session.journal.query(sql, (thread, choice))
        assert f"nobody answered until {DUE}" in decided["reason"]


@pytest.mark.parametrize("name", STOP)
def test_where_nobody_takes_it_the_run_stops(name: str, session: Session, clock: Clock) -> None:
    graph, error = STOP[name]
    app = graph.compile()
    run(app, Mail(), session, "t")
    clock.now += DAY
    for _ in range(2):
        with pytest.raises(error, match=f"nobody answered until {DUE.replace('+', '.')}") as raised:
            resume(app, session, "t")
    assert type(pickle.loads(pickle.dumps(raised.value))) is error


@pytest.mark.parametrize("name", [*ALL, *STOP])
async def test_an_answer_that_is_too_late_is_refused(name: str, session: Session, clock: Clock) -> None:
    """By LangGraph's calls and ours, before and after the run has gone on; the thread stays as it is."""
    app = (ALL.get(name) or STOP[name])[0].compile()
    (asked,) = run(app, Mail(), session, "t").waiting
    clock.now += DAY
    answers = [Command(resume="approve"), Command(resume={asked.id: "approve"})]

    async def refused() -> None:
        config = session.config("t")
        for answer in answers:
            with pytest.raises(AnswerTooLate, match="could be answered until") as late:
                app.invoke(answer, config)
            assert late.value.due == DUE
            with pytest.raises(AnswerTooLate):
                await app.ainvoke(answer, config)
            with pytest.raises(AnswerTooLate):
                list(app.stream(answer, config))
            with pytest.raises(AnswerTooLate):
                run(app, answer, session, "t")
        with pytest.raises(AnswerTooLate, match=late.value.review):
            resume(app, session, "t", answer="approve")
        with pytest.raises(AnswerTooLate):
            resume(app, session, "t", answers={asked.id: "approve"})

    await refused()
    assert [item.id for item in read_waiting(session)] == [asked.id]
    if name in STOP:
        with pytest.raises(STOP[name][1]):
            resume(app, session, "t")
    else:
        assert resume(app, session, "t").status == "done"
        await refused()


def test_a_late_answer_to_a_graph_written_by_hand(session: Session, clock: Clock) -> None:
    """It has no check before the run, so the node tells; then the run goes on without the answer."""
    graph: Any = StateGraph(Mail)
    graph.add_node("check", rejecting)
    graph.add_edge(START, "check")
    graph.add_edge("check", END)
    app = graph.compile()
    app.invoke(Mail(), session.config("t"))
    app.invoke(Command(resume="maybe"), session.config("t"))
    clock.now += DAY
    with pytest.raises(AnswerTooLate, match="'rejecting' could be answered until"):
        app.invoke(Command(resume="approve"), session.config("t"))
    assert "nobody answered" in app.invoke(None, session.config("t"))["why"]


def test_it_escalates_from_one_to_the_next(session: Session, clock: Clock) -> None:
    app = chain(escalating, send).compile()
    (first,) = run(app, Mail(), session, "t").waiting
    clock.now += DAY
    (second,) = resume(app, session, "t").waiting
    assert (second.value["review"], second.value["due"]) == ("boss", (BEGIN + DAY * 3).isoformat())
    with pytest.raises(AnswerTooLate, match="escalating"):
        app.invoke(Command(resume={first.id: "approve"}), session.config("t"))
    result = app.invoke(Command(resume="approve"), session.config("t"))
    assert result["status"] == "sent"
    run(app, Mail(), session, "u")
    for days in (1, 2):
        clock.now += DAY * days
        result = app.invoke(None, session.config("u"))
    assert result["status"] == "parked sent"


def test_beside_each_other_each_has_its_own(session: Session, clock: Clock) -> None:
    @review("other", deadline=DAY * 2, otherwise="approve")
    def later(mail: Mail) -> str:
        return "Later?"

    app = section({"one": rejecting, "two": later}, merge=send).compile()
    first = run(app, Mail(), session, "t")
    one, two = sorted(first.waiting, key=lambda item: item.value["due"])
    clock.now += DAY
    assert [item.id for item in due(session)] == [one.id]
    with pytest.raises(AnswerTooLate, match="rejecting"):
        app.invoke(Command(resume={one.id: "approve", two.id: "approve"}), session.config("t"))
    result = app.invoke(Command(resume={two.id: {"decision": "edit", "value": "x"}}), session.config("t"))
    assert (result["other"], result["status"]) == ("x", "sent")
    assert "nobody answered" in result["why"]


def test_an_answer_in_time_stands_although_the_run_stops(session: Session, clock: Clock) -> None:
    """The node that took it runs again after the deadline: in one node with what fails behind it."""
    fails = [True]

    async def both(mail: Mail) -> dict[str, str]:
        verdict = await rejecting.answer(mail)
        if fails.pop():
            raise ConnectionError("line cut")
        return {"status": str(verdict.label)}

    app = chain(both).compile()
    app.invoke(Mail(), session.config("t"))
    with pytest.raises(ConnectionError):
        app.invoke(Command(resume="approve"), session.config("t"))
    clock.now += DAY * 2
    fails[:] = [False]
    assert resume(app, session, "t").values["status"] == "approved"


def test_as_the_judge_of_a_loop(session: Session, clock: Clock) -> None:
    """Each round has a deadline of its own; what nobody answers counts as said."""

    @step("text")
    def write(mail: Mail) -> Ask[str]:
        return Ask(f"Write. {mail.why}")

    app = refine(write, rejecting, until=lambda verdict: verdict.approved, rounds=2).compile()
    with ScriptedModel(["one", "two"]) as model, using(model):
        run(app, Mail(), session, "t")
        clock.now += DAY
        again = resume(app, session, "t")
        assert "nobody answered" in str(model.asks[1][1].messages)
        assert again.status == "done"  # by the field's time, which is over in the second round too


def test_a_fork_of_one_that_waits_has_the_same_deadline(session: Session, clock: Clock) -> None:
    app = chain(parking, send).compile()
    run(app, Mail(), session, "t")
    new = fork(session, "t")
    clock.now += DAY
    assert {item.thread_id for item in due(session)} == {"t", new}
    assert resume(app, session, new).values["status"] == "parked sent"
    with pytest.raises(AnswerTooLate, match=f"the thread '{new}' has gone on"):
        resume(app, session, new, answer="approve")


def test_what_is_put_together_wrongly_is_told(session: Session) -> None:
    with pytest.raises(DefinitionError, match="give deadline"):
        review("text", otherwise="approve")
    with pytest.raises(DefinitionError, match='expected "approve", "reject"'):
        review("text", deadline=DAY, otherwise="aprove")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="no time zone"):
        review("text", deadline=BEGIN.replace(tzinfo=None), otherwise="reject")(question)
    with pytest.raises(DefinitionError, match=r"reads 'untill'.*Did you mean 'until'"):
        review("text", deadline="untill", otherwise="reject")(question)
    with pytest.raises(DefinitionError, match="never answers 'expired'"):
        route(approving, {"approved": send, "rejected": park, "expired": park})
    with pytest.raises(DefinitionError, match="no branch for 'expired'"):
        route(expiring, {"approved": send, "rejected": park})
    with pytest.raises(InputError, match="so the run must be kept"):
        chain(approving, send).compile().invoke(Mail())
