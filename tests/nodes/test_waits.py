"""The wait: what says its time, who lets it go on, and that its first word stands wherever it is."""

from __future__ import annotations

import operator
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import Session, chain, due, fan_out, resume, review, route, rule, run, section, wait
from stepgraph.cli.support.show import step_lines
from stepgraph.errors import DefinitionError, InputError
from stepgraph.tracing import read_run, read_waiting
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.notes import notes
from stepgraph.ui.steps import step_view

from ..committed import until_the_dead_are_known

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = BEGIN.replace(tzinfo=None)
DAY = timedelta(days=1)


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
    at: datetime = BEGIN + DAY
    after: timedelta = DAY
    text: str = ""
    status: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    each: list[Mail] = field(default_factory=list)


class Typed(TypedDict, total=False):
    at: datetime
    after: timedelta
    status: str


class Model(BaseModel):
    at: datetime = BEGIN + DAY
    after: timedelta = DAY
    status: str = ""


def said(mail: Mail) -> datetime:
    return mail.at


async def asked(mail: Mail) -> timedelta:
    return mail.after


def send(mail: Mail) -> dict[str, Any]:
    return {"status": "sent", "log": [mail.to]}


def note(mail: Mail) -> dict[str, Any]:
    return {"text": "hello"}


UNTIL = [
    BEGIN + DAY,
    (BEGIN + DAY).astimezone(timezone(timedelta(hours=-7))),
    DAY,
    "at",
    "after",
    said,
    asked,
    lambda mail: mail.at,
    lambda mail: asked(mail),
]


@pytest.mark.parametrize("until", UNTIL, ids=range(len(UNTIL)))
async def test_the_run_goes_on_when_the_time_has_come(until: Any, session: Session, clock: Clock) -> None:
    app = chain(wait(until=until), send).compile()
    results: list[Any] = [run(app, Mail(), session, "one"), await app.ainvoke(Mail(), session.config("two"))]
    chunks = list(app.stream(Mail(), session.config("three"), stream_mode="updates"))
    assert results[0].status == "interrupted"
    assert "__interrupt__" in results[1]
    assert "__interrupt__" in chunks[-1]
    assert {item.due for item in read_waiting(session)} == {BEGIN + DAY}
    clock.now += DAY - timedelta(microseconds=1)
    assert due(session) == []
    assert resume(app, session, "one").status == "interrupted"
    assert "__interrupt__" in await app.ainvoke(None, session.config("two"))
    clock.now += timedelta(microseconds=1)
    assert [item.thread_id for item in due(session)] == ["one", "three", "two"]
    assert resume(app, session, "one").values["status"] == "sent"
    assert (await app.ainvoke(None, session.config("two")))["status"] == "sent"
    list(app.stream(None, session.config("three")))
    assert app.get_state(session.config("three")).values["log"] == ["ada"]
    assert due(session) == []
    decided = session.journal.query("SELECT kind, choice, reason FROM decisions WHERE thread_id = 'one'")
    assert decided == [
        {"kind": "wait", "choice": "its time came", "reason": f"due {(BEGIN + DAY).isoformat()}"}
    ]


@pytest.mark.parametrize("until", ["at", "after"])
def test_each_kind_of_state_says_its_time(until: str, session: Session, clock: Clock) -> None:
    def typed(state: Typed) -> dict[str, str]:
        return {"status": "sent"}

    def modelled(state: Model) -> dict[str, str]:
        return {"status": "sent"}

    given = [(typed, {"at": BEGIN + DAY, "after": DAY}), (modelled, Model())]
    apps = [(chain(wait(until=until), node).compile(), state) for node, state in given]
    for number, (app, state) in enumerate(apps):
        assert run(app, state, session, str(number)).status == "interrupted"
    clock.now += DAY
    for number, (app, _) in enumerate(apps):
        assert resume(app, session, str(number)).values["status"] == "sent"


def test_a_time_that_is_over_is_not_waited_for(session: Session) -> None:
    for until in (BEGIN, BEGIN - DAY, timedelta(0), -DAY):
        app = chain(wait(until=until), send).compile()
        assert run(app, Mail(), session).status == "done"


