"""Cases from recorded runs, and their place in a suite's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, chain, section, using
from stepgraph.evals.files.append import append_case, write_suite
from stepgraph.evals.files.recorded_case import case_of
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.report.summary import summarise
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.check import TO_FILL, check_suite
from stepgraph.evals.suite.targets import target_of
from stepgraph.state.errors import InputError

from ..conftest import Note, graph, measure, mood_of, shrug

SUITE = """\
# Notes that people sent us.
suite: notes   # the first
graph: notes.py:graph

cases:
    # the oldest
    - id: one
      input: {text: "I love it."}   # kept as it is
      expect:
          route: good

    - id: two
      input:
          text: |
            Bad.
            # not a comment

# the end
"""
CASE = {"id": "three", "input": {"text": "Worse:\nno"}, "expect": {"route": "bad", "path": ["classify"]}}


def run(session: Session, text: str, thread: str = "t", script: Any = mood_of) -> None:
    with ScriptedModel(script) as model, using(model):
        graph.compile().invoke(Note(text), session.config(thread))


def case(session: Session, thread: str = "t", **options: Any) -> dict[str, Any]:
    return case_of(session.journal, thread, "c", state=Note, **options)


def test_a_run_becomes_a_case(session: Session) -> None:
    run(session, "It is late.")
    assert case(session) == {
        "id": "c",
        "input": {"text": "It is late."},
        "expect": {
            "output": {"mood": "bad", "answer": "Calm down, please.", "size": 18},
            "route": "bad",
            "path": ["classify", "bad/refine_reply/reply", "bad/refine_reply/polite", "bad/measure"],
        },
    }


def test_the_case_of_a_run_passes_on_the_same_answers(session: Session, tmp_path: Path) -> None:
    run(session, "It is late.")
    file = tmp_path / "new.eval.yaml"
    text, suite = append_case(file, case(session), "notes.py:graph")
    write_suite(file, text)
    assert read_suite(file) == suite
    with ScriptedModel(mood_of) as model, using(model):
        report = summarise(run_suite(suite, graph.compile(), session))
    assert (report.outcome, len(report.trials)) == ("passed", 1)


def test_only_what_is_asked_for_is_expected(session: Session) -> None:
    run(session, "It is late.")
    assert case(session, parts=["output"], only=["size"])["expect"] == {"output": {"size": 18}}
    assert case(session, parts=["route"])["expect"] == {"route": "bad"}
    assert case(session, parts=["fill"])["expect"] == {"output": TO_FILL}
    with pytest.raises(InputError, match="Did you mean 'size'"):
        case(session, parts=["output"], only=["sise"])


def test_a_case_that_is_still_to_be_filled_in_does_not_run(session: Session, tmp_path: Path) -> None:
    run(session, "It is late.")
    _, suite = append_case(tmp_path / "s.yaml", case(session, parts=["fill"]))
    with pytest.raises(InputError, match="still to be filled in"):
        check_suite(suite, target_of(graph.compile()))


def test_one_node_of_a_run(session: Session) -> None:
    run(session, "It is late.")
    found = case(session, node="bad")
    assert found["input"] == {"text": "It is late.", "mood": "bad"}
    assert found["expect"]["output"] == {"answer": "Calm down, please.", "size": 18}
    assert found["expect"]["path"][0] == "bad/refine_reply/reply"
    with pytest.raises(InputError, match="did not pass the suite's node 'good'"):
        case(session, node="good")


def test_nodes_that_ran_at_once_have_no_order(session: Session) -> None:
    both = chain(section({"mood": shrug_mood, "size": measure}, name="both"), shrug)
    both.compile().invoke(Note("x"), session.config("t"))
    path = case(session)["expect"]["path"]
    assert path == {"match": "superset", "nodes": path["nodes"]}
    assert {"both/mood", "both/size"} <= set(path["nodes"])


def shrug_mood(_: Note) -> dict[str, str]:
    return {"mood": "good"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("My key is sk-abcdefghijklmnopqrstuvwxyz", "masked"),
        ("I wrote [email] here", "masked"),
        ("long " * 200_000, "too long"),
        ("crash", "is failed"),
    ],
)
def test_what_is_not_whole_on_record_makes_no_case(session: Session, text: str, told: str) -> None:
    try:
        run(session, text)
    except ZeroDivisionError:
        assert text == "crash"
    with pytest.raises(InputError, match=told):
        case(session)


def test_a_thread_that_does_not_exist_makes_none(session: Session) -> None:
    with pytest.raises(InputError, match="There is no thread 'x'"):
        case(session, "x")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_nothing_else_in_the_file_changes(tmp_path: Path, end: str) -> None:
    file = tmp_path / "notes.eval.yaml"
    file.write_bytes(SUITE.replace("\n", end).encode())
    text, suite = append_case(file, CASE)
    write_suite(file, text)
    before = SUITE.replace("\n", end)
    same = next(n for n, (a, b) in enumerate(zip(text, before, strict=False)) if a != b)
    assert text.endswith(before[same:])
    assert text.index("# the end") > text.index("three") > text.index("# not a comment")
    assert [c.id for c in suite.cases] == ["one", "two", "three"]
    assert suite.cases[2].input == CASE["input"]
    assert file.read_bytes().count(b"\r\n") == (text.count("\n") if end == "\r\n" else 0)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_json_lines_get_a_line(tmp_path: Path, end: str, last: str) -> None:
    file = tmp_path / "notes.jsonl"
    before = '{"suite": "notes"}\n{"id": "one", "input": {"text": "a"}}'
    file.write_bytes((before + last).replace("\n", end).encode())
    text, suite = append_case(file, CASE)
    write_suite(file, text)
    assert [c.id for c in suite.cases] == ["one", "three"]
    assert file.read_bytes().decode() == f"{before}\n{json.dumps(CASE)}\n".replace("\n", end)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (SUITE.replace("one", "three"), "has a case 'three' already, on line 7"),
        (SUITE.replace('"I love it."', '"Worse:\\nno"'), "has this input already: the case 'one'"),
        ("cases: [{id: one, input: {text: a}}]", "in brackets"),
        ("cases: [", "line 1"),
    ],
)
def test_what_cannot_be_added_is_refused(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=told):
        append_case(file, CASE)
    assert file.read_text() == content
