"""A node fails with a key in its words: neither what commands print nor the files of results have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph.cli.app import main
from stepgraph.state import keys_in_use

KEY = "Zq8xW3pL5tR7nB2vKd9s"
GRAPH = f"""
from dataclasses import dataclass
from stepgraph import chain


@dataclass
class Desk:
    text: str = "x"


def boom(desk: Desk) -> dict[str, str]:
    raise ValueError("refused: Bearer {KEY}")


desk = chain(boom, name="desk").compile()
"""
SUITE = "suite: ev\ngraph: key_desk.py:desk\ncases:\n  - id: a\n    input: {text: hi}\n"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(keys_in_use._keys)
    monkeypatch.setattr(sys, "path", list(sys.path))
    keys_in_use.remember(KEY)
    yield
    sys.modules.pop("key_desk", None)
    keys_in_use._keys.clear()
    keys_in_use._remembered.cache_clear()
    keys_in_use._rows.cache_clear()
    for key in before:
        keys_in_use.remember(key)


@pytest.mark.parametrize("command", [["run", "key_desk.py:desk"], ["eval", "run", "ev.eval.yaml"]])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_key_in_the_words_of_an_error_is_nowhere(
    command: list[str],
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key_desk.py").write_text(GRAPH)
    (tmp_path / "ev.eval.yaml").write_text(SUITE)
    with pytest.raises(SystemExit):
        main([*command, *more])
    said = "".join(capsys.readouterr())
    said += "".join(path.read_text() for path in tmp_path.glob("stepgraph-evals/*.jsonl"))
    assert "refused: Bearer [" in said
    assert KEY not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []
