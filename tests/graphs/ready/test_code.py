"""The code generation workflow: tests in the sandbox, repair from failures, honest ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, using
from stepgraph.graphs.ready.code.graph import CodeTask, graph
from stepgraph.graphs.ready.code.harness import Report, code_in, run_tests
from stepgraph.state.schema import parse_input

EXAMPLES = Path(__file__).parents[3] / "examples" / "functions.jsonl"
ADD = ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 0) == 0"]
RIGHT = "def add(a, b):\n    return a + b"
WRONG = "def add(a, b):\n    return a * b"


def run(answers: list[Any], *config: Any) -> tuple[dict[str, Any], ScriptedModel]:
    with ScriptedModel(answers) as model, using(model):
        return graph.compile().invoke(CodeTask("add(a, b)", ADD), *config), model


def test_right_at_once(session: Session) -> None:
    result, _ = run([f"Here:\n```python\n{RIGHT}\n```"], session.config("t"))
    assert (result["status"], result["report"], result["code"]) == ("passed", Report(3, 3), RIGHT)


def test_a_failure_is_repaired_from_what_it_says() -> None:
    result, model = run([WRONG, RIGHT])
    assert (result["status"], result["report"]) == ("passed", Report(3, 3))
    prompt = model.asks[1][1].messages[-1]["content"]
    assert "2 of 3 tests passed" in prompt
    assert "assert add(1, 2) == 3" in prompt
    assert "a * b" in prompt


def test_the_best_version_is_kept() -> None:
    result, _ = run([WRONG, "def add(a, b): return 7", "def add(a, b): return None"])
    assert (result["status"], result["code"], result["report"].passed) == ("failed", WRONG, 2)


def test_a_model_that_repeats_itself_is_not_asked_again() -> None:
    result, model = run([WRONG, WRONG])
    assert (result["status"], len(model.asks)) == ("failed", 2)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def add(a, b) return", "SyntaxError"),
        ("import os; os._exit(0)", "exit code 0 before the tests did"),
        ("raise SystemExit", "SystemExit"),
        ("def add(a, b):\n    while True: pass", "longer than"),
        ("import socket; socket.create_connection(('1.1.1.1', 80), 1)", "Network is unreachable"),
        ("", "NameError"),
        ("print('{' * 1000)\ndef add(a, b): return 0", "assert add(1, 2) == 3"),
    ],
)
async def test_code_that_does_not_work(code: str, told: str) -> None:
    from stepgraph.nodes.sandboxes import Limits

    report = await run_tests(code, ADD, Limits(seconds=2 if "while True" in code else 60))
    assert not report.ok
    assert report.total == 3
    assert told in report.failures


async def test_a_forged_verdict_does_not_count() -> None:
    forged = 'print(\'["", "", ""]\')\nimport os; os._exit(0)'
    assert (await run_tests(forged, ADD)).passed == 0


def test_code_in_answers() -> None:
    assert code_in(f"Sure!\n```py\n{RIGHT}\n```\nDone.") == RIGHT
    assert code_in(f"```python\n{RIGHT}") == RIGHT
    assert code_in(RIGHT) == RIGHT
    assert code_in("```\na = 1\n```\nand\n```\nb = 2\n```") == "a = 1\n\nb = 2"


def test_the_example_tasks_can_be_read() -> None:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        assert parse_input(CodeTask, json.loads(line)).tests
