"""`stepgraph resume` refuses a graph that changed under a thread, unless it is forced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .conftest import MEMO, Command


def test_a_changed_graph_is_refused_unless_forced(command: Command, memo: Any, tmp_path: Path) -> None:
    assert command("run", "memo.py:reviewed", "-i", "text=long", "--thread", "t").code == 5
    shorter = MEMO.replace("chain(shorten, approve", "chain(approve").replace("count: int", "count: float")
    (tmp_path / "memo.py").write_text(shorter)

    refused = command("resume", "t", "--answer", "true")
    assert refused.code == 2
    assert "node 'shorten' is gone" in refused.out
    assert "field 'count' changed from int to float" in refused.out
    assert "--force" in refused.out

    forced = command("resume", "t", "--answer", "true", "--force", "--json")
    assert (forced.code, json.loads(forced.out)["output"]["approved"]) == (0, True)
