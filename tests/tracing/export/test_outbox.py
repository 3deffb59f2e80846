"""Destinations that are down, slow or choosy: the run is untouched, and everything arrives later, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from langgraph.types import Command, interrupt
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.tracing import fork
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.export.settings import TracingSettings, langfuse
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.reads import unsent_threads

from ...committed import until_the_dead_are_known
from ...servers import unused_url
from ..receivers import Receiver, attributes, cost_of


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


def fail(post: Post) -> None:
    raise ZeroDivisionError("by nought")


app = chain(write, name="note").compile()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


def run(file: Path, settings: TracingSettings, thread: str = "t") -> Tracing:
    tracing = Tracing(settings)
    with Session(file, tracing=tracing) as session, using(ScriptedModel(["fine"])):
        result = app.invoke(Post(), session.config(thread))
    assert result["draft"] == "fine"
    return tracing


def test_nobody_there(file: Path, receiver: Receiver) -> None:
    nobody = langfuse("pk-lf-test", "sk-lf-test", unused_url().removesuffix("/v1"))
    tracing = run(file, TracingSettings(destinations=(nobody,)))
    assert "cannot be reached" in tracing.problems[nobody.name]
    with Session(file) as session:
        assert unsent_threads(session.journal, nobody.name) == ["t"]
        (pushed,) = push(session, [receiver.langfuse()])
        assert pushed.arrived == len(read_spans(session.journal.query, "t")) == 3


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403, 404])
def test_an_endpoint_that_refuses_gets_it_later(file: Path, receiver: Receiver, status: int) -> None:
    receiver.status = status
    tracing = run(file, receiver.settings())
    assert str(status) in tracing.problems[receiver.langfuse().name]
    receiver.status = 200
    with Session(file) as session:
        (pushed,) = push(session, [receiver.langfuse()])
        assert pushed.arrived == 3
        assert unsent_threads(session.journal, receiver.langfuse().name) == []
    assert len(receiver.spans) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_page_to_log_in_on_has_taken_nothing_and_gets_no_key(
    file: Path, receiver: Receiver, status: int
) -> None:
    with Receiver() as elsewhere:
        receiver.status, receiver.redirects_to = status, f"{elsewhere.url}/login"
        tracing = run(file, receiver.settings())
        assert elsewhere.requests == []
        assert elsewhere.asked == []
    assert f"answered {status}: check the keys and the address" in tracing.problems[receiver.langfuse().name]
    receiver.status, receiver.redirects_to = 200, ""
    with Session(file) as session:
        (pushed,) = push(session, [receiver.langfuse()])
    assert pushed.arrived == 3


def test_an_address_of_web_pages_has_taken_nothing(file: Path, receiver: Receiver) -> None:
    receiver.says, receiver.kind = b"<html>Welcome</html>", "text/html; charset=utf-8"
    tracing = run(file, receiver.settings())
    assert "answered 200 with a web page: check the keys and the address" in str(tracing.problems)
    with Session(file) as session:
        assert unsent_threads(session.journal, receiver.langfuse().name) == ["t"]


def test_what_a_server_rejected_of_a_request_is_told_and_not_sent_again(
    file: Path, receiver: Receiver
) -> None:
    rejected = ExportTracePartialSuccess(rejected_spans=2, error_message="too old, says ada@example.org")
    receiver.says = ExportTraceServiceResponse(partial_success=rejected).SerializeToString()
    tracing = run(file, receiver.settings())
    assert "rejected of it 2: too old, says [email]" in tracing.problems[receiver.langfuse().name]
    with Session(file) as session:
        (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.arrived, pushed.problem) == (0, None)


def test_one_that_hangs_holds_nobody_up(file: Path, receiver: Receiver) -> None:
    receiver.hold.clear()
    run(file, receiver.settings())
    assert receiver.requests == []  # the session is closed, and the answer has not come
    with Session(file) as session:
        assert unsent_threads(session.journal, receiver.langfuse().name) == ["t"]
        receiver.hold.set()
        (pushed,) = push(session, [receiver.langfuse()])
    assert pushed.arrived == 3
    assert len({span.span_id for span in receiver.spans}) == 3


def test_spans_that_are_refused_for_good_are_told_and_hold_up_no_others(
    file: Path, receiver: Receiver
) -> None:
    run(file, TracingSettings())
    receiver.status = 400
    with Session(file) as session:
        (pushed,) = push(session, [receiver.langfuse()])
        assert (pushed.arrived, pushed.refused) == (0, 3)
        assert pushed.problem is not None
        assert "400" in pushed.problem


def test_what_is_too_large_arrives_in_pieces_and_cut(file: Path, receiver: Receiver) -> None:
    receiver.limit = 300_000
    with Session(file) as session, using(ScriptedModel(["x" * 1_000_000])):
        app.invoke(Post(), session.config("t"))
        (pushed,) = push(session, [receiver.langfuse()])
    assert (pushed.arrived, pushed.refused) == (3, 0)
    outputs = [attributes(span).get("langfuse.observation.output", "") for span in receiver.spans]
    assert any(output.endswith("… (1000000 characters)") for output in outputs)


def test_without_a_destination_nothing_happens(file: Path) -> None:
    from opentelemetry import trace

    before = trace.get_tracer_provider()
    tracing = run(file, TracingSettings())
    assert tracing.problems == {}
    assert trace.get_tracer_provider() is before


def test_a_sample_leaves_whole_traces_out_and_keeps_errors(file: Path, receiver: Receiver) -> None:
    broken = chain(write, fail, name="broken").compile()
    nothing = receiver.settings(sample=0.0)
    with Session(file, tracing=Tracing(nothing)) as session, using(ScriptedModel(["a", "b"])):
        app.invoke(Post(), session.config("good"))
        with pytest.raises(ZeroDivisionError):
            broken.invoke(Post(), session.config("bad"))
    assert {attributes(span)["session.id"] for span in receiver.spans} == {"bad"}
    with Session(file) as session:
        assert unsent_threads(session.journal, receiver.langfuse().name) == []


def test_a_new_input_on_a_thread_is_a_new_trace_of_the_same_session(file: Path, receiver: Receiver) -> None:
    run(file, receiver.settings())
    run(file, receiver.settings())
    assert len({span.trace_id for span in receiver.spans}) == 2
    assert {attributes(span)["session.id"] for span in receiver.spans} == {"t"}
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 6


DIES = """
import os, signal, sys
from dataclasses import dataclass
from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.providers.prices import Price
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.export.settings import langfuse

@dataclass
class Post:
    a: str = ""
    b: str = ""

@step("a")
def one(post: Post) -> Ask[str]:
    return Ask("one")

@step("b")
def two(post: Post) -> Ask[str]:
    return Ask("two")

dying = sys.argv[1] == "die"

async def both(post: Post) -> dict[str, str]:
    await two.answer(post)
    if dying:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"b": "done"}

app = chain(one, chain(both, name="inner"), name="outer").compile()
price = Price(input=1_000_000, output=1_000_000)
with Session("runs.sqlite") as session, using(ScriptedModel(["x", "y z"] if dying else [], price=price)):
    app.invoke(Post() if dying else None, session.config("t"))
    push(session, [langfuse("pk-lf-test", "sk-lf-test", sys.argv[2])])
"""


def test_a_killed_run_joins_its_trace_when_it_goes_on(tmp_path: Path, receiver: Receiver, file: Path) -> None:
    def process(how: str) -> int:
        words = [sys.executable, "-c", DIES, how, receiver.url]
        return subprocess.run(words, cwd=tmp_path, env={**os.environ}, check=False).returncode

    assert process("die") == -signal.SIGKILL
    until_the_dead_are_known(file)
    assert process("go on") == 0
    spans = receiver.spans
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans)
    assert len({span.trace_id for span in spans}) == 1
    assert all(span.parent_span_id in ids for span in spans if span.parent_span_id)
    named = {(s.name, attributes(s)["langfuse.observation.metadata.status"]) for s in spans}
    assert {
        ("outer", "done"),  # the root says how the whole ended
        ("inner", "unfinished"),
        ("both", "unfinished"),
        ("outer (resumed)", "done"),
        ("inner", "done"),
        ("both", "done"),
    } <= named
    with Session(file) as session:
        (row,) = session.journal.query("SELECT sum(cost_usd) AS usd FROM calls")
    assert sum(map(cost_of, spans)) == row["usd"] > 0
    replayed = [
        a for s in spans if (a := attributes(s)).get("langfuse.observation.metadata.source") == "replayed"
    ]
    assert [a["langfuse.observation.cost_details"] for a in replayed] == ['{"total": 0.0}']


def test_a_fork_shows_what_it_began_with(receiver: Receiver, file: Path) -> None:
    def approve(post: Post) -> dict[str, str]:
        return {"draft": interrupt("Publish?")}

    with Session(file) as session, using(ScriptedModel(lambda request, context: "x")):
        app = chain(write, approve, name="w").compile()
        app.invoke(Post("tea"), session.config("t"))
        fork(session, "t", 0, new_thread="f")
        app.invoke(None, session.config("f"))
        push(session, [receiver.langfuse()], ["f"])
        app.invoke(Command(resume="yes"), session.config("f"))
        push(session, [receiver.langfuse()], ["f"])
    before, after = (attributes(span) for span in receiver.spans if not span.parent_span_id)
    for root in (before, after):
        assert "tea" in root["langfuse.observation.input"], "not what a person answered"
    assert "yes" in after["langfuse.observation.output"]
