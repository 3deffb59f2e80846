"""Agents that wait for a person, and agents whose process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import (
    ScriptedModel,
    Session,
    agent,
    run,
    using,
)
from stepgraph.providers.model import ToolCall
from stepgraph.tracing.forks.fork import fork

from ...child_path import child_path
from ...committed import committed_at, until_the_dead_are_known
from ...servers import Answer, ChatServer
from .desk import LOOKUP, Ticket, decisions, helper, lookup, told

sent: list[str] = []


def send_email(to: str, text: str) -> str:
    """Send an e-mail."""
    sent.append(f"{to}: {text}")
    return "sent"


mailer = agent(helper, tools=[lookup, send_email], approve=["send_email"], once=["send_email"])
MAIL = ToolCall("send_email", {"to": "ada", "text": "2 days"})


@pytest.mark.parametrize(
    ("answer", "mails", "result"),
    [
        ("approve", ["ada: 2 days"], "sent"),
        (
            {"decision": "edit", "value": {"to": "ada", "text": "Two days."}},
            ["ada: Two days."],
            'A person changed the arguments to {"to":"ada","text":"Two days."}.\nsent',
        ),
        (
            {"decision": "reject", "reason": "Too blunt."},
            [],
            "A person rejected this call: Too blunt. Do not make it again.",
        ),
    ],
)
def test_a_person_decides(session: Session, answer: Any, mails: list[str], result: str) -> None:
    sent.clear()
    app = mailer.compile()
    with ScriptedModel([[LOOKUP, MAIL], "Done."]) as model, using(model):
        first = run(app, Ticket(), session, "t")
        (waiting,) = first.waiting
        assert (waiting.value["review"], waiting.value["value"]) == ("send_email", MAIL.arguments)
        assert set(waiting.value["schema"]["properties"]) == {"to", "text"} or waiting.value["schema"]
        again = run(app, Command(resume={"decision": "edit", "value": {"to": 3}}), session, "t")
        assert "problem" in again.waiting[0].value
        done = run(app, Command(resume=answer), session, "t")
    assert (done.status, sent, told(model)) == ("done", mails, ["A1 arrives in 2 days", result])
    assert decisions(session, "tool").count("ran") == (1 if "rejected" in result else 2)


def test_what_a_person_changed_is_told_without_what_nobody_said(session: Session) -> None:
    def send_note(to: str, text: str = "Hello.") -> str:
        """Send a note."""
        return f"{to}: {text}"

    app = agent(helper, tools=[send_note], approve=["send_note"]).compile()
    with ScriptedModel([ToolCall("send_note", {"to": "ada"}), "Done."]) as model, using(model):
        run(app, Ticket(), session, "t")
        run(app, Command(resume={"decision": "edit", "value": {"to": "bob"}}), session, "t")
    assert told(model) == ['A person changed the arguments to {"to":"bob"}.\nbob: Hello.']


def test_a_fork_does_not_send_again(session: Session) -> None:
    sent.clear()
    eager = agent(helper, tools=[send_email], once=["send_email"]).compile()
    with ScriptedModel([MAIL, "Done.", MAIL, "Done again."]) as model, using(model):
        run(eager, Ticket(), session, "t")
        forked = fork(session, "t", at=0)
        assert run(eager, None, session, forked).values["reply"] == "Done again."
    assert sent == ["ada: 2 days"]


def test_a_tool_may_ask_a_person_itself(session: Session) -> None:
    def sure(what: str) -> str:
        """Ask a person."""
        return f"{what}: {interrupt(what)}"

    async def certain(what: str) -> str:
        """Ask a person."""
        return f"{what}: {interrupt(what)}"

    app = agent(helper, tools=[sure, certain, lookup]).compile()
    calls = [ToolCall("sure", {"what": "a"}), ToolCall("certain", {"what": "b"}), LOOKUP]
    with ScriptedModel([calls, "Done."]) as model, using(model):
        waiting = run(app, Ticket(), session, "t").waiting
        answers = {asked.id: f"yes, {asked.value}" for asked in waiting}
        assert run(app, Command(resume=answers), session, "t").values["reply"] == "Done."
    assert told(model) == ["a: yes, a", "b: yes, b", "A1 arrives in 2 days"]


FLOW = """
import os, sys, time
from dataclasses import dataclass
from stepgraph import Ask, Session, agent, chain, step, using


@dataclass
class Ticket:
    reply: str = ""


@step("reply")
def helper(ticket: Ticket) -> Ask[str]:
    return Ask("?")


def note(what: str) -> str:
    "Note."
    with open("notes.txt", "a") as file:
        file.write(what + "\\n")
    return "noted " + what


def send(to: str) -> str:
    "Send."
    return note(to)


def wait() -> str:
    "Wait."
    with open("waiting", "w"):
        pass
    if not os.environ.get("RESUME"):
        time.sleep(60)
    return "waited"


app = chain(agent(helper, tools=[note, send, wait], once=["send"])).compile()

if __name__ == "__main__":
    with Session("runs.sqlite") as session, using({"model": "m", "base_url": sys.argv[1]}):
        given = None if os.environ.get("RESUME") else Ticket()
        print(app.invoke(given, session.config("t"))["reply"])
"""


def test_a_kill_in_the_loop_repeats_no_call_and_no_finished_tool(tmp_path: Path, server: ChatServer) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    beside = (("note", '{"what": "a"}'), ("send", '{"to": "b"}'), ("wait", "{}"))
    server.will(
        Answer(None, tool_calls=(("note", '{"what": "first"}'),)), Answer(None, tool_calls=beside), "Done."
    )
    command = [sys.executable, "flow.py", server.url]
    environment = {**os.environ, "PYTHONPATH": child_path()}
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        until(lambda: (tmp_path / "waiting").exists() and len(lines(tmp_path)) == 3)
        until(lambda: finished(tmp_path) >= 2)
        process.send_signal(signal.SIGKILL)
    assert server.calls == 2

    until_the_dead_are_known(tmp_path / "runs.sqlite")
    environment["RESUME"] = "1"
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "Done.\n", done.stderr
    assert server.calls == 3
    assert sorted(lines(tmp_path)) == ["a", "b", "first"]
    results = [m["content"] for m in server.bodies[-1]["messages"] if m["role"] == "tool"]
    assert results == ["noted first", "noted a", "noted b", "waited"]


def lines(folder: Path) -> list[str]:
    notes = folder / "notes.txt"
    return notes.read_text().splitlines() if notes.exists() else []


def finished(folder: Path) -> int:
    """Return how many of the tools that ran beside each other have their result in the checkpoints."""
    sql = (
        "SELECT count(DISTINCT task_id) FROM writes WHERE channel = 'stepgraph_messages' AND "
        "checkpoint_id = (SELECT max(checkpoint_id) FROM writes WHERE channel = 'stepgraph_messages')"
    )
    return int(committed_at(folder / "runs.sqlite", sql)[0][0])


def until(true: Any) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within 30 s")
