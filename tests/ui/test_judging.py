"""How far judges agree with people stands on a page of its own, as the files of results say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.evals import Case, Judge, Suite, run_suite
from stepgraph.ui.judging import read_judges

from .conftest import Served

EVIL = "<script>alert(1)</script>"


def judged(folder: Path, session: Session, name: str, labels: list[tuple[str, bool]]) -> None:
    """Run a suite whose judge thinks that all short answers are right."""
    from dataclasses import dataclass

    @dataclass
    class Note:
        text: str
        reply: str = ""

    @step("reply")
    def write(note: Note) -> Ask[str]:
        return Ask(note.text)

    def world(request: Any, context: Any) -> Any:
        if context.step == "judge":
            return {"reason": "", "passed": "long" not in request.messages[-1]["content"]}
        return "short"

    file = folder / "labels.jsonl"
    file.write_text("".join(f"{json.dumps({'output': o, 'passed': p})}\n" for o, p in labels))
    judge = Judge(name=EVIL, rubric="Is it short?", field="reply", labels=file)
    suite = Suite(name, [Case("a", {"text": "x"})], evaluators=[judge])
    with using(ScriptedModel(world)):
        run_suite(
            suite, chain(write, name="notes").compile(), session, run="main", results=folder / "main.jsonl"
        )


def test_agreement_kappa_and_confusion_are_shown_and_nobody_is_asked(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No run here has measured a judge" in served.get("/judges").text
    folder = tmp_path / "stepgraph-evals"
    folder.mkdir()
    labels = [(f"short {n}", n < 9) for n in range(10)] + [(f"long {n}", n < 2) for n in range(10)]
    judged(folder, served.session, EVIL, labels)
    (folder / "other.jsonl").write_text("nothing of ours\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    page = served.get("/judges").text
    assert '<a href="/judges">' in served.get("/").text
    assert "agrees with people on 17 of 20 examples, 0.85 [0.64, 0.95]" in page
    assert "Kappa 0.70 [0.28, 0.90]" in page
    assert "<strong>No gate believes it</strong>" in page
    assert '<th scope="row">right</th><td>9</td><td>2</td>' in page
    assert '<th scope="row">wrong</th><td>1</td><td>8</td>' in page
    assert "Not read: empty.jsonl, other.jsonl" in page.replace(
        "other.jsonl, empty.jsonl", "empty.jsonl, other.jsonl"
    )
    assert "<script>" not in page


def test_the_latest_run_stands_first(tmp_path: Path, session: Session) -> None:
    import os

    for number, name in enumerate(("one", "two")):
        place = tmp_path / name
        place.mkdir()
        judged(place, Session(tmp_path / f"{name}.sqlite"), name, [("short", True), ("long", False)])
        (place / "main.jsonl").rename(tmp_path / f"{name}.jsonl")
        os.utime(tmp_path / f"{name}.jsonl", (1000 - number, 1000 - number))
    assert [item.suite for item in read_judges(tmp_path).runs] == ["one", "two"]
    assert read_judges(tmp_path / "nowhere").runs == ()


@pytest.mark.parametrize("text", ["[" * 50_000, '{"run":"a","suite":"b"}\n{"judged"' + ':{"a"' * 50_000])
def test_a_file_that_is_nested_without_end_is_one_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.jsonl").write_text(text)
    assert read_judges(tmp_path).unread == ("deep.jsonl",)
