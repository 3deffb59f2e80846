"""`stepgraph replay`: the same command goes on after a kill, and people decide blind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.runners.loading import load_graph
from stepgraph.runners.run import run

from ..child_path import child_path
from ..servers import Answer, ChatServer
from .conftest import Command

DESK = """
from dataclasses import dataclass
from stepgraph import Ask, chain, step

@dataclass
class Mail:
    body: str
    kind: str = ""
    reply: str = ""

@step("kind")
def classify(mail: Mail) -> Ask[str]:
    return Ask(f"Kind of {mail.body}")

@step("reply")
def answer(mail: Mail) -> Ask[str]:
    return Ask(f"Answer {mail.body}, a {mail.kind}")

graph = chain(classify, answer, name="desk")
"""
CASES = 6
WORDS = ("replay", "desk.py", "--runs", "graph=desk", "--jobs", "1")


class CountingServer(ChatServer):
    """Answers no two calls alike, and one of them not at all."""

    stuck = 0  # which call

    def __init__(self) -> None:
        super().__init__()
        self.decide = self._answer
        self.stood = threading.Event()

    def _answer(self) -> Answer:
        if self.calls == self.stuck:
            self.stood.set()
            return Answer("never", delay_s=3600)
        asked = str(self.bodies[-1]["messages"])
        return Answer('{"reason": "shorter", "better": "first"}' if "rubric" in asked else f"no {self.calls}")

    def prompts(self) -> list[str]:
        return [str(body["messages"][-1]["content"]) for body in self.bodies]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder in which some runs are on record, and whose graph has changed since."""
    monkeypatch.chdir(tmp_path)
    with CountingServer() as server:
        price = "price = { input = 1, output = 1 }"
        served = f'model = "served"\nbase_url = "{server.url}"\n{price}\n'
        Path("stepgraph.toml").write_text(f"[models.default]\n{served}[models.judge]\n{served}", "utf-8")
        Path("desk.py").write_text(DESK, encoding="utf-8")
        graph = load_graph("desk.py").graph
        with Session("stepgraph.sqlite") as session:
            for number in range(CASES):
                run(graph, {"body": f"mail {number}"}, session, f"t{number}")
        del sys.modules["desk"]
        Path("desk.py").write_text(DESK.replace("Answer {", "Answer kindly {"), encoding="utf-8")
        server.bodies.clear()
        yield server


@pytest.mark.sqlite_file("its process is killed")
def test_the_same_command_goes_on_after_a_kill_and_pays_nothing_twice(
    recorded: CountingServer, command: Command, tmp_path: Path
) -> None:
    recorded.stuck = 4
    child = subprocess.Popen(
        [sys.executable, "-m", "stepgraph", *WORDS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": child_path()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert recorded.stood.wait(60)
    child.kill()
    child.wait()
    recorded.stuck = 0
    done = command(*WORDS, "--json")
    assert done.code == 0, done.err
    (report,) = done.rows
    assert report["complete"]
    assert report["paid"]["calls"] >= CASES
    prompts = recorded.prompts()
    assert all(prompt.startswith("Answer kindly") for prompt in prompts)
    assert len(prompts) == CASES + 1  # only what nobody had answered is asked again
    assert len(set(prompts)) == CASES
    assert {case["departure"]["node"] for case in report["cases"]} == {"answer"}
    assert command(*WORDS, "--json").rows[0]["cases"] == report["cases"]
    assert recorded.calls == CASES + 1


def test_a_dry_run_asks_nothing_and_a_budget_ends_with_what_there_is(
    recorded: CountingServer, command: Command
) -> None:
    done = command(*WORDS, "--dry-run")
    assert done.code == 0
    assert recorded.calls == 0
    assert "DRY RUN" in done.out
    done = command(*WORDS, "--usd", "0.0000001")
    assert done.code == 6
    assert recorded.calls == 0
    assert "PARTIAL" in done.out
    assert "Every thread has ended" in command("resume", "--all").out  # no budget of the replay holds there
    assert recorded.calls == 0
    done = command(*WORDS, "--html", "page.html")
    assert done.code == 0
    assert recorded.calls == CASES
    assert "Compared with what is on record" in Path("page.html").read_text(encoding="utf-8")


def test_a_judge_and_a_person_decide_without_knowing(
    recorded: CountingServer, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command(*WORDS, "--judge", "Which is shorter?", "--json")
    chosen = [case["preferred"] for case in done.rows[0]["cases"]]
    assert {"change", "recorded"} == set(chosen)  # the first of each pair, whose order was drawn
    asked = [prompt for prompt in recorded.prompts() if "Which is shorter?" in prompt]
    assert len(asked) == CASES
    assert not any("change" in prompt for prompt in asked)
    calls = recorded.calls
    typed = iter(["1", "2", "0", "q"])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(typed))
    done = command(*WORDS, "--decide")
    assert done.code == 0
    assert "Pair 4 of 6" in done.err
    assert recorded.calls == calls
    typed = iter(["q"])
    assert "Pair 1 of 3" in command(*WORDS, "--decide").err  # three are decided, and on record


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--runs", "graf=desk"), "The words are graph, status"),
        (("--runs", "graph=dsk"), "Did you mean 'desk'?"),
        (("--runs", "graph=desk status=ended"), "expected one of done"),
        (("--runs", "graph=desk since yesterday"), "expected an age such as 12h"),
        (("--runs", "graph=desk since 2999-01-01"), "no run fits"),
        (("--runs", "graph=desk limit 0"), "1 or more"),
        (("--runs", "graph=desk", "--allow-effects", "mail"), "has no effect 'mail'"),
        (("--runs", "graph=desk", "--field", "replly"), "Did you mean 'reply'?"),
        (("--runs", "graph=desk", "--run", "a/b"), "no name for a replay"),
    ],
)
def test_a_wrong_selection_is_told_before_anything_runs(
    recorded: CountingServer, command: Command, words: tuple[str, ...], told: str
) -> None:
    done = command("replay", "desk.py", *words)
    assert done.code == 2
    assert told in done.err
    assert recorded.calls == 0
    with Session("stepgraph.sqlite") as session:
        rows = session.journal.query(
            "SELECT count(*) AS n FROM runs WHERE substr(thread_id, 1, 7) = 'replay/'"
        )
    assert rows == [{"n": 0}]


def test_a_replay_is_json_without_anything_that_json_does_not_know(
    recorded: CountingServer, command: Command
) -> None:
    (line,) = command(*WORDS, "--json").out.splitlines()
    assert json.loads(line)["replay"].startswith("desk-")
