"""A person decides on a page: by the rules of the command line, and by a form of that page only."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from stepgraph import Session, chain, review
from stepgraph.runners.loading import load_graph
from stepgraph.runners.outcomes import Job
from stepgraph.runners.run import resume
from stepgraph.runners.submitting import submit
from stepgraph.runners.turns import Turn
from stepgraph.state.journal.jobs import find_job
from stepgraph.ui.actions import Actions
from stepgraph.ui.launching import Launcher
from stepgraph.ui.records import Reader

from .conftest import TOKEN, Served
from .deciding import GRAPH, Recording, begin, hidden, real_launcher, until_ended
from .runs import EVIL, Post


def forms(served: Served, thread: str) -> dict[str, dict[str, str]]:
    """Return the hidden entries of a run's forms, by what they decide."""
    page = served.get("/run", thread=thread).text
    found = [hidden(page, number) for number in range(page.count('<form method="post"'))]
    return {form["decision"]: form for form in found if "decision" in form}


def test_what_waits_stands_on_top_whole_with_a_form(desk: Served, tmp_path: Path) -> None:
    long = "a word " * 3000
    begin(desk.session, tmp_path, "one", long)
    begin(desk.session, tmp_path, "two")
    assert "2 wait for you" in desk.get("/").text
    page = desk.get("/waiting").text
    assert "Pay 49?" in page
    assert page.count(long.strip()) >= 2  # shown, and in the form; nothing is cut
    assert page.count('<form method="post" action="/decide"') == 6
    assert '<option value="&#34;EUR&#34;" selected>EUR</option>' in page
    assert '<option value="false" selected>no</option>' in page


@pytest.mark.parametrize(
    ("decision", "typed", "given"),
    [
        ("approve", {}, ["--full"]),
        ("approve", {"reason": "fine", "by": "-ada"}, ["--by=-ada", "--reason=fine", "--full"]),
        ("reject", {"reason": "too\r\nmuch"}, ["--reason=too\nmuch"]),
        (
            "edit",
            {"value.to": "Ada\r\nL", "value.amount": "7", "value.currency": '"USD"', "value.urgent": "true"},
            ['--value={"to":"Ada\\nL","amount":7,"currency":"USD","urgent":true}', "--full"],
        ),
    ],
)
def test_a_decision_is_the_command_of_that_name(
    desk: Served, launcher: Recording, tmp_path: Path, decision: str, typed: dict[str, str], given: list[str]
) -> None:
    begin(desk.session, tmp_path, "one")
    answer = desk.post("/decide", forms(desk, "one")[decision], **typed)
    assert (answer.status, answer.headers["location"]) == (303, "/run?thread=one")
    (arguments,) = launcher.wait_for(1)
    assert arguments[0] == decision
    assert set(given) <= set(arguments)
    assert arguments[-2:] == ["--", "one"]
    page = desk.get("/run", thread="one").text
    assert "The run goes on." in page
    assert "data-live" in page
    assert 'class="asked"' not in page
    assert "wait for you" not in desk.get("/").text


@pytest.mark.parametrize(
    ("decision", "typed", "told"),
    [
        ("reject", {"reason": "  "}, "A rejection needs a reason."),
        ("edit", {"value.to": "x", "value.amount": "many", "value.currency": '"EUR"'}, "refund.amount: exp"),
        ("edit", {"value.to": "x", "value.amount": "1.5", "value.currency": '"EUR"'}, "a whole number"),
        ("edit", {"value.to": "x", "value.amount": "1", "value.currency": '"GBP"'}, "one of EUR, USD"),
        ("edit", {"value.to": "x", "value.amount": "", "value.currency": '"EUR"'}, "refund.amount"),
        ("edit", {"value.to": EVIL, "value.amount": EVIL, "value.currency": '"EUR"'}, "refund.amount"),
    ],
)
def test_what_does_not_fit_is_told_by_name_and_kept_in_the_form(
    desk: Served, launcher: Recording, tmp_path: Path, decision: str, typed: dict[str, str], told: str
) -> None:
    begin(desk.session, tmp_path, "one")
    answer = desk.post("/decide", forms(desk, "one")[decision], **typed)
    assert answer.status == 422
    assert told in unescape(answer.text)
    assert "<script>window" not in answer.text
    if decision == "edit" and typed["value.to"] == "x":
        assert 'name="value.to" value="x"' in answer.text
    assert not launcher.arguments


