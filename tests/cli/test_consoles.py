"""Consoles that cannot show all characters: Windows' cp1252, a log in ASCII."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.cli.app import main
from stepgraph.cli.visible import VisibleStream, writable

SAID = "Zażółć \U0001f389 → „tea” 茶 ●"


@dataclass
class Note:
    text: str = ""


@step("text")
def write(note: Note) -> Ask[str]:
    return Ask(SAID)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("consoles") / "runs.sqlite"
    with Session(file) as session, using(ScriptedModel([SAID])):
        chain(write).compile().invoke(Note(), session.config("t"))
    return file


@pytest.mark.sqlite_file("a process of its own opens it")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8"])
@pytest.mark.parametrize(
    "words", [["show", "t", "--full"], ["history", "t"], ["sql", "SELECT answer FROM calls"], ["threads"]]
)
def test_every_command_writes_what_the_console_can_show(
    words: list[str], encoding: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, encoding=encoding, write_through=True))
    monkeypatch.setattr(sys, "argv", ["stepgraph", *words, "--db", str(file)])
    main()
    assert console.getvalue().decode(encoding)  # nothing that the console has no place for


def test_json_says_the_same_on_every_console(file: Path) -> None:
    out = printed(["sql", "SELECT answer FROM calls", "--json", "--db", str(file)], "cp1252")
    assert json.loads(out.decode("cp1252")) == {"answer": SAID}


def printed(words: list[str], encoding: str) -> bytes:
    """What a process prints whose console has this encoding from its beginning."""
    done = subprocess.run(
        [sys.executable, "-m", "stepgraph", *words],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def test_what_is_drawn_with_has_plain_letters() -> None:
    assert writable("● a → b … │", "ascii") == "* a -> b ... |"
    assert writable("● a → b … ż", "cp1252") == "* a -> b … \\u017c"
    assert writable("\U0001f389", "ascii") == "\\ud83c\\udf89"
    assert writable("● ż", "utf-8") == "● ż"


def test_a_stream_takes_all_characters() -> None:
    raw = io.BytesIO()
    stream = VisibleStream(io.TextIOWrapper(raw, encoding="ascii"))
    assert stream.encoding == "utf-8", "who asks, such as click, needs to change nothing"
    stream.write("→ 茶\n")
    stream.flush()
    assert raw.getvalue() == b"-> \\u8336\n"
