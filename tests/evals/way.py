"""Runs a suite of so many cases in a process of its own, and prints each function of evals with its calls."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from stepgraph import Ask, ScriptedModel, Session, route, step, using
from stepgraph.evals.files.suite_file import read_suite
from stepgraph.evals.report.render import as_text
from stepgraph.evals.report.sections import sections
from stepgraph.evals.report.summary import summarise
from stepgraph.evals.running.runner import arun_suite

HEAD = """
suite: desk
concurrency: 1
evaluators:
  - { name: exact, kind: exact, field: reply }
gates:
  - { metric: exact, at_least: 0.9 }
cases:
"""
CASE = """
  - id: {id}
    input: {{ text: "please {id}" }}
    expect:
      output: {{ reply: sure }}
      route: kind
      path: [sort, kind]
"""


@dataclass
class Request:
    text: str = ""
    manner: Literal["kind", "rude"] = "kind"
    reply: str = ""


@step("manner")
def sort(request: Request) -> Ask[Literal["kind", "rude"]]:
    return Ask(request.text)


@step("reply")
def answer(request: Request) -> Ask[str]:
    return Ask(f"Answer: {request.text}")


desk = route(sort, {"kind": answer, "rude": answer})


def calls_of(folder: Path, cases: int) -> Counter[str]:
    """Run a suite of so many cases, and count the calls of each named function of evals."""
    frames: dict[int, FrameType] = {}  # a coroutine that goes on is the same frame, and no new call

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        written = frame.f_code.co_filename.endswith(".py")  # not made by dataclasses
        if event == "call" and written and module.startswith("stepgraph.evals."):
            frames.setdefault(id(frame), frame)

    file = folder / f"{cases}.yaml"
    file.write_text(HEAD + "".join(CASE.format(id=number) for number in range(cases)))
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        suite = read_suite(file)
        results = folder / f"{cases}.jsonl"
        with Session(folder / f"{cases}.sqlite") as session, using(ScriptedModel(["kind", "sure"] * cases)):
            ran = asyncio.run(arun_suite(suite, desk.compile(), session, results=results))
        assert "desk: passed" in as_text(sections(summarise(ran)))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    # A comprehension and the protocol of a container are no functions that a reader looks up.
    unnamed = re.compile(r"<(?!locals)|\.__\w+item__$|\.__contains__$")
    named = [frame for frame in frames.values() if not unnamed.search(frame.f_code.co_qualname)]
    return Counter(f"{frame.f_globals['__name__']}:{frame.f_code.co_qualname}" for frame in named)


if __name__ == "__main__":
    print(json.dumps(calls_of(Path(sys.argv[1]), int(sys.argv[2]))))