def test_a_second_answer_is_told_whoever_gave_the_first(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    ways = forms(desk, "one")
    assert desk.post("/decide", ways["approve"]).status == 303
    again = desk.post("/decide", ways["reject"], reason="no")
    assert again.status == 409
    assert "answered a moment ago" in again.text
    launcher.may_end.set()
    until_ended(launcher, "one")
    graph, (question,) = load_graph("desk.py:desk").graph, Reader(desk.session).waits_of("one")
    resume(graph, desk.session, "one", answers={question.id: {"decision": "approve", "by": "grace"}})
    late = desk.post("/decide", ways["reject"], reason="no")
    assert late.status == 409
    assert "It was decided already: approved, by grace. Your answer was not taken." in late.text
    assert len(launcher.arguments) == 1


def test_an_answer_to_what_changed_meanwhile_is_not_taken(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    form = forms(desk, "one")["approve"]
    answer = desk.post("/decide", {**form, "shown": "0" * 32})
    assert answer.status == 422
    assert "It has changed since you looked at it" in answer.text
    assert not launcher.arguments


def test_a_form_of_elsewhere_changes_nothing(desk: Served, launcher: Recording, tmp_path: Path) -> None:
    begin(desk.session, tmp_path, "one")
    form = forms(desk, "one")["approve"]
    for headers in (
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": f"http://localhost:{desk.port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "example.org"},
        {"Content-Type": "text/plain"},
        {"Cookie": f"stepgraph_{desk.port}=wrong"},
    ):
        assert desk.post("/decide", form, headers=headers).status in (403, 421)
    for token in ("", TOKEN, "0" * 64):
        assert desk.post("/decide", {**form, "form": token}).status == 403
    assert desk.get(f"/decide?{urlencode(form)}").status == 404
    assert desk.get("/decide", method="PUT").status == 405
    assert not launcher.arguments
    assert TOKEN not in desk.get("/run", thread="one").text


def test_pages_that_only_read_have_no_forms(served: Served, tmp_path: Path) -> None:
    begin(served.session, tmp_path, "one")
    for page in (served.get("/run", thread="one"), served.get("/waiting")):
        assert "Pay 49?" in page.text
        assert "post" not in page.text.replace("postgresql://", "")
    assert "stepgraph approve one" in served.get("/run", thread="one").text
    assert served.post("/decide", {"thread": "one"}).status == 405


def test_answers_to_several_questions_of_a_thread_wait_for_each_other(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    assert launcher.begin("one", ["first"], "first", "q1")
    assert launcher.begin("one", ["second"], "second", "q2")
    assert not launcher.begin("one", ["again"], "again", "q2")
    assert launcher.begin("two", ["other"], "other", "q1")
    launcher.wait_for(2)
    assert ["second"] not in launcher.arguments
    launcher.may_end.set()
    until_ended(launcher, "one")
    assert launcher.wait_for(3)[-1] == ["second"]


def test_a_run_of_python_says_what_the_page_needs(desk: Served, launcher: Recording) -> None:
    @review("draft")
    def check(post: Post) -> str:
        return EVIL

    chain(check).compile().invoke(Post(draft=EVIL), desk.session.config("one"))
    page = desk.get("/run", thread="one").text
    assert "stepgraph ui --graph file.py:attr" in page
    assert "--graph file.py:attr" in page
    assert "<script>window" not in page
    assert not forms(desk, "one")
    other = Served(desk.session, Actions(desk.session, launcher, graph="desk.py:desk"))
    try:
        assert other.post("/decide", forms(other, "one")["approve"]).status == 303
        assert "--graph=desk.py:desk" in launcher.wait_for(1)[0]
    finally:
        other.close()


def test_it_goes_on_with_more_budget_and_runs_again(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    form = {**forms(desk, "one")["approve"]}
    assert desk.post("/resume", form, usd="2", calls=" 1_000 ").status == 303
    assert launcher.wait_for(1)[0] == [
        "resume",
        "--budget=usd=2.0",
        "--budget=calls=1000",
        "--json",
        "--",
        "one",
    ]
    assert "is no limit" in desk.post("/resume", form, usd="-1").text
    assert "is no limit" in desk.post("/resume", form, tokens="nan").text
    changed = desk.post("/again", form, input='{"text": "Another."}')
    new = changed.headers["location"].rpartition("=")[2]
    assert launcher.wait_for(2)[1] == ["resume", "--json", "--", new]
    row = desk.session.journal.query("SELECT graph, input, status FROM runs WHERE thread_id = ?", (new,))[0]
    assert row["graph"].endswith("desk.py:desk")
    assert json.loads(row["input"]) == {"text": "Another."}
    assert "no JSON" in desk.post("/again", form, input="{").text


def test_a_problem_of_the_process_is_told_on_the_page(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    begin(desk.session, tmp_path, "one")
    launcher.problem = f"There is no module {EVIL}"
    launcher.may_end.set()
    desk.post("/decide", forms(desk, "one")["approve"])
    until_ended(launcher, "one")
    page = desk.get("/run", thread="one").text
    assert "It did not go on" in page
    assert "There is no module" in page
    assert "<script>window" not in page
    assert "Pay 49?" in page  # it waits on


def test_a_thread_of_workers_is_answered_in_the_record(
    desk: Served, launcher: Recording, tmp_path: Path
) -> None:
    file = tmp_path / "desk.py"
    file.write_text(GRAPH)
    session = desk.session
    handle = submit("desk.py:desk", {"text": "x"}, db=session, thread_id="one")
    turn = Turn(session, {"desk.py:desk": load_graph(str(file))})
    asyncio.run(turn.run(Job("desk.py:desk", "one"), 1))
    assert handle.status() == "waiting"
    form = forms(desk, "one")["approve"]
    assert desk.post("/decide", form).status == 303
    assert not launcher.arguments
    assert handle.status() == "queued"
    page = desk.get("/run", thread="one").text
    assert "a worker is about to go on with it" in page
    assert not forms(desk, "one")
    again = desk.post("/decide", {**form, "decision": "reject"}, reason="no")
    assert (again.status, "answered a moment ago" in again.text) == (409, True)
    asyncio.run(turn.run(Job("desk.py:desk", "one"), 2))
    assert handle.result().values["reply"].startswith("Said: Write about 49")
    assert desk.post("/decide", form).status == 409
    new = desk.post("/again", form, calls="3").headers["location"].rpartition("=")[2]
    job = find_job(session.journal, new)
    assert job is not None
    assert (job.graph, job.input, job.status) == ("desk.py:desk", {"text": "x"}, "queued")
    assert not launcher.arguments


def test_a_process_of_its_own_goes_on(session: Session, tmp_path: Path) -> None:
    begin(session, tmp_path, "one", "Too late.")
    launcher = real_launcher(session)
    desk = Served(session, Actions(session, launcher))
    try:
        typed: dict[str, Any] = {"value.to": "Ada", "value.amount": "20", "value.currency": '"EUR"'}
        desk.post("/decide", forms(desk, "one")["edit"], **typed, **{"value.urgent": "true"})
        assert until_ended(launcher, "one").problem == ""
        run = Reader(session).run("one")
        assert run.state == "done"
        assert {item.name: item.value for item in run.output}["reply"] == "Said: Write about 20."
        (call,) = run.calls
        page = desk.get("/step", thread="one", span=next(s.id for s in run.spans if s.kind == "call")).text
        assert "Try this call another way" in page
        fork = {**hidden(page), "asked": "Write about 20.", "prompt": "Write well."}
        assert fork["call"] == call["id"]
        where = desk.post("/fork", fork).headers["location"]
        new = where.rpartition("=")[2]
        assert desk.get(where).status == 200  # whether the new run stands there already or not
        assert until_ended(launcher, new).problem == ""
        page = desk.get(where).text
        assert "First difference" in page
        assert "Said: Write well." in re.sub("</?mark>", "", unescape(page))
        assert "call 2" not in page  # neither the call that was asked for the fork, nor a replay of it
        prompts = desk.get("/prompts", thread=["one", new]).text
        assert "Write <mark>well</mark>." in prompts
        assert "1 of 1 messages differ" in prompts
    finally:
        desk.close()


@pytest.mark.parametrize("said", ["'[' * 100_000", "'{\"a\":' * 100_000", "'9' * 5000", "chr(92)"])
def test_whatever_a_command_prints_its_thread_goes_on(session: Session, said: str) -> None:
    """A graph may print what a model wrote; what comes next for the thread must not wait for ever."""
    launcher = Launcher([sys.executable, "-c", f"print({said}); raise SystemExit(1)"], session.database)
    assert launcher.begin("one", [], "Resumed")
    assert until_ended(launcher, "one").problem == "Exit code 1."
    assert launcher.begin("one", [], "Resumed")
