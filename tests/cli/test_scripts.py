"""A program with its classes in `__main__` is killed; the command line goes on with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Command

PROGRAM = """
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from pydantic import BaseModel
from stepgraph import Ask, ScriptedModel, Session, chain, run, step

class Kind(Enum):
    A = "a"

class Inner(BaseModel):
    number: int = 1

@dataclass
class Note:
    text: str = ""
    more: str = ""
    kind: Kind = Kind.A
    inner: Inner = field(default_factory=Inner)
    nested: "Note.Nested | None" = None
    all: list = field(default_factory=list)

    class Nested(BaseModel):
        number: int = 3

def answer(request, context):
    with open("asked", "a") as log:
        log.write(request.messages[-1]["content"] + "\\n")
    return "ok"

@step("text", model=ScriptedModel(answer))
def ask(note: Note) -> Ask[str]:
    return Ask("first")

def fill(note: Note):
    return {"inner": Inner(number=7), "all": [Kind.A, Inner(number=2), Note.Nested(number=5), (1, 2)]}

def die_once(note: Note):
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    assert (type(note), type(note.inner), note.inner.number) == (Note, Inner, 7)
    assert note.all == [Kind.A, Inner(number=2), Note.Nested(number=5), (1, 2)]

@step("more", model=ScriptedModel(answer))
def ask_more(note: Note) -> Ask[str]:
    return Ask("second")

graph = chain(ask, fill, die_once, ask_more, name="program")

if __name__ == "__main__":
    with Session("stepgraph.sqlite") as session:
        run(graph.compile(), Note(), session, "t")
"""


@pytest.mark.parametrize(
    ("program", "begun", "reference"),
    [
        ("program_a.py", ["program_a.py"], "program_a.py:graph"),
        ("program_b.py", ["-m", "program_b"], "program_b:graph"),
        ("program_c/__main__.py", ["-m", "program_c"], "program_c.__main__:graph"),
    ],
)
def test_a_script_that_was_killed_goes_on_from_the_command_line(
    command: Command, tmp_path: Path, program: str, begun: list[str], reference: str
) -> None:
    file = tmp_path / program
    file.parent.mkdir(exist_ok=True)
    file.write_text(PROGRAM)
    killed = subprocess.run([sys.executable, *begun], cwd=tmp_path, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    told = command("resume", "t")
    assert told.code == 2
    assert "Name it with --graph" in told.err
    (row,) = command("resume", "t", "--graph", reference, "--json").rows
    assert (row["status"], row["error"], row["output"]["more"]) == ("done", None, "ok")
    assert (tmp_path / "asked").read_text().split() == ["first", "second"]


def test_the_main_file_of_a_package_is_named_as_a_module(command: Command, tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "__main__.py").write_text("graph = 1")
    assert "desk.__main__:attr" in command("run", "desk/__main__.py:graph", "-i", "x=1").err
