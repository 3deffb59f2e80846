"""`stepgraph resume`: after kill -9, after a failure, and with the answer to an interrupt."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ..servers import ChatServer, Fault
from ..warm import run_python
from .conftest import Command

KILLED = """
import os
from pathlib import Path
from memo import Memo, shorten
from stepgraph import chain

def dies_once(memo: Memo) -> dict[str, int]:
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return {"count": 1}

graph = chain(shorten, dies_once, name="killed")
"""

DIES_IN_THE_NODE = """
import os
from pathlib import Path
from memo import Memo, shorten
from stepgraph import chain

async def asks_then_dies_once(memo: Memo) -> dict[str, str]:
    first = await shorten.answer(memo)
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return {"short": first + await shorten.answer(memo)}

graph = chain(asks_then_dies_once, name="killed")
"""


def in_a_process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "stepgraph", *words, cwd=folder)


def statuses(command: Command) -> list[str]:
    """Return how the threads stand, once a killed process's claim has ended: Postgres cannot see it die."""
    deadline = time.monotonic() + 60
    while True:
        found = sorted(row["status"] for row in command("threads", "--json").rows)
        if "running" not in found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_kill_9_then_resume_finishes_from_the_last_checkpoint(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    memo.will("Short.")
    killed = in_a_process(tmp_path, "run", "killed.py:graph", "-i", "text=x", "--thread", "k")
    assert killed.returncode == -signal.SIGKILL
    assert statuses(command) == ["unfinished"]

    resumed = in_a_process(tmp_path, "resume", "k", "--json")
    row = json.loads(resumed.stdout)
    assert (row["status"], row["output"]["short"], row["output"]["count"]) == ("done", "Short.", 1)
    assert memo.calls == 1


def test_kill_9_inside_a_node_does_not_pay_for_its_answered_call_again(memo: Any, tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(DIES_IN_THE_NODE)
    memo.will("one ", "two")
    killed = in_a_process(tmp_path, "run", "killed.py:graph", "-i", "text=x", "--thread", "k")
    assert killed.returncode == -signal.SIGKILL
    assert memo.calls == 1

    row = json.loads(in_a_process(tmp_path, "resume", "k", "--json").stdout)
    assert row["output"]["short"] == "onetwo"
    assert memo.calls == 2


def test_resume_all_takes_what_failed_and_what_never_began(
    command: Command, memo: Any, tmp_path: Path
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "in.jsonl").write_text('{"text": "1"}\n{"text": "2"}\n{"text": "3"}\n')
    assert in_a_process(tmp_path, "run", "killed.py:graph", "-i", "in.jsonl").returncode == -signal.SIGKILL
    assert statuses(command) == ["queued", "queued", "unfinished"]

    done = command("resume", "--all", "--json")
    assert [row["status"] for row in done.rows] == ["done"] * 3
    assert [row["output"]["text"] for row in done.rows] == ["1", "2", "3"]
    assert memo.calls == 3
    assert "Every thread has ended." in command("resume", "--all").out


def test_a_failed_run_goes_on_where_it_failed(command: Command, memo: Any) -> None:
    memo.will(Fault(status=401))
    assert command("run", "memo.py:graph", "-i", "text=x", "--thread", "f").code == 3
    done = command("resume", "f", "--json")
    assert (done.code, done.rows[0]["output"]["short"]) == (0, "ok")


def test_a_run_that_has_ended_is_shown_again_and_pays_nothing(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "e")
    done = command("resume", "e", "--json")
    assert (done.code, done.rows[0]["status"], memo.calls) == (0, "done", 1)


def test_an_interrupt_waits_and_takes_its_answer(command: Command, memo: Any) -> None:
    done = command("run", "memo.py:reviewed", "-i", "text=x", "--thread", "i")
    assert done.code == 5
    assert "Send it?" in done.out
    assert "stepgraph resume i --answer" in done.out
    assert command("threads", "--json").rows[0]["status"] == "interrupted"

    assert command("resume", "i").code == 5
    answered = command("resume", "i", "--answer", "true", "--json")
    assert (answered.code, answered.rows[0]["output"]["approved"]) == (0, True)
    assert memo.calls == 1


def test_the_models_of_the_first_run_are_used_again_if_the_settings_know_them(
    command: Command, memo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stepgraph.toml").unlink()
    monkeypatch.setenv("OLLAMA_HOST", memo.url)
    memo.will(*[Fault(404)] * 4)
    assert (
        command("run", "memo.py:graph", "-i", "text=x", "--thread", "v", "--model", "ollama:gone").code == 3
    )
    refused = command("resume", "v", "--json")
    assert refused.code == 2
    assert "names the model 'ollama:gone', which is bound neither in stepgraph.toml" in refused.err
    assert "--model ollama:gone" in refused.err
    for words in (("--model", "ollama:gone"), ("--model", "default")):
        monkeypatch.setenv("STEPGRAPH_MODEL", "ollama:gone")
        done = command("resume", "v", "--json", *words)
        assert done.code == 3
        assert "gone" in done.rows[0]["error"]
    assert command("resume", "v", "--json").code == 3


@pytest.mark.sqlite_file("it is changed from outside")
@pytest.mark.parametrize(
    "models",
    [
        {"*": {"base_url": "{url}", "model": "m", "api_key_env": "VICTIM"}},
        {"writer": "openai:gpt-5"},
        {"*": "local,openai:gpt-5"},
        {"writer": "{url}"},
        {"writer": ""},
        ["x"],
        {"writer": None},
        "text",
        7,
    ],
    ids=repr,
)
def test_a_record_never_chooses_who_is_asked(
    command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch, models: Any
) -> None:
    """A record from elsewhere names models: every command that could ask one refuses, or asks its own."""
    memo.will("Short.")
    with ChatServer() as thief:
        monkeypatch.setenv("VICTIM", "sk-of-the-victim-0123456789")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-victim-0123456789")
        command("run", "memo.py:graph", "-i", "text=x", "--thread", "v")
        planted = json.dumps(models).replace("{url}", thief.url)
        with contextlib.closing(sqlite3.connect("stepgraph.sqlite")) as file, file:
            file.execute("UPDATE runs SET models = ?, status = 'failed'", (planted,))
            file.execute("DELETE FROM calls")
        for words in (
            ("resume", "v"),
            ("resume", "--all"),
            ("fork", "v"),
            ("fork", "v", "--call", "shorten", "--prompt", "y"),
            ("run", "memo.py:graph", "-i", "text=x", "--thread", "v"),
        ):
            done = command(*words)
            assert "Traceback" not in done.err
        assert not thief.calls


def test_a_thread_from_python_says_how_to_go_on(command: Command, memo: Any, tmp_path: Path) -> None:
    from stepgraph import Session
    from stepgraph.graphs.ready.support_desk.graph import Ticket, graph

    with Session(tmp_path / "stepgraph.sqlite") as session:
        graph.compile().invoke(Ticket("I want to talk to a human!"), session.config("py"))
    done = command("resume", "py")
    assert done.code == 2
    assert "session.config('py')" in done.err


def test_a_resume_says_what_it_paid_itself_and_what_the_thread_cost(command: Command, memo: Any) -> None:
    first = command("run", "memo.py:graph", "-i", "text=long", "--thread", "t")
    assert "1 done; 1 model calls" in first.out
    assert "With what was done before" not in first.out
    again = command("resume", "t")
    assert "1 done; 0 model calls, 0+0 tokens, $0," in again.out
    assert "With what was done before: 1 model calls" in again.out


def test_the_line_to_go_on_names_a_model_that_only_the_command_line_named(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "asks.py").write_text(
        "from dataclasses import dataclass\n"
        "from stepgraph import Ask, chain, step\n"
        "@dataclass\n"
        "class Post:\n    text: str = ''\n"
        "@step('text')\n"
        "def write(post: Post) -> Ask[str]:\n    return Ask('Write.')\n"
        "graph = chain(write).compile()\n"
    )
    done = command("run", "asks.py:graph", "-i", "text=", "--thread", "t", "--model", "local:/none.gguf")
    assert "stepgraph resume t --model local:/none.gguf" in done.out.replace("'", ""), done
