"""A run becomes a case of a suite on its page, with what a person says of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.runners.loading import load_graph
from stepgraph.runners.run import run
from stepgraph.state.journal.records import Description
from stepgraph.ui.actions import Actions

from .conftest import Served
from .deciding import Recording, real_launcher, until_ended

GRAPH = """
from dataclasses import dataclass, field
from stepgraph import chain

@dataclass
class Note:
    text: str
    reply: str = ""
    parts: list[str] = field(default_factory=list)

def answer(note: Note) -> dict[str, object]:
    return {"reply": note.text.upper(), "parts": note.text.split()}

notes = chain(answer, name="notes").compile()
"""
SUITE = """\
suite: notes
graph: notes.py:notes
evaluators:
  - { name: kind, kind: judge, rubric: "Is it kind?", field: reply, labels: labels.jsonl }
  - { name: bare, kind: judge, rubric: "Is it kind?", field: reply }
cases:
  - { id: other, input: { text: another } }
"""
EVIL = '<b>&"hm\n  two '


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with a graph and a suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "notes.py").write_text(GRAPH)
    (tmp_path / "notes.eval.yaml").write_text(SUITE)
    (tmp_path / "labels.jsonl").write_text("")
    yield tmp_path
    sys.modules.pop("notes", None)


def ran(session: Session, thread: str, text: str) -> None:
    reference = "notes.py:notes"
    described = Description(reference, {}, {"text": text})
    session.journal.queue_run(thread, described)
    run(load_graph(reference).graph, {"text": text}, session, thread, description=described)


def form_of(page: str) -> dict[str, str]:
    """Return what the form holds as it stands on the page."""
    import re
    from html import unescape

    part = page.split('action="/case"')[1].partition("</form>")[0]
    found = re.findall(r'<input [^>]*name="([^"]*)"[^>]*value="([^"]*)"', part)
    found += re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>', part, flags=re.S)
    return {name: unescape(value) for name, value in found}


def test_a_verdict_on_the_page_is_the_commands(desk: Served, launcher: Recording) -> None:
    ran(desk.session, "a/run", EVIL)
    Path("a-folder").mkdir()
    Path("a-folder/first.eval.yaml").write_text("suite: other\ngraph: a-folder/other.py:graph\n")
    page = desk.get("/run", thread="a/run").text
    form = form_of(page)
    assert (form["suite"], form["case"]) == ("notes.eval.yaml", "a-run")
    assert "<b>" not in page
    assert '<option value="kind">kind</option>' in page
    assert "bare" not in page  # it has no file for verdicts
    form |= {"verdict": "wrong", "judge": "kind", "by": "-Ada", "correct.reply": "Well,\r\nno."}
    assert desk.post("/case", form).status == 303
    (arguments,) = launcher.wait_for(1)
    assert arguments[:5] == ["eval", "add", "--suite=notes.eval.yaml", "--verdict=wrong", "--json"]
    assert arguments[5:] == [
        *("--case=a-run", "--judge=kind", "--by=-Ada", "--correct=reply=Well,\nno."),
        *("--", "a/run"),
    ]


@pytest.mark.parametrize(
    "typed",
    [
        {"suite": "/etc/x.yaml"},
        {"suite": "../x.eval.yaml"},
        {"suite": "notes.py"},
        {"suite": ""},
        {"verdict": ""},
    ],
)
def test_what_no_case_can_be_made_of_is_refused(
    desk: Served, launcher: Recording, typed: dict[str, str]
) -> None:
    ran(desk.session, "a", "hm")
    form = form_of(desk.get("/run", thread="a").text) | {"verdict": "right", **typed}
    assert desk.post("/case", form).status == 422
    assert launcher.arguments == []


def test_a_run_from_python_becomes_a_case_of_a_suite_that_names_a_graph(
    desk: Served, launcher: Recording
) -> None:
    run(load_graph("notes.py:notes").graph, {"text": "hm"}, desk.session, "py")
    form = form_of(desk.get("/run", thread="py").text) | {"verdict": "right"}
    assert desk.post("/case", form).status == 303
    assert not any(argument.startswith("--graph") for argument in launcher.wait_for(1)[0])


def test_a_page_that_only_reads_and_a_run_that_did_not_end_have_no_form(served: Served, desk: Served) -> None:
    ran(served.session, "a", "hm")
    assert "/case" not in served.get("/run", thread="a").text
    desk.session.journal.queue_run("b", Description("notes.py:notes", {}, {"text": "x"}))
    assert "/case" not in desk.get("/run", thread="b").text


def test_the_case_and_the_label_are_there(session: Session, folder: Path) -> None:
    launcher = real_launcher(session)
    served = Served(session, Actions(session, launcher))
    try:
        ran(session, "a", "too loud")
        form = form_of(served.get("/run", thread="a").text)
        form |= {"verdict": "wrong", "judge": "kind", "by": "Ada", "correct.parts": '["loud"]'}
        assert served.post("/case", form).status == 303
        assert until_ended(launcher, "a").problem == ""
        page = served.get("/run", thread="a").text
        assert "It is a case of notes.eval.yaml now." in page
        case = read_suite(folder / "notes.eval.yaml").cases[-1]
        assert (case.id, case.input, case.expect.output) == ("a", {"text": "too loud"}, {"parts": ["loud"]})
        label: dict[str, Any] = json.loads((folder / "labels.jsonl").read_text())
        assert (label["output"], label["passed"], label["by"]) == ("TOO LOUD", False, "Ada")
        assert served.post("/case", form).status == 303  # said twice, it is told
        assert "has this example already" in until_ended(launcher, "a").problem
    finally:
        served.close()
