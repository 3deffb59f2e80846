"""A run that has not ended says on top what it needs, and the command that does it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from langgraph.types import interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, effect, review, step, using
from stepgraph.runners.run import resume, run
from stepgraph.state.errors import Rejected
from stepgraph.state.journal.records import Description
from stepgraph.tracing.record.pending import read_waiting
from stepgraph.ui.waits import PendingQuestion, waits_of

from .conftest import Served
from .deciding import Recording, begin, hidden
from .runs import EVIL, Post

NAME = "the run's"


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


@review("draft")
def check(post: Post) -> str:
    return "Good?"


def ask(post: Post) -> dict[str, str]:
    return {"draft": interrupt({"which": "one", "of": ["a", EVIL]})}


def fail(post: Post) -> dict[str, str]:
    raise ValueError(EVIL)


def partial(session: Session) -> None:
    with using(ScriptedModel(["a", "b"])):
        run(chain(write, name="w").compile(), Post(), session, NAME, budget=Budget(calls=0))


def failed(session: Session) -> None:
    with pytest.raises(ValueError, match="script"):
        run(chain(fail).compile(), Post(), session, NAME)


def rejected(session: Session) -> None:
    graph = chain(check).compile()
    run(graph, Post(draft="x"), session, NAME)
    (item,) = read_waiting(session, NAME)
    with pytest.raises(Rejected):
        resume(graph, session, NAME, answers={item.id: {"decision": "reject", "reason": "bad", "by": "ada"}})


def reviewed(session: Session) -> None:
    run(chain(check).compile(), Post(draft="x"), session, NAME)


def asked(session: Session) -> None:
    run(chain(ask).compile(), Post(), session, NAME)


def queued(session: Session) -> None:
    session.journal.queue_run(NAME, Description("desk.py:desk", {}, {"text": "x"}))


@pytest.mark.parametrize(
    ("stand", "title", "command"),
    [
        (partial, "Its budget ended", "resume {} --budget calls=1 --graph file.py:attr"),
        (failed, "It failed", "resume {} --graph file.py:attr"),
        (rejected, "A person rejected it", "history {}"),
        (reviewed, "It waits for a person’s word", "approve {}"),
        (asked, "It waits for an answer", "resume {} --answer …"),
        (queued, "It has not begun", "resume {}"),
    ],
)
def test_it_says_what_it_needs(
    desk: Served, stand: Callable[[Session], None], title: str, command: str
) -> None:
    stand(desk.session)
    page = desk.get("/run", thread=NAME).text
    top = page.partition('<dl class="facts">')[0]
    assert title in top
    assert f"stepgraph {command.format(shlex.quote(NAME))}" in unescape(top)
    assert f"--db {shlex.quote(str(desk.session.database))}" in unescape(top)
    assert "<script>window" not in page
    assert not re.search(r"\{'\w+':", unescape(page))  # no dictionary of Python
    assert 'marker-end="url(#tip-taken)"' not in page.rpartition('class="edge')[2] or stand is rejected


def test_an_answer_of_another_kind_is_typed(desk: Served, launcher: Recording, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "other")
    asked(desk.session)
    desk.session.journal.write([("UPDATE runs SET graph = 'desk.py:desk' WHERE thread_id = ?", (NAME,))])
    page = desk.get("/run", thread=NAME).text
    assert "which" in page
    form = hidden(page)
    assert desk.post("/answer", form, answer='{"a": 1}').status == 303
    assert launcher.wait_for(1)[0][:2] == ["resume", '--answer={"a": 1}']
    assert desk.post("/answer", form, answer="again").status == 409
    assert desk.post("/answer", hidden(desk.get("/run", thread="other").text), answer="x").status == 422


def test_a_person_says_whether_a_side_effect_happened(desk: Served, launcher: Recording) -> None:
    @effect(key=lambda post: "mail-1")
    def send(post: Post, key: str) -> dict[str, str]:
        raise ConnectionError("line cut")

    with pytest.raises(ConnectionError):
        run(chain(send).compile(), Post(), desk.session, NAME)
    (open_one,) = desk.session.undecided_effects()
    page = desk.get("/run", thread=NAME).text
    assert "Nobody knows whether a side effect happened" in page
    assert (
        f"stepgraph effect {open_one.key} --done --db {shlex.quote(str(desk.session.database))}"
        in unescape(page)
    )
    form = hidden(page)
    assert (form["key"], form["happened"]) == (open_one.key, "yes")
    assert desk.post("/effect", {**form, "key": "another"}).status == 409
    assert desk.post("/effect", form).status == 303
    assert not desk.session.undecided_effects()
    assert desk.post("/effect", form).status == 409
    assert "Nobody knows" not in desk.get("/run", thread=NAME).text
    assert not launcher.arguments


def test_who_is_asked_meanwhile_is_told(desk: Served, launcher: Recording) -> None:
    reviewed(desk.session)
    desk.session.journal.write([("UPDATE runs SET graph = 'desk.py:desk' WHERE thread_id = ?", (NAME,))])
    (item,) = waits_of(desk.session, NAME)
    passed_on = PendingQuestion(replace(item.waiting, value={**item.details, "to": "grace", "asked": []}))
    assert passed_on.digest != item.digest
    form = {**hidden(desk.get("/run", thread=NAME).text), "shown": passed_on.digest}
    assert "It has changed since you looked at it" in desk.post("/decide", form).text
    assert not launcher.arguments


def test_a_damaged_record_hides_no_other(desk: Served, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "one")
    reviewed(desk.session)
    journal = desk.session.journal
    journal.write([("UPDATE checkpoints SET checkpoint = ? WHERE thread_id = ?", (b"\xc1", NAME))])
    journal.write([("UPDATE runs SET input = '{' WHERE thread_id = ?", (NAME,))])
    assert "1 waits for you" in desk.get("/").text
    assert "Pay 49?" in desk.get("/waiting").text
    assert desk.get("/run", thread=NAME).status == 200
