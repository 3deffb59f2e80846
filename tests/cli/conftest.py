from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.app import main

from ..cluster.children.sitecustomize import schema_of
from ..cluster.switch import IN_POSTGRES

Command = Callable[..., "Done"]

MEMO = """
from dataclasses import dataclass
from langgraph.types import interrupt
from stepgraph import Ask, chain, gate, route, step

@dataclass
class Memo:
    text: str
    count: int = 0
    short: str = ""
    approved: bool = False

@step("short", model="writer")
def shorten(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten: {memo.text}")

def not_rude(memo: Memo) -> bool | str:
    return "rude" not in memo.short or "it is rude."

def approve(memo: Memo) -> dict[str, bool]:
    return {"approved": interrupt({"question": "Send it?", "short": memo.short})}

def crash(memo: Memo) -> dict[str, int]:
    raise ZeroDivisionError("by nought")

graph = chain(shorten, gate(not_rude), name="memo")
reviewed = chain(shorten, approve, name="reviewed")
broken = chain(shorten, crash, name="broken")
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def _database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the suite runs on Postgres, commands find there what would be in stepgraph.sqlite."""
    if IN_POSTGRES:
        schema = schema_of(tmp_path / "stepgraph.sqlite")
        monkeypatch.setenv("STEPGRAPH_DB", f"{request.getfixturevalue('schemas').url}?schema={schema}")


@pytest.fixture
def command(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command line in this process."""
    schemas = request.getfixturevalue("schemas") if IN_POSTGRES else None

    def at(word: str) -> str:
        """Return where a word's file is, if a session has kept it in Postgres."""
        schema = schema_of(Path(word))
        is_there = schemas is not None and word.endswith(".sqlite") and schema in schemas.present()
        return f"{schemas.url}?schema={schema}" if is_there else word

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["stepgraph", *map(at, words)])
        before, modules = list(sys.path), set(sys.modules)
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.path[:] = before
            for name in set(sys.modules) - modules:
                if "/pytest-" in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run


@pytest.fixture
def memo(tmp_path: Path, server: Any) -> Any:
    """A workflow in a file, and the server that its roles are bound to."""
    (tmp_path / "memo.py").write_text(MEMO)
    (tmp_path / "stepgraph.toml").write_text(
        f'[models]\nwriter = {{ base_url = "{server.url}", model = "served", retries = 0, '
        "price = { input = 1, output = 2 } }\n"
    )
    return server
