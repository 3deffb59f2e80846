"""A run that lost its claim pays and writes nothing more; a refused run or write changes nothing."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, arun, chain, resume, run, step, using
from stepgraph.state.errors import ClaimLost, GraphChanged, InputError, StepgraphError, StoreError, ThreadBusy
from stepgraph.state.journal.owners import FileOwner
from stepgraph.state.journal.records import Description

from ...committed import everything

STEPS = 12
RUNNER = """
import os, sys
from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.journal import claims
from dataclasses import dataclass

claims.LIFETIME_S, claims.RENEW_S = 0.6, 0.2

@dataclass
class Note:
    text: str = ""

def asking(number):
    def ask(note: Note) -> Ask[str]:
        return Ask(f"q{number}")
    ask.__name__ = f"ask{number}"
    return step("text")(ask)

app = chain(*map(asking, range(12))).compile()
log = os.open(sys.argv[2], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

def answer(request, context):
    os.write(log, f"{os.getpid()} {request.messages[-1]['content']}\\n".encode())
    return "ok"

with Session(sys.argv[1]) as session, using(ScriptedModel(answer, delay_s=0.05)):
    try:
        app.invoke(Note() if sys.argv[3] == "new" else None, session.config("t"))
    except claims.ThreadBusy as error:
        sys.exit(type(error).__name__)
"""


@dataclass
class Note:
    text: str = ""
    more: str = ""


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask(f"after {note.text}")


def runner(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNNER, str(folder / "runs.sqlite"), str(folder / "asked"), how]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def asked(folder: Path) -> list[list[str]]:
    file = folder / "asked"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.skipif(os.name != "posix", reason="stops processes by signals")
@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_stood_still_while_another_took_over_pays_nothing_more(
    tmp_path: Path, seed: int
) -> None:
    stop_after = random.Random(seed).randint(1, STEPS - 3)
    first = runner(tmp_path, "new")
    while len(asked(tmp_path)) < stop_after:
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    time.sleep(1)  # longer than its claim lives
    second = runner(tmp_path, "again")
    while not any(pid == str(second.pid) for pid, _ in asked(tmp_path)):
        assert second.poll() is None, second.communicate()
        time.sleep(0.01)
    first.send_signal(signal.SIGCONT)
    assert "ClaimLost" in first.communicate(timeout=60)[1]
    second.communicate(timeout=60)
    assert second.returncode == 0
    counts = Counter(question for _, question in asked(tmp_path))
    assert set(counts) == {f"q{number}" for number in range(STEPS)}
    assert sum(counts.values()) <= STEPS + 1  # the call that was under way may be asked again
    with Session(tmp_path / "runs.sqlite") as session:
        assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]


def plain(note: Note) -> dict[str, str]:
    return {"more": "x"}


def take_over(session: Session) -> None:
    with Session(session.database) as other:
        other.journal.write([("UPDATE claims SET owner = 'them'", ())])


@pytest.mark.parametrize("place", ["paid call", "node", "effect"])
async def test_a_lost_claim_is_noticed_and_nothing_is_written(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    def lose(note: Note) -> dict[str, str]:
        take_over(session)
        monkeypatch.setattr("stepgraph.state.journal.claims.LIFETIME_S", 0.0)
        return {"more": "written by the loser"}

    model = ScriptedModel(lambda *_: "paid")
    rest = {"paid call": [ask], "node": [plain], "effect": [ask]}[place]
    with using(model), pytest.raises(ClaimLost, match="no longer run by this process"):
        await chain(ask, lose, *rest).compile().ainvoke(Note(), session.config("t"))
    assert len(model.asks) == 1
    kept = session.journal.query("SELECT node FROM node_runs")
    assert [row["node"] for row in kept] == ["ask"]
    assert session.journal.query("SELECT status, error FROM runs") == [{"status": "running", "error": None}]
    assert session.journal.query("SELECT owner FROM claims") == [{"owner": "them"}]
    assert not caplog.records  # the run raises it; LangChain need not log it for each node


class Loud(BaseCallbackHandler):
    """A user's own handler, with an error of its own."""

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        raise InputError("a user's own")


Loud.__name__ = "Recorder"


def test_a_refused_run_is_raised_and_not_logged(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    with Session(session.database) as other:
        other.claims.acquire("t")
        with pytest.raises(ThreadBusy):
            waiting.invoke(Note(), session.config("t"))
    assert not caplog.records
    waiting.invoke(Note(), {"callbacks": [Loud()], "configurable": {"thread_id": "u"}})
    assert "a user's own" in caplog.text


async def test_a_claim_that_is_lost_between_two_calls_of_one_node_is_noticed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asks_twice(note: Note) -> dict[str, str]:
        first = await ask.answer(note)
        take_over(session)
        monkeypatch.setattr("stepgraph.state.journal.claims.LIFETIME_S", 0.0)
        return {"text": first + await ask.answer(note)}

    model = ScriptedModel(lambda *_: "paid")
    with using(model), pytest.raises(ClaimLost, match="no longer run by this process"):
        await chain(asks_twice).compile().ainvoke(Note(), session.config("t"))
    assert len(model.asks) == 1


def test_a_renewal_that_finds_nothing_is_noticed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepgraph.state.journal.claims.RENEW_S", 0.02)
    session.claims.acquire("t")
    take_over(session)
    deadline = time.monotonic() + 30
    while "t" not in session.claims._lost:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ClaimLost):
        session.claims.check("t")


@pytest.mark.parametrize("form", ["same config", "other config", "subgraph", "async", "delete"])
async def test_a_thread_that_is_run_cannot_be_changed_from_outside(session: Session, form: str) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hold(note: Note) -> dict[str, str]:
        began.set()
        await go_on.wait()
        return {"text": "held"}

    graph = StateGraph(Note)
    graph.add_node("hold", hold)
    graph.add_edge(START, "hold")
    graph.add_edge("hold", END)
    app, config = graph.compile(), session.config("t")
    running = asyncio.create_task(app.ainvoke(Note(), config))
    await began.wait()
    before = session.journal.query("SELECT count(*) AS n FROM writes")
    with pytest.raises(ThreadBusy):  # noqa: PT012
        if form == "async":
            await app.aupdate_state(session.config("t"), {"more": "edited"})
        elif form == "delete":
            session.checkpointer.delete_thread("t")
        else:
            app.update_state(config if form == "same config" else session.config("t"), {"more": "edited"})
    assert session.journal.query("SELECT count(*) AS n FROM writes") == before
    go_on.set()
    assert (await running)["more"] == ""
    app.update_state(config, {"more": "edited"})
    assert app.get_state(config).values["more"] == "edited"


def waits(note: Note) -> dict[str, Any]:
    return {"text": interrupt("what?")}


waiting = chain(waits, name="waiting").compile()
another = chain(ask, name="waiting").compile()
APPROVED = Command(resume="this")
ENTRIES: dict[str, Callable[[Any, Session], Any]] = {
    "run": lambda app, session: run(app, Note("x"), session, "t", budget=Budget()),
    "the same input": lambda app, session: run(app, Note(), session, "t"),
    "restart": lambda app, session: run(app, Note(), session, "t", restart=True, budget=Budget(calls=9)),
    "arun": lambda app, session: asyncio.run(arun(app, None, session, "t", budget=Budget(calls=9))),
    "resume": lambda app, session: resume(app, session, "t", answer="this", budget=Budget(calls=9)),
    "described": lambda app, session: run(
        app, Note("x"), session, "t", description=Description("other.py:graph", {"a": "b"}, {"text": "x"})
    ),
    "invoke": lambda app, session: app.invoke(Note("x"), session.config("t", budget=Budget(), graph=app)),
    "an answer": lambda app, session: app.invoke(APPROVED, session.config("t", graph=app)),
    "ainvoke": lambda app, session: asyncio.run(app.ainvoke(Note("x"), session.config("t", graph=app))),
    "stream": lambda app, session: list(app.stream(Note("x"), session.config("t", graph=app))),
    "astream": lambda app, session: asyncio.run(_streamed(app, session)),
    "events": lambda app, session: asyncio.run(_events(app, session)),
    "batch": lambda app, session: app.batch([Note("x")], session.config("t", graph=app)),
}


async def _streamed(app: Any, session: Session) -> None:
    async for _ in app.astream(Note("x"), session.config("t", graph=app, user="ada", tags=["late"])):
        pass


async def _events(app: Any, session: Session) -> None:
    async for _ in app.astream_events(Note("x"), session.config("t", graph=app), version="v2"):
        pass


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("refusal", [ThreadBusy, GraphChanged])
def test_a_refused_run_changes_nothing(session: Session, entry: str, refusal: type[StepgraphError]) -> None:
    described = Description("flow.py:graph", {}, {"text": ""})
    run(waiting, Note(), session, "t", budget=Budget(calls=3), description=described)
    before = everything(session, without=["claims"])
    with Session(session.database) as other:
        if refusal is ThreadBusy:
            other.claims.acquire("t")
        with pytest.raises(refusal):
            ENTRIES[entry](waiting if refusal is ThreadBusy else another, session)
        assert everything(session, without=["claims"]) == before
    assert session.budget_of("t") == Budget(calls=3)
    assert resume(waiting, session, "t", answer="that").values["text"] == "that"


@pytest.mark.sqlite_file("the dead of this machine; Postgres has leases")
@pytest.mark.parametrize("change", ["process", "machine"])
def test_the_dead_are_known_by_more_than_their_number(
    session: Session, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The number of a dead process is soon another's: in a container that was restarted it is always 1."""
    row = FileOwner(session.path).row()
    row[change] = f"{str(row['process']).split()[0]} 1" if change == "process" else "x"
    names = ", ".join(("thread_id", "owner", "expires_at", *row))
    values = ("t", "nobody.1", time.time() + 60, *row.values())
    session.journal.write([(f"INSERT INTO claims ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)])
    session.claims.acquire("t")


@pytest.mark.sqlite_file("a lock on a file beside the database")
def test_a_sign_of_life_is_seen_and_ends_with_its_owner(tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as one, Session(tmp_path / "runs.sqlite") as two:
        one.claims.acquire("t")
        with pytest.raises(ThreadBusy):
            two.claims.acquire("t")
        owner = one.claims.owner
        assert isinstance(owner, FileOwner)
        assert owner._lock is not None
        os.close(owner._lock)
        owner._lock = None
        two.claims.acquire("t")
    assert [file.name for file in tmp_path.iterdir()] == ["runs.sqlite"]


def run_in_child(session: Session, thread: str, queue: Any) -> None:
    try:
        with using(ScriptedModel(lambda *_: "child")):
            queue.put(run(chain(ask).compile(), Note(), session, thread).status)
    except Exception as error:
        queue.put(type(error).__name__)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(("thread", "told"), [("another", "done"), ("t", "ThreadBusy")])
def test_a_session_works_in_a_forked_child_and_in_its_parent(
    session: Session, thread: str, told: str
) -> None:
    session.claims.acquire("t")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=run_in_child, args=(session, thread, queue))
    child.start()
    assert queue.get(timeout=30) == told
    child.join(30)
    session.claims.check("t")
    session.claims.release("t")
    with using(ScriptedModel(["parent"])):
        assert run(chain(ask).compile(), Note(), session, "t").status == "done"
    assert {row["answer"] for row in session.journal.query("SELECT answer FROM calls")} <= {"child", "parent"}


def on_disk(path: Path) -> list[str]:
    """Return the answers that outlive this process: in the database without its log, and in the spill."""
    answers = []
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchall():  # else in the log
            answers = [str(answer) for (answer,) in database.execute("SELECT answer FROM calls")]
    spill = path.with_name(f"{path.name}.spill")
    lines = spill.read_text("utf-8").splitlines() if spill.exists() else []
    return [*answers, *(json.loads(line)["answer"] for line in lines)]


@pytest.mark.sqlite_file("a file that is harmed")
@pytest.mark.parametrize("when", ["between calls", "in a call"])
@pytest.mark.parametrize("harm", ["deleted", "replaced", "log cut", "log cut by half", "cut"])
def test_a_file_that_is_harmed_in_use_is_told_before_the_next_call(
    tmp_path: Path, harm: str, when: str
) -> None:
    """What was paid for is in the database, or in the spill beside it, where that can be read at all."""
    path = tmp_path / "runs.sqlite"
    log = tmp_path / "runs.sqlite-wal"

    def do_harm() -> None:
        if harm == "cut":
            session.journal.query("PRAGMA wal_checkpoint(TRUNCATE)")
            session.claims.acquire("another")  # with another log that holds little
            os.truncate(path, 100)
        elif harm.startswith("log cut"):
            os.truncate(log, log.stat().st_size // 2 if "half" in harm else 0)
        else:
            log.unlink()
        if harm == "replaced":
            log.write_bytes(b"")

    def harmed(note: Note) -> None:
        if when == "between calls":
            do_harm()

    def answer(*_: Any) -> str:
        if when == "in a call":
            do_harm()
        return "paid"

    model = ScriptedModel(answer)
    session = Session(path)
    with using(model), pytest.raises(StoreError, match=r"while it was in use|is damaged"):
        chain(ask, harmed, ask).compile().invoke(Note(), session.config("t"))
    assert len(model.asks) == 1
    if harm not in ("deleted", "replaced"):
        return
    assert "paid" in on_disk(path)  # whether or not this process comes to close it
    session.close()
    with Session(path) as again:
        kept = again.journal.query("SELECT answer FROM calls WHERE thread_id = 't'")
    assert kept == [{"answer": "paid"}]


@pytest.mark.sqlite_file("a file that is made smaller")
def test_an_open_file_may_be_made_smaller(session: Session) -> None:
    from stepgraph.tracing.record.prune import delete_threads, shrink

    with using(ScriptedModel(lambda *_: "x" * 200_000)):
        chain(ask).compile().invoke(Note(), session.config("big"))
        session.journal.query("PRAGMA wal_checkpoint(TRUNCATE)")
        delete_threads(session, ["big"])
        shrink(session.path)
        chain(ask).compile().invoke(Note(), session.config("next"))
