"""`stepgraph pending`, `approve`, `reject` and `edit`: a person answers, in any process, at any time."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..warm import run_python
from .conftest import Command

REVIEWED = """
from dataclasses import dataclass
from langgraph.types import interrupt
from pydantic import BaseModel, Field
from stepgraph import Ask, chain, review, section, step

class Offer(BaseModel):
    price: float = Field(gt=0)
    note: str = ""

@dataclass
class Letter:
    to: str
    text: str = ""
    offer: Offer | None = None
    sent: bool = False

@step("text", model="writer")
def write(letter: Letter) -> Ask[str]:
    return Ask(f"Write to {letter.to}")

@review("text")
def words(letter: Letter) -> str:
    return f"Send this to {letter.to}?"

@review("offer")
def money(letter: Letter) -> str:
    return "A fair offer?"

def send(letter: Letter) -> dict[str, bool]:
    return {"sent": True}

def ask(letter: Letter) -> dict[str, bool]:
    return {"sent": interrupt("Really?")}

graph = chain(write, words, send, name="letter")
both = chain(section({"words": words, "money": money}), send, name="both")
plain = chain(ask, name="plain")
"""


@pytest.fixture
def letter(memo: Any, tmp_path: Path) -> Any:
    (tmp_path / "letter.py").write_text(REVIEWED)
    memo.will("Dear Ada.")
    return memo


def begin(command: Command, thread: str = "t", graph: str = "graph", **inputs: Any) -> str:
    given = json.dumps({"to": "Ada", **inputs})
    done = command("run", f"letter.py:{graph}", "-i", given, "--thread", thread)
    assert done.code == 5
    return done.out


@pytest.mark.sqlite_file("its name is told")
def test_pending_tells_what_is_asked_since_when_and_how_to_answer(
    command: Command, letter: Any, tmp_path: Path
) -> None:
    told = begin(command)
    assert "waits for an answer to: words: Send this to Ada?" in told
    assert "stepgraph approve t" in told
    out = command("pending").out
    assert "t  words  since 20" in out
    assert "text: Dear Ada." in out
    assert "stepgraph approve t, or reject, or edit" in out
    file = str(tmp_path / "stepgraph.sqlite")
    assert f"stepgraph approve t --db {file}, or" in command("pending", "--db", file).out

    (row,) = command("pending", "--json").rows
    assert len(row.pop("id")) == 32
    assert row.pop("since") > 1.7e9
    assert row == {
        "thread": "t",
        "path": "words",
        "review": "words",
        "question": "Send this to Ada?",
        "field": "text",
        "value": "Dear Ada.",
        "schema": {"type": "string"},
        "problem": None,
        "due": None,
        "wait": None,
    }


def test_approve_goes_on_and_pays_nothing_again(command: Command, letter: Any) -> None:
    begin(command)
    done = command("approve", "t", "--by", "ada", "--json")
    assert (done.code, done.rows[0]["status"], done.rows[0]["output"]["sent"]) == (0, "done", True)
    assert letter.calls == 1
    assert "by ada" in command("show", "t").out
    assert "Nothing waits" in command("pending").out


LONG = "It is so. " * 20 + "PAY ALL. " + "It is so. " * 20
LONGER = "It is so. " * 300 + "PAY ALL. " + "It is so. " * 300


@pytest.mark.parametrize("words", [("approve",), ("edit", "--set", "note=hm")], ids=str)
def test_what_is_long_is_decided_on_only_after_all_of_it_was_seen(
    command: Command, letter: Any, words: tuple[str, ...]
) -> None:
    """Cut only with the length told; then `--full` shows all, and without it nobody approves."""
    command("run", "letter.py:both", "--thread", "t", "-i", json.dumps(offer(LONGER)))
    told = [command("run", "letter.py:both", "-i", json.dumps(offer(LONGER))).out]
    told += [command(*look).out for look in (("pending",), ("show", "t"))]
    for out in told:
        assert "[cut: 2,000 of 6," in out
        assert "pending --full" in out
        assert "PAY ALL" not in out
    assert "PAY ALL" in command("pending", "--full").out
    assert "PAY ALL" in command("show", "t", "--full").out
    refused = command(words[0], "t", "--review", "money", *words[1:])
    assert refused.code == 2
    assert "See it whole: stepgraph pending --full" in refused.err
    done = command(words[0], "t", "--review", "money", "--full", *words[1:])
    assert done.code == 5  # the other review
    assert "PAY ALL" in done.out


def test_what_is_not_long_is_whole_everywhere_and_in_the_record(command: Command, letter: Any) -> None:
    told = [command("run", "letter.py:both", "--thread", "t", "-i", json.dumps(offer(LONG))).out]
    told += [command(*look).out for look in (("pending",), ("show", "t"), ("pending", "--json"))]
    told += [command("run", "letter.py:both", "--json", "-i", json.dumps(offer(LONG))).out]
    assert all("PAY ALL" in out for out in told)
    command("approve", "t", "--review", "money", "--by", "ada")
    shown = command("show", "t", "--full").out
    assert re.search(r"by ada \(system user \w+; saw \d+ characters, sha256 [0-9a-f]{16}\)", shown)


def offer(note: str) -> dict[str, Any]:
    return {"to": "Ada", "offer": {"price": 1, "note": note}}


def test_second_thoughts_are_a_fork(command: Command, letter: Any) -> None:
    begin(command)
    command("reject", "t", "--reason", "too curt")
    assert command("fork", "t", "--at", "0", "--thread", "again").code == 5
    assert [row["thread"] for row in command("pending", "--json").rows] == ["again"]
    assert command("approve", "again").code == 0


def test_a_thread_from_python_is_answered_with_its_graph_named(
    command: Command, letter: Any, tmp_path: Path
) -> None:
    program = (
        "from letter import Letter, graph; from stepgraph import Session\n"
        "with Session('stepgraph.sqlite') as session:\n"
        "    graph.compile().invoke(Letter('Ada'), session.config('py'))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    refused = command("approve", "py")
    assert "Name it with --graph" in refused.err
    assert command("approve", "py", "--graph", "letter.py:graph").code == 0


def test_reject_fails_the_run_with_the_reason(command: Command, letter: Any) -> None:
    begin(command)
    done = command("reject", "t", "--reason", "too curt", "--by", "ada")
    assert done.code == 1
    assert "rejected by ada (too curt)" in done.out
    assert "stepgraph history t" in done.out
    assert "stepgraph resume t" not in done.out
    assert command("pending", "--json").rows == []
    assert command("reject", "t").code == 2


@pytest.mark.parametrize("way", ["value", "file", "editor"])
def test_edit_puts_another_text_in_its_place(
    command: Command, letter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    begin(command)
    (tmp_path / "new.txt").write_text("Dear Ada, hello.")
    words = {"value": ["--value", "Dear Ada, hello."], "file": ["--file", "new.txt"], "editor": []}[way]
    if way == "editor":
        (tmp_path / "editor").write_text("#!/bin/sh\necho 'Dear Ada, hello.' > \"$1\"\n")
        (tmp_path / "editor").chmod(0o700)
        monkeypatch.setenv("VISUAL", str(tmp_path / "editor"))
        monkeypatch.setattr("stepgraph.cli.support.review.is_interactive", lambda: True)
        os.environ.pop("EDITOR", None)
    done = command("edit", "t", *words, "--json")
    assert (done.code, done.rows[0]["output"]["text"]) == (0, "Dear Ada, hello.")


def test_edit_without_a_value_and_without_a_terminal_says_what_to_give(command: Command, letter: Any) -> None:
    begin(command)
    assert "--value, --set or --file" in command("edit", "t").err
    assert "one of --value" in command("edit", "t", "--value", "x", "--set", "a=b").err
    assert "this value is none" in command("edit", "t", "--set", "a=b").err
    assert len(command("pending", "--json").rows) == 1


def test_several_reviews_on_one_thread_are_told_apart_by_name_or_id(command: Command, letter: Any) -> None:
    begin(command, graph="both", offer={"price": 3})
    rows = command("pending", "--json").rows
    assert sorted(row["path"] for row in rows) == ["section_words/money", "section_words/words"]
    assert "--review " in command("pending").out
    unclear = command("approve", "t")
    assert unclear.code == 2
    assert "2 reviews wait on the thread 't'; name one with --review" in unclear.err
    assert "These do: " in command("approve", "t", "--review", "mony").err

    edited = command("edit", "t", "--review", "money", "--set", "price=7", "--json")
    assert (edited.code, edited.rows[0]["status"]) == (5, "interrupted")
    (left,) = command("pending", "--json").rows
    done = command("approve", "t", "--review", left["id"][:8], "--json")
    assert (done.code, done.rows[0]["output"]["offer"]) == (0, {"price": 7.0, "note": ""})


def test_an_edit_that_does_not_fit_is_asked_again_and_loses_nothing(command: Command, letter: Any) -> None:
    begin(command, graph="both", offer={"price": 3})
    done = command("edit", "t", "--review", "money", "--set", "price=-1")
    assert done.code == 2
    assert "offer.price: Input should be greater than 0" in done.err
    rows = {row["review"]: row for row in command("pending", "--json").rows}
    assert rows.keys() == {"words", "money"}
    assert "greater than 0" in rows["money"]["problem"]
    assert command("edit", "t", "--review", "money", "--set", "price=2").code == 5


def test_questions_of_other_kinds_are_listed_and_keep_their_command(command: Command, letter: Any) -> None:
    begin(command, graph="plain")
    out = command("pending").out
    assert "Really?" in out
    assert "stepgraph resume t --answer …" in out
    refused = command("approve", "t")
    assert refused.code == 2
    assert "resume t --answer" in refused.err
    assert command("resume", "t", "--answer", "true").code == 0


def test_resume_with_one_answer_for_two_questions_is_refused(command: Command, letter: Any) -> None:
    begin(command, graph="both")
    done = command("resume", "t", "--answer", "true")
    assert done.code == 2
    assert "2 questions wait" in done.out


def test_a_bare_answer_still_resumes(command: Command, letter: Any) -> None:
    begin(command)
    assert command("resume", "t", "--answer", "approve").code == 0


def test_an_end_of_a_budget_is_no_question(command: Command, letter: Any) -> None:
    command("run", "letter.py:graph", "-i", "to=Ada", "--thread", "b", "--budget", "calls=0")
    assert command("threads", "--json").rows[0]["status"] == "partial"
    assert command("pending", "--json").rows == []


@pytest.mark.sqlite_file("its name, and what others wrote into it")
def test_an_unknown_thread_and_an_unknown_file_are_told(
    command: Command, letter: Any, tmp_path: Path
) -> None:
    assert "There is no file" in command("pending").err
    begin(command)
    assert "no thread 'u'" in command("approve", "u").err


@pytest.mark.sqlite_file("its name, and what others wrote into it")
def test_what_waits_is_listed_without_importing_anything_the_file_names(
    command: Command, letter: Any, tmp_path: Path
) -> None:
    begin(command)
    (tmp_path / "letter.py").write_text("raise SystemExit('imported')")
    file = sqlite3.connect(tmp_path / "stepgraph.sqlite")
    file.execute("UPDATE runs SET graph = NULL")
    file.commit()
    file.close()
    assert command("pending", "--json").rows[0]["question"] == "Send this to Ada?"
    refused = command("approve", "t")
    assert "was run from Python" in refused.err


def test_control_characters_of_a_model_do_not_reach_the_terminal(command: Command, letter: Any) -> None:
    begin(command, graph="both", text="x\x1b]0;pwned\x07")
    assert "\x1b" not in command("pending").out


def test_asked_in_one_process_answered_in_another(letter: Any, tmp_path: Path) -> None:
    def in_a_process(*words: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "stepgraph", *words, cwd=tmp_path)

    assert in_a_process("run", "letter.py:graph", "-i", "to=Ada", "--thread", "p").returncode == 5
    assert json.loads(in_a_process("pending", "--json").stdout)["thread"] == "p"
    done = in_a_process("edit", "p", "--value", "Mine.", "--by", "ada", "--json")
    row = json.loads(done.stdout)
    assert (done.returncode, row["output"]["text"], row["output"]["sent"]) == (0, "Mine.", True)
    assert letter.calls == 1


ANSWERS = [("resume", "--answer", "no"), ("approve",), ("reject", "--reason", "no"), ("edit", "--value", "x")]


@pytest.mark.parametrize("words", ANSWERS, ids=lambda words: words[0])
def test_an_answer_to_what_is_over_is_refused_and_changes_nothing(
    command: Command, letter: Any, words: tuple[str, ...]
) -> None:
    name, *rest = words
    assert command(name, "never", *rest).code == 2
    begin(command)
    assert command("approve", "t").code == 0
    before = command("show", "t", "--json").out
    refused = command(name, "t", *rest)
    assert refused.code == 2
    assert "it has ended, and its answers stand" in refused.out + refused.err
    assert command("show", "t", "--json").out == before


@pytest.mark.parametrize("words", ANSWERS[1:], ids=lambda words: words[0])
def test_an_answer_to_a_review_that_was_rejected_says_how_to_go_on(
    command: Command, letter: Any, words: tuple[str, ...]
) -> None:
    begin(command)
    command("reject", "t", "--reason", "too curt")
    refused = command(words[0], "t", *words[1:])
    assert refused.code == 2
    assert "No review waits on the thread 't', which is failed." in refused.err