def test_the_first_word_stands(tmp_path: Path, clock: Clock) -> None:
    """Whatever is said later, by the function, the field or the clock, and in whatever process."""
    times = iter([BEGIN + DAY])
    app = chain(wait(until=lambda mail: next(times)), send).compile()
    for _ in range(3):
        with Session(tmp_path / "runs.sqlite", clock=clock) as session:
            result = run(app, Mail(), session, "t")
            assert [item.due for item in read_waiting(session)] == [BEGIN + DAY]
            assert result.status == "interrupted"
        clock.now += DAY / 4
    clock.now += DAY / 4
    with Session(tmp_path / "runs.sqlite", clock=clock) as session:
        assert resume(app, session, "t").values["log"] == ["ada"]


@pytest.mark.parametrize("answer", [True, "yes", {"decision": "approve"}, {"by": "ada"}])
def test_an_answer_does_not_shorten_it_by_chance(answer: Any, session: Session, clock: Clock) -> None:
    app = chain(wait(until=DAY), send).compile()
    app.invoke(Mail(), session.config("t"))
    result = resume(app, session, "t", answer=answer)
    assert result.status == "interrupted"
    assert "It is not time yet" in result.waiting[0].value["problem"]
    clock.now += DAY
    result_ = app.invoke(Command(resume=answer), session.config("t"))
    assert result_["log"] == ["ada"]


@pytest.mark.parametrize("answer", ["now", " NOW ", {"decision": "now", "by": "ada", "reason": "urgent"}])
def test_a_person_may_let_it_go_on(answer: Any, session: Session, clock: Clock) -> None:
    app = chain(wait(until=DAY), send).compile()
    app.invoke(Mail(), session.config("t"))
    assert app.invoke(Command(resume=answer), session.config("t"))["status"] == "sent"
    (decided,) = session.journal.query("SELECT choice, reason FROM decisions")
    assert decided["choice"] == "went on early"
    assert ("by ada: urgent" in decided["reason"]) == isinstance(answer, dict)
    clock.now += DAY
    assert due(session) == []
    with pytest.raises(InputError, match="it has ended"):
        resume(app, session, "t", answer="now")


@review("text")
def check(mail: Mail) -> str:
    return "Send?"


def test_beside_others_each_keeps_its_own(session: Session, clock: Clock) -> None:
    """In branches, nested graphs and lists; and one answer goes to the one question among them."""

    @rule("each")
    def list_them(mail: Mail) -> list[Mail]:
        return [Mail(to=name, after=DAY * n) for n, name in enumerate(("ada", "bob"), 1)]

    later = chain(wait(until="after"), send)
    graph = chain(
        section({"one": chain(wait(until=DAY), note), "two": wait(until=DAY * 2), "three": check}),
        fan_out(list_them, later, into="each"),
        send,
    )
    app = graph.compile()
    assert len(run(app, Mail(), session, "t").waiting) == 3
    assert len(run(app, Command(resume="approve"), session, "t").waiting) == 2
    clock.now += DAY
    assert len(resume(app, session, "t").waiting) == 1
    with pytest.raises(InputError, match="No question with the id"):
        resume(app, session, "t", answers={"0" * 32: "now"})
    clock.now += DAY
    assert len(resume(app, session, "t").waiting) == 2
    assert len(due(session)) == 0
    clock.now += DAY
    assert len(due(session)) == 1
    assert len(resume(app, session, "t").waiting) == 1
    clock.now += DAY
    result = resume(app, session, "t")
    assert result.status == "done"
    assert [mail.status for mail in result.values["each"]] == ["sent", "sent"]


def test_in_a_loop_each_round_waits_anew(session: Session, clock: Clock) -> None:
    graph: Any = StateGraph(Mail)
    graph.add_node("pause", wait(until=DAY))
    graph.add_node("send", send)
    graph.add_edge(START, "pause")
    graph.add_edge("pause", "send")
    graph.add_conditional_edges("send", lambda mail: "pause" if len(mail.log) < 3 else END)
    app = graph.compile()
    for sent in range(3):
        result = app.invoke(None if sent else Mail(), session.config("t"))
        assert len(result["log"]) == sent
        clock.now += DAY
    assert app.invoke(None, session.config("t"))["log"] == ["ada"] * 3


def test_several_in_one_graph_are_told_apart() -> None:
    graph = chain(wait(until=DAY), note, wait(until=DAY * 2), send)
    assert [name for name in graph.nodes if name.startswith("wait")] == ["wait", "wait_2"]
    with pytest.raises(DefinitionError, match="two parts are named 'pause'"):
        chain(wait(until=DAY, name="pause"), note, wait(until=DAY * 2, name="pause"))


