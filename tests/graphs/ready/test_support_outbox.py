from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepgraph.graphs.ready.support_desk.outbox import post
from stepgraph.state.errors import InputError


def test_messages_with_one_key_are_one_and_the_first_stays() -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda n: post("refund:SG-1042", f"{n}\n" * 1000), range(32)))
    assert len(paths) == 1
    assert list(Path("outbox").iterdir()) == [p.relative_to(Path.cwd()) for p in paths]
    lines = paths.pop().read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1000
    assert len(set(lines)) == 1


def test_a_key_is_no_path(tmp_path: Path) -> None:
    path = post("../../etc/passwd\x00", "x")
    assert path.parent == tmp_path / "outbox"
    assert path.read_text(encoding="utf-8") == "x"


def test_keys_that_look_alike_are_two() -> None:
    assert post("a b", "1") != post("a-b", "2")


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPGRAPH_OUTBOX", str(tmp_path / "deep" / "er"))
    assert post("k", "x").parent == tmp_path / "deep" / "er"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    with pytest.raises(InputError, match="Set STEPGRAPH_OUTBOX"):
        post("k", "x")
