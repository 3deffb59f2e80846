"""`stepgraph estimate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Command

GRAPH = """
from dataclasses import dataclass
from stepgraph import Ask, chain, refine, step

@dataclass
class Post:
    topic: str
    draft: str = ""
    score: int = 0

@step("draft", model="large", tries=2)
def write(post: Post) -> Ask[str]:
    return Ask(post.topic, max_tokens=50)

@step("score", tries=1)
def judge(post: Post) -> Ask[int]:
    return Ask(post.draft, max_tokens=5)

graph = refine(write, judge, until=lambda score: score > 3, rounds=2)
"""

SETTINGS = """
[models]
default = { model = "small", base_url = "http://127.0.0.1:9/v1", price = { input = 1, output = 2 } }
large = { model = "big", base_url = "http://127.0.0.1:9/v1", price = { input = 10, output = 20 } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "post.py").write_text(GRAPH, encoding="utf-8")
    (tmp_path / "stepgraph.toml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


def test_estimate(folder: Path, command: Command) -> None:
    done = command("estimate", "post.py:graph", "--input", "topic=tea")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "refine_write: what one run can cost"
    assert "write  1 to 2 x big: prompt" in lines[1]
    assert "+ answer 50 tokens" in lines[1]
    assert lines[3].startswith("calls:  2 to 4; 6 if every answer")
    assert lines[4].startswith("tokens: at most ")
    assert lines[5].startswith("cost:   at most $0.0")
    assert not (folder / "stepgraph.sqlite").exists()


def test_json(folder: Path, command: Command) -> None:
    (found,) = command("estimate", "post.py:graph", "--json").rows
    assert (found["most_calls"], found["worst_calls"], found["tokens"]) == (4, 6, None)
    assert [step["step"] for step in found["steps"]] == ["write", "judge"]


def test_bad_input(folder: Path, command: Command) -> None:
    done = command("estimate", "post.py:graph", "--input", "topik=tea")
    assert done.code == 2
    assert "topic" in done.err


def test_nobody_is_asked_so_no_key_is_needed(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for model in ("openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "deepseek:deepseek-chat"):
        done = command("estimate", "post.py:graph", "-i", "topic=tea", "--model", model)
        assert (done.code, done.err) == (0, "")
        assert "at most $" in done.out


def test_a_missing_key_is_told_before_a_thread_is_on_record(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = command("run", "post.py:graph", "-i", "topic=tea", "--model", "openai:gpt-5-mini")
    assert (done.code, "OPENAI_API_KEY is not set" in done.err) == (2, True)
    assert not (folder / "stepgraph.sqlite").exists()
