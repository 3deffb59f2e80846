"""The way of an eval case from YAML to the report is the one in docs/architecture.md, and it stays short."""

from __future__ import annotations

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
from stepgraph.evals.running.runner import run_suite

ROOT = Path(__file__).parents[2]
MOST = 31
HEAD = """
suite: desk
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


def calls_of(folder: Path, cases: int) -> Counter[tuple[str, str]]:
    """Run a suite of so many cases, and count the calls of each named function of evals."""
    frames: dict[int, FrameType] = {}  # a coroutine that goes on is the same frame, and no new call

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.startswith("stepgraph.evals."):
            frames.setdefault(id(frame), frame)

    file = folder / f"{cases}.yaml"
    file.write_text(HEAD + "".join(CASE.format(id=number) for number in range(cases)))
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        suite = read_suite(file)
        results = folder / f"{cases}.jsonl"
        with Session(folder / f"{cases}.sqlite") as session, using(ScriptedModel(["kind", "sure"] * cases)):
            ran = run_suite(suite, desk.compile(), session, results=results)
        assert "exact" in as_text(sections(summarise(ran)))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    names = [(str(f.f_globals["__name__"]), f.f_code.co_qualname) for f in frames.values()]
    return Counter((module, name) for module, name in names if not re.search(r"<(?!locals)", name))


def test_the_way_of_a_case_is_the_one_in_the_docs(tmp_path: Path) -> None:
    one, three = calls_of(tmp_path, 1), calls_of(tmp_path, 3)
    passed = {key for key in three if three[key] > one[key]}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(evals/[\w/]+)\.py` \| `([\w.]+)` \|", page, flags=re.M)
    assert passed == {(f"stepgraph.{file.replace('/', '.')}", name) for file, name in listed}
    assert len(listed) == len(set(listed)) <= MOST