def test_a_fork_keeps_the_time_or_counts_anew(session: Session, clock: Clock) -> None:
    app = chain(note, wait(until=DAY), send).compile()
    app.invoke(Mail(), session.config("t"))
    clock.now += DAY / 2
    same, anew = fork(session, "t"), fork(session, "t", at=0)
    for thread in (same, anew):
        app.invoke(None, session.config(thread))
    found = {item.thread_id: item.due for item in read_waiting(session)}
    assert found == {"t": BEGIN + DAY, same: BEGIN + DAY, anew: BEGIN + DAY * 1.5}
    clock.now += DAY / 2
    assert {item.thread_id for item in due(session)} == {"t", same}
    assert resume(app, session, same).status == "done"
    assert resume(app, session, anew).status == "interrupted"


def test_what_names_no_time_is_told_before_anything_runs() -> None:
    for until, told in (
        (NAIVE, "no time zone"),
        (3, "3 is no time"),
        (None, "None is no time"),
    ):
        with pytest.raises(DefinitionError, match=told) as error:
            wait(until=until)  # type: ignore[call-overload]
        assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    for field_, told in (("att", "Did you mean 'at'"), ("text", "Mail.text holds str, which is no time")):
        with pytest.raises(DefinitionError, match=told):
            chain(wait(until=field_), send)


@pytest.mark.parametrize("value", [NAIVE, None, "tomorrow", 3, timedelta.max])
def test_what_the_state_says_is_checked(value: Any, session: Session) -> None:
    for until in ("at", lambda mail: mail.at):
        app = chain(wait(until=until), send).compile()
        with pytest.raises(InputError, match=r"no time zone|expected a datetime|beyond the last year"):
            app.invoke(Mail(at=value), session.config())


def test_it_needs_a_session_and_says_so(tmp_path: Path) -> None:
    graph = chain(wait(until=DAY), send)
    with pytest.raises(InputError, match="give it a session"):
        graph.compile().invoke(Mail())
    with Session(tmp_path / "r.sqlite", clock=lambda: NAIVE) as session:
        app, config = graph.compile(), session.config()
        with pytest.raises(InputError, match="without a zone"):
            app.invoke(Mail(), config)


def test_it_is_seen_everywhere(session: Session) -> None:
    def way(mail: Mail) -> str:
        return "later"

    app = chain(route(way, {"later": wait(until=DAY, name="pause")}), send).compile()
    app.invoke(Mail(), session.config("t"))
    (item,) = read_waiting(session)
    assert (item.due, item.value["wait"], item.path) == (BEGIN + DAY, "pause", "route_way/later")
    run_ = read_run(session, "t")
    node = next(node for node in run_.steps if node.span.name == "later")
    assert any(note.startswith("waits until 2026-03-0") for note in notes(run_, node.span, None))
    assert (BEGIN + DAY).isoformat() in "\n".join(step_lines(node, full=True))
    view = step_view(run_, node.span.id)
    assert view is not None
    assert view.waits


KILLED = """
import os, signal, sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from stepgraph import Session, chain, section, wait

at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=int(sys.argv[1]))

@dataclass
class Mail:
    to: str = "ada"
    status: str = ""

def note(mail: Mail) -> dict:
    return {"to": "bob"}

async def work(mail: Mail) -> dict:
    import asyncio
    while at.hour == 0:
        await asyncio.sleep(0.01)
        if session.journal.query("SELECT count(*) AS n FROM waits")[0]["n"]:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"status": "sent"}

with Session("runs.sqlite", clock=lambda: at) as session:
    app = section({"one": chain(wait(until=timedelta(hours=2)), note), "two": work}).compile()
    result = app.invoke(None if at.hour else Mail(), session.config("t"))
    print(result["status"], "__interrupt__" in result)
"""


def test_after_a_kill_the_time_counts_from_the_first_entry(tmp_path: Path) -> None:
    """The kill comes as soon as the wait is on record, before LangGraph has kept its interrupt."""
    outputs = []
    for hour in ("0", "1", "2"):
        command = [sys.executable, "-c", KILLED, hour]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        outputs.append(done.stdout.strip())
        until_the_dead_are_known(tmp_path / "runs.sqlite")
    assert outputs == ["", "sent True", "sent False"], done.stderr
