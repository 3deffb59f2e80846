"""One thread is run once at a time, in one process and across processes; the dead hold nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import ThreadBusy

from ...committed import until_the_dead_are_known


@dataclass
class Note:
    text: str = "x"


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask(note.text)


graph = chain(ask).compile()


@pytest.mark.sqlite_file("the rights of a file beside the database")
async def test_what_tells_that_an_owner_lives_is_for_its_user_alone(session: Session, tmp_path: Path) -> None:
    modes = []

    def look(note: Note) -> dict[str, str]:
        modes.extend(file.stat().st_mode & 0o777 for file in tmp_path.glob("*.owner-*"))
        return {}

    await chain(look).compile().ainvoke(Note(), session.config("t"))
    assert modes == [0o600]


def claims(session: Session) -> int:
    return int(session.journal.query("SELECT count(*) AS n FROM claims WHERE expires_at > 0")[0]["n"])


@pytest.mark.parametrize("same_config", [True, False])
async def test_a_second_run_of_one_thread_is_refused_and_pays_nothing(
    session: Session, same_config: bool
) -> None:
    config = session.config("t")
    began, go_on = asyncio.Event(), asyncio.Event()

    class Held:
        name = "held"

        async def complete(self, request: Any, context: Any) -> Any:
            began.set()
            await go_on.wait()
            return await script.complete(request, context)

    with ScriptedModel(["one", "two"]) as script, using(Held()):
        first = asyncio.create_task(graph.ainvoke(Note(), config))
        await began.wait()
        with pytest.raises(ThreadBusy, match=f"thread 't' is being run by process {os.getpid()}"):
            await graph.ainvoke(Note(), config if same_config else session.config("t"))
        with Session(session.database) as other, pytest.raises(ThreadBusy):
            await graph.ainvoke(Note(), other.config("t"))
        go_on.set()
        assert (await first)["text"] == "one"
        assert claims(session) == 0
        assert (await graph.ainvoke(Note(), session.config("t")))["text"] == "two"


def test_sync_runs_in_threads_are_refused_too(session: Session) -> None:
    refused: list[BaseException] = []
    both_refused = threading.Event()

    def work() -> None:
        try:
            graph.invoke(Note(), session.config("t"))
        except ThreadBusy as error:
            refused.append(error)
            if len(refused) == 2:
                both_refused.set()

    class Held:
        name = "held"

        async def complete(self, request: Any, context: Any) -> Any:
            await asyncio.to_thread(both_refused.wait, 30)
            return await script.complete(request, context)

    script = ScriptedModel(lambda *_: "x")
    with using(Held()):
        workers = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    assert len(refused) == 2
    assert claims(session) == 0


@pytest.mark.parametrize("end", ["error", "interrupt", "cancel", "stream"])
async def test_a_claim_ends_with_its_run_however_that_ends(session: Session, end: str) -> None:
    def node(note: Note) -> dict[str, str]:
        if end == "error":
            raise ValueError("no")
        return {"text": interrupt("?") if end == "interrupt" else "done"}

    app = chain(ask, node).compile()
    config = session.config("t")
    with using(ScriptedModel(lambda *_: "x", delay_s=600 if end == "cancel" else 0)):
        if end == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(app.ainvoke(Note(), config), 0.05)
        elif end == "stream":
            stream = app.astream(Note(), config)
            await anext(stream)
            await stream.aclose()
        elif end == "error":
            with pytest.raises(ValueError, match="no"):
                await app.ainvoke(Note(), config)
        else:
            await app.ainvoke(Note(), config)
    for _ in range(3000):  # one that was cancelled as it began ends in its thread
        if claims(session) == 0:
            break
        await asyncio.sleep(0.01)
    assert claims(session) == 0
    if end == "interrupt":
        assert (await app.ainvoke(Command(resume="yes"), config))["text"] == "yes"


HOLDER = """
import asyncio, sys
from dataclasses import dataclass
from stepgraph import Ask, ScriptedModel, Session, chain, step, using

@dataclass
class Note:
    text: str = "x"

@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask(note.text)

def say(request, site):
    print("running", flush=True)
    return "x"

with Session(sys.argv[1]) as session, using(ScriptedModel(say, delay_s=600)):
    chain(ask).compile().invoke(Note(), session.config("t"))
"""


def test_another_process_holds_a_thread_until_it_is_killed(session: Session, tmp_path: Path) -> None:
    (tmp_path / "holder.py").write_text(HOLDER)
    holder = subprocess.Popen(
        [sys.executable, "holder.py", str(tmp_path / "runs.sqlite")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "running\n"
        with using(ScriptedModel(["mine"])):
            with pytest.raises(ThreadBusy, match=f"process {holder.pid}"):
                graph.invoke(Note(), session.config("t"))
            holder.send_signal(signal.SIGKILL)
            holder.wait(60)
            until_the_dead_are_known(session.database)
            assert graph.invoke(Note(), session.config("t"))["text"] == "mine"
    finally:
        holder.kill()
        holder.stdout.close()
        holder.wait(60)


def test_a_claim_of_another_host_ends_when_it_expires(session: Session) -> None:
    claim = (
        "INSERT INTO claims (thread_id, owner, host, pid, expires_at) VALUES ('t', 'them', 'elsewhere', 1, ?)"
    )
    session.journal.write([(claim, (time.time() + 60,))])
    with using(ScriptedModel(["mine"])):
        with pytest.raises(ThreadBusy, match="on elsewhere"):
            graph.invoke(Note(), session.config("t"))
        session.journal.write([("UPDATE claims SET expires_at = ?", (time.time() - 1,))])
        assert graph.invoke(Note(), session.config("t"))["text"] == "mine"


def test_a_claim_is_renewed_while_its_run_lives(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def expiry() -> float:
        (row,) = session.journal.query("SELECT expires_at FROM claims")
        return float(row["expires_at"])

    monkeypatch.setattr("stepgraph.state.journal.claims.RENEW_S", 0.05)
    session.claims.acquire("t")
    first, deadline = expiry(), time.monotonic() + 30
    while expiry() <= first:
        assert time.monotonic() < deadline, "it was not renewed within 30 s"
        time.sleep(0.02)
    session.claims.release("t")


def test_a_session_that_is_closed_renews_nothing_any_more(tmp_path: Path) -> None:
    def renewers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "stepgraph-claims"}

    before = renewers()
    with Session(tmp_path / "runs.sqlite") as session:
        session.claims.acquire("t")
        assert len(renewers() - before) == 1
    assert renewers() <= before


def test_nested_graphs_of_one_run_are_no_second_run(session: Session) -> None:
    def outer(note: Note) -> dict[str, str]:
        return {"text": graph.invoke(note)["text"]}

    with using(ScriptedModel(["inner"])):
        assert chain(outer).compile().invoke(Note(), session.config("t"))["text"] == "inner"
