"""`stepgraph show`, `threads` and `graph`, and how fast the command starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from stepgraph.cli.support.text import clean, duration, money, one_line, tokens

from ..servers import Answer, Fault
from .conftest import Command


def test_show_tells_path_prompt_answer_reasoning_tokens_cost_and_output(command: Command, memo: Any) -> None:
    memo.will(Answer("Short.", reasoning="I cut it.", cached=40))
    command("run", "memo.py:graph", "-i", "text=A long text", "--thread", "s")
    out = command("show", "s").out
    for part in (
        "s  done",
        'input  {"text": "A long text"}',
        "● shorten",
        "writer = served",
        "100+20 tokens (40 cached)",
        "$0.000140",
        "user     Shorten: A long text",
        "thought  I cut it.",
        "answer   Short.",
        'wrote    {"short": "Short."}',
        "-> passed",
        "total  1 model calls, 100+20 tokens, $0.000140",
    ):
        assert part in out, part


def test_show_tells_failed_attempts(command: Command, memo: Any) -> None:
    memo.will(Fault(status=401))
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "s")
    out = command("show", "s").out
    assert "s  failed" in out
    assert "✗ shorten" in out
    assert "problem  AuthenticationFailed: served" in out


def test_show_json_is_the_tree(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "s")
    (tree,) = command("show", "s", "--json").rows
    assert [step["name"] for step in tree["steps"]] == ["shorten", "not_rude"]
    assert tree["steps"][0]["calls"][0]["answer"] == "ok"


def test_full_prints_whole_texts_and_short_cuts_them(command: Command, memo: Any) -> None:
    memo.will("word " * 300)
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "s")
    assert len(command("show", "s", "--full").out) > len(command("show", "s").out) + 1000


def test_an_unknown_cost_is_said(command: Command, memo: Any, tmp_path: Path) -> None:
    (tmp_path / "stepgraph.toml").write_text(
        f'[models]\nwriter = {{ base_url = "{memo.url}", model = "m" }}\n'
    )
    out = command("run", "memo.py:graph", "-i", "text=x", "--thread", "s").out
    assert "cost unknown" in out
    assert "cost unknown" in command("show", "s").out


def test_threads_lists_the_latest_first(command: Command, memo: Any) -> None:
    for name in ("one", "two"):
        command("run", "memo.py:graph", "-i", "text=x", "--thread", name)
    assert [row["thread_id"] for row in command("threads", "--json").rows] == ["two", "one"]
    assert command("threads").out.splitlines()[0].startswith("two  done")


def test_drawings(command: Command, tmp_path: Path) -> None:
    assert command("graph", "support-desk").out.startswith("graph TD")
    text = command("graph", "support-desk", "--format", "text").out
    assert "triage -> billing/find_payments, fallback" in text
    assert "check -> __end__ (done), draft (again)" in text
    assert command("graph", "support-desk", "-o", "d.svg").code == 0
    assert "<svg" in (tmp_path / "d.svg").read_text()
    assert command("graph", "support-desk", "-o", "d.png").code == 0
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    assert "find_payments" not in command("graph", "support-desk", "--flat").out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['stepgraph', '--help']\n"
        "from stepgraph.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'langgraph', 'langchain_core', 'openai', 'pydantic', 'aiohttp'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "Run agentic workflows" in done.stdout


def test_texts() -> None:
    assert clean("a\x1b[1mb\x00\n\tc") == "a\N{REPLACEMENT CHARACTER}[1mb\N{REPLACEMENT CHARACTER}\n\tc"
    assert one_line("a\n  b" + "c" * 200, 10) == "a bcccccc…"
    assert [money(None), money(0.0), money(0.00014), money(1.5)] == [
        "cost unknown",
        "$0",
        "$0.000140",
        "$1.5000",
    ]
    assert tokens(None, None) == "tokens unknown"
    assert [duration(0.0123), duration(12.34), duration(180)] == ["12 ms", "12.3 s", "3.0 min"]
