"""`stepgraph show`, `threads` and `graph`, and how fast the command starts."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgraph.tracing.record.text import clean, duration, money, one_line, tokens

from ..servers import Answer, Fault, unused_url
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
        "→ passed",
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


def test_threads_are_searched_filtered_and_ordered(command: Command, memo: Any) -> None:
    memo.will("ok", Fault(status=401))
    for name in ("one", "two"):
        command("run", "memo.py:graph", "-i", "text=x", "--thread", name)
    assert [row["thread_id"] for row in command("threads", "--search", "one", "--json").rows] == ["one"]
    assert [row["thread_id"] for row in command("threads", "--status", "failed", "--json").rows] == ["two"]
    by_cost = command("threads", "--order", "costliest", "--json").rows
    assert [(row["thread_id"], row["unsent"]) for row in by_cost] == [("one", []), ("two", [])]
    assert by_cost[0]["cost_usd"] == pytest.approx(0.00014)
    assert command("threads", "--search", "three").out == "No thread fits.\n"


def test_threads_say_what_was_not_sent(command: Command, memo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "one")
    assert "sent" not in command("threads").out
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", unused_url())
    assert "not sent yet" in command("threads").out
    assert len(command("threads", "--json").rows[0]["unsent"]) == 1


def test_the_waterfall_draws_when_each_step_ran_and_what_the_run_waited_for(
    command: Command, memo: Any
) -> None:
    memo.will("a draft")
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "one")
    out = command("show", "one", "--waterfall").out
    assert "━" in out
    assert "wrote short = a draft" in out
    assert "→ served-2026" in out
    assert re.search(r"━ *\* .*not_rude", out)


def test_one_step_is_shown_whole(command: Command, memo: Any) -> None:
    memo.will("a draft")
    command("run", "memo.py:graph", "-i", f"text={'long ' * 200}the end", "--thread", "one")
    short, full = (
        command("show", "one", "--step", "shorten"),
        command("show", "one", "--step", "shorten", "--full"),
    )
    for part in (
        "shorten  done",
        "text =",
        "> short = a draft",
        "user     Shorten: long",
        "answer   a draft",
    ):
        assert part in short.out, part
    assert len(full.out) > len(short.out) + 500
    (row,) = command("show", "one", "--step", "shorten", "--json").rows
    assert (row["output"]["short"], row["calls"][0]["answer"]) == ("a draft", "a draft")
    done = command("show", "one", "--step", "nothing")
    assert done.code == 2
    assert "It has: shorten" in done.err


def test_a_resumed_run_is_shown_with_both_of_its_parts(command: Command, memo: Any) -> None:
    memo.will(Fault(status=401), "Short.")
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "s")
    assert command("resume", "s").code == 0
    out = command("show", "s").out
    assert out.count("shorten") >= 2
    assert "(resumed)" in out
    assert "✗ shorten" in out
    assert "answer   Short." in out
    (tree,) = command("show", "s", "--json").rows
    assert [(step["name"], step["status"]) for step in tree["steps"]] == [
        ("shorten", "failed"),
        ("shorten", "done"),
        ("not_rude", "done"),
    ]


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


def test_a_problem_is_printed_once(command: Command, memo: Any) -> None:
    memo.will("", "", "")
    command("run", "memo.py:graph", "--thread", "p", "-i", "text=x")
    for full in ([], ["--full"]):
        out = command("show", "p", *full).out
        assert out.count("The answer was empty") == 1
        assert out.count("InvalidAnswer") == 1


def test_a_text_that_was_cut_is_marked(command: Command, memo: Any) -> None:
    memo.will(Answer("Short", finish_reason="length"))
    ran = command("run", "memo.py:graph", "--thread", "p", "-i", "text=x").out
    shown = [
        command("show", "p", *more).out for more in ([], ["--full"], ["--waterfall"], ["--step", "shorten"])
    ]
    for out in (ran, *shown):
        assert "cut at the token limit" in out


def test_an_image_is_told_by_what_it_is(command: Command, memo: Any) -> None:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20).decode()
    command("run", "memo.py:graph", "-i", f"text=Look: data:image/png;base64,{picture}", "--thread", "s")
    for more in ((), ("--full",), ("--step", "shorten")):
        out = command("show", "s", *more).out
        assert "[image/png, 5 kB, sha256 " in out
        assert picture[:100] not in out


def test_the_trace_of_a_thread_is_found_under_trace_too(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "s")
    assert command("trace", "show", "s").out == command("show", "s").out != ""
    assert "show" not in command("trace", "--help").out.partition("Commands:")[2]
