"""Traces that are sent while the run goes on, piece by piece, and are the same as from the file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from typing import Annotated, Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from stepgraph import Ask, ScriptedModel, Session, chain, review, step, using
from stepgraph.tracing.export import live
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.record.read_spans import read_spans

from ..receivers import Receiver


@dataclass
class Job:
    number: int = 0
    found: Annotated[list[str], add] = field(default_factory=list)


@step("found")
def look(job: Job) -> Ask[list[str]]:
    return Ask(f"Look at {job.number}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_spans_arrive_before_the_run_ends_and_none_twice(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.01)
    arrived = threading.Event()

    def wait(job: Job) -> dict[str, Any]:
        for _ in range(1000):
            if receiver.spans:
                arrived.set()
                break
            threading.Event().wait(0.01)
        return {}

    def branches(job: Job) -> list[Send]:
        return [Send("look", Job(number)) for number in range(20)]

    inner = StateGraph(Job)
    inner.add_node("look", look)
    inner.add_conditional_edges(START, branches, ["look"])
    outer = StateGraph(Job)
    outer.add_node("search", inner.compile())
    outer.add_node("wait", wait)
    outer.add_edge(START, "search")
    outer.add_edge("search", "wait")
    outer.add_edge("wait", END)

    with (
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
        using(ScriptedModel(lambda request, context: ["x"])),
    ):
        outer.compile().invoke(Job(), session.config("t"))
    assert arrived.is_set()
    with Session(tmp_path / "runs.sqlite") as session:
        everything = {span.id: span.parent_id for span in read_spans(session.journal.query, "t")}
    sent = [(span.span_id.hex(), span.parent_span_id.hex() or None) for span in receiver.spans]
    assert len(sent) == len(set(sent)) == len(everything) == 43
    assert dict(sent) == everything


def test_the_answer_to_what_was_taken_is_waited_for(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers.clear()  # the server takes the spans, and is slow to say so
    join, give_up = live.LiveExporter.join, live.LiveExporter.give_up

    def joined(exporter: live.LiveExporter, until: float) -> None:
        ends = time.monotonic() + 60
        while not receiver.requests and time.monotonic() < ends:
            time.sleep(0.01)
        join(exporter, min(until, time.monotonic() + 0.05))

    def given_up(exporter: live.LiveExporter, until: float) -> None:
        monkeypatch.setattr(live.LiveExporter, "join", join)
        threading.Timer(1, receiver.answers.set).start()
        give_up(exporter, until)

    monkeypatch.setattr(live.LiveExporter, "join", joined)
    monkeypatch.setattr(live.LiveExporter, "give_up", given_up)
    with (
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
        using(ScriptedModel([["x"]])),
    ):
        chain(look).compile().invoke(Job(), session.config("t"))
    sent = [span.span_id for span in receiver.spans]
    assert len(sent) == 3
    with Session(tmp_path / "runs.sqlite") as session:
        (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.arrived, pushed.problem) == (0, None)
    assert [span.span_id for span in receiver.spans] == sent, "sent again, Langfuse would count it twice"


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    monkeypatch.setattr(live, "ANSWER_S", 0.2)
    receiver.answers.clear()
    with (
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
        using(ScriptedModel([["x"]])),
    ):
        chain(look).compile().invoke(Job(), session.config("t"))
    receiver.answers.set()
    with Session(tmp_path / "runs.sqlite") as session:
        (pushed,) = push(session, [receiver.langfuse()])
    assert pushed.arrived == 3, "nobody knows what became of them: they are sent again, under their ids"


def test_a_run_that_goes_on_elsewhere_sends_nothing_twice(tmp_path: Path, receiver: Receiver) -> None:
    @step("found")
    def confirm(job: Job) -> Ask[list[str]]:
        return Ask("Really?")

    @review("number")
    def approve(job: Job) -> str:
        return "Is it found?"

    app = chain(look, approve, confirm).compile()
    for given in (Job(), Command(resume="approve")):
        with (
            Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
            using(ScriptedModel(lambda request, context: ["x"])),
        ):
            app.invoke(given, session.config("t"))
    ids = [span.span_id for span in receiver.spans]
    (root,) = {span.span_id for span in receiver.spans if not span.parent_span_id}
    assert {id_ for id_ in ids if ids.count(id_) > 1} == {root}, "the root alone, as it says more"
