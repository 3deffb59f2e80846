"""A workflow that waits for a person, in a file that a process of its own can load."""

from __future__ import annotations

import os
import re
import threading
import time
from html import unescape
from pathlib import Path

from stepgraph import Session
from stepgraph.cli.support.pages import OURSELVES
from stepgraph.runners.loading import load_graph
from stepgraph.runners.run import run
from stepgraph.state.journal.records import Description
from stepgraph.ui.launching import Launch, Launcher

from ..child_path import child_path

GRAPH = """
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, chain, review, step


class Refund(BaseModel):
    to: str
    amount: int
    currency: Literal["EUR", "USD"] = "EUR"
    urgent: bool = False


@dataclass
class Desk:
    text: str = "It never came."
    refund: Refund | None = None
    why: str = ""
    reply: str = ""


def plan(desk: Desk) -> dict[str, Refund]:
    return {"refund": Refund(to=desk.text, amount=49)}


@review("refund", reason="why")
def check(desk: Desk) -> str:
    return "Pay " + str(desk.refund.amount) + "?"


@step("reply")
def write(desk: Desk) -> Ask[str]:
    return Ask("Write about " + str(desk.refund.amount) + ". " + desk.why)


model = ScriptedModel(lambda request, _: "Said: " + request.messages[-1]["content"])
desk = chain(plan, check, write, name="desk").compile(models=model)
"""


class Recording(Launcher):
    """Notes what would be begun; each ends once the test says so, with the `problem` that it gives."""

    def __init__(self, session: Session) -> None:
        super().__init__((), session.database)
        self.may_end = threading.Event()
        self.problem = ""
        self.arguments: list[list[str]] = []

    def _run(self, launch: Launch) -> str:
        self.arguments.append(list(launch.arguments))
        self.may_end.wait(60)
        return self.problem

    def wait_for(self, number: int) -> list[list[str]]:
        """Return what was begun, once it is so much."""
        while len(self.arguments) < number:
            time.sleep(0.005)
        return self.arguments


def real_launcher(session: Session) -> Launcher:
    """Return one that begins processes, as the command does."""
    return Launcher(OURSELVES, session.database, {**os.environ, "PYTHONPATH": child_path()})


def until_ended(launcher: Launcher, thread: str) -> Launch:
    """Return the last that was begun for a thread, once it has ended."""
    while (last := launcher.last(thread)) is None or not last.is_over:
        time.sleep(0.02)
    return last


def begin(session: Session, folder: Path, thread: str, text: str = "It never came.") -> None:
    """Run the workflow until it waits, with what another process needs to go on with it."""
    file = folder / "desk.py"
    file.write_text(GRAPH)
    reference = f"{file}:desk"
    described = Description(reference, {}, {"text": text})
    session.journal.queue_run(thread, described)
    run(load_graph(reference).graph, {"text": text}, session, thread, description=described)


def hidden(page: str, number: int = 0) -> dict[str, str]:
    """Return what a form of a page that changes something holds without being typed."""
    form = page.split('<form method="post"')[number + 1].partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)
    return {name: unescape(value) for name, value in found}
