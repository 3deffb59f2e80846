from __future__ import annotations

import json
from pathlib import Path

from ..servers import Answer, ChatServer
from .conftest import Command


def test_records_are_shown_with_their_sources(command: Command) -> None:
    done = command("models", "check", "--offline", "deepseek:deepseek-chat, ollama:llama3.2")
    assert done.code == 0
    assert "deepseek deepseek-chat" in done.out
    assert "json_object" in done.out
    assert "https://github.com/ollama/ollama/blob/" in done.out


def test_what_an_endpoint_does_otherwise_is_found(
    command: Command, server: ChatServer, tmp_path: Path
) -> None:
    server.always = Answer("no JSON at all")
    text = f'[models]\njudge = {{ base_url = "{server.url}", model = "served" }}\n'
    (tmp_path / "stepgraph.toml").write_text(text)
    done = command("models", "check", "--json", "judge")
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["role"], told["model"]) == ("judge", "served")
    assert told["found"] == {"schema_in_prompt": True, "tools": "emulated"}


def test_without_any_role_it_says_what_to_do(command: Command) -> None:
    done = command("models", "check")
    assert done.code == 2
    assert "stepgraph models check ollama:llama3.2" in done.err


def test_a_fallback_is_asked_for_and_shown(command: Command, memo: ChatServer) -> None:
    memo.will(Answer("Too much", finish_reason="content_filter"), Answer("Short."))
    chain = json.dumps([memo.spec(), memo.spec(temperature=0)])
    Path("stepgraph.toml").write_text(f"[models]\nwriter = {chain.replace(': ', ' = ')}\n")
    command("run", "memo.py:graph", "--input", "text=Long.", "--thread", "t")
    shown = command("show", "t").out
    assert "fallback: served failed (ModelFiltered)" in shown
    assert "content filter" in shown
    assert "attempt 2" in shown


def test_what_langchains_class_asks_is_named_and_a_missing_package_with_it(command: Command) -> None:
    done = command("models", "check", "anthropic:claude-haiku-4-5, groq:llama-3")
    assert done.code == 0
    assert "ChatAnthropic asks it" in done.out
    assert "Its package is missing: pip install langchain-groq" in done.out
