"""Nothing is asked by a check, and nothing twice by the runs around it: counted at the server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Answer

from .conftest import Command

DESK = """
from dataclasses import dataclass
from stepgraph import Ask, chain, step

@dataclass
class Ticket:
    body: str
    reply: str = ""

@step("reply", model="writer")
def write(ticket: Ticket) -> Ask[str]:
    return Ask(f"Answer: {ticket.body}")

graph = chain(write, name="desk")
"""
SUITE = """
suite: desk
graph: desk.py:graph
repeats: 2
evaluators:
  - { name: kind, kind: judge, rubric: "Is it kind?", field: reply, labels: labels.jsonl, trust: 0.01 }
  - { name: kind too, kind: judge, rubric: "Is it kind?", field: reply, labels: labels.jsonl, trust: 0.01 }
gates:
  - { metric: kind, at_least: 0.5 }
cases:
  - { id: a, input: { body: The kettle leaks. } }
  - { id: b, input: { body: The kettle hums. } }
"""
LABELS: list[dict[str, Any]] = [
    {"output": "Paid.", "passed": True, "input": {"body": "The kettle leaks."}},
    {"output": "Go away.", "passed": False},
    {"output": "Go away.", "passed": False},
]


@pytest.fixture
def desk(tmp_path: Path, server: Any) -> Any:
    (tmp_path / "desk.py").write_text(DESK)
    (tmp_path / "desk.eval.yaml").write_text(SUITE)
    (tmp_path / "labels.jsonl").write_text("".join(f"{json.dumps(label)}\n" for label in LABELS))
    (tmp_path / "stepgraph.toml").write_text(
        f'[models]\nwriter = {{ base_url = "{server.url}", model = "writer", retries = 0 }}\n'
        f'judge = {{ base_url = "{server.url}", model = "judge", retries = 0 }}\n'
    )
    return server


def judged(server: Any) -> Counter[str]:
    return Counter(json.dumps(body["messages"]) for body in server.bodies if body["model"] == "judge")


@pytest.mark.parametrize("verdict", ['{"reason": "so", "passed": true}', "Well, it depends."])
def test_a_check_asks_nothing_and_runs_ask_nothing_twice(command: Command, desk: Any, verdict: str) -> None:
    bodies = desk.bodies
    desk.decide = lambda: Answer("Paid." if bodies[-1]["model"] == "writer" else verdict)

    assert command("eval", "check", "desk.eval.yaml").code == 0
    assert desk.calls == 0

    command("eval", "run", "desk.eval.yaml", "--run", "one")
    written = sum(body["model"] == "writer" for body in bodies)
    assert written == 4  # each repeat of a case is a draw of its own
    asked = judged(desk)
    assert max(asked.values()) == 1, asked.most_common(1)

    for arguments in (("check",), ("run", "--run", "one"), ("check",)):
        before = desk.calls
        command("eval", arguments[0], "desk.eval.yaml", *arguments[1:])
        assert desk.calls == before, arguments
    command("eval", "run", "desk.eval.yaml", "--run", "two")
    assert desk.calls == before + 4  # what was said of equal replies is known
