"""The tables say in their comments which words a column may hold: they are those of the types."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from stepgraph.state import statuses
from stepgraph.state.journal.tables import TABLES


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("runs", statuses.RunStatus),
        ("calls", statuses.CallStatus),
        ("node_runs", statuses.NodeStatus),
        ("effects", statuses.EffectStatus),
    ],
)
def test_the_tables_comments_name_every_status(table: str, words: Any) -> None:
    body = TABLES.split(f"CREATE TABLE IF NOT EXISTS {table} (")[1].split(");")[0]
    comment = re.search(r"\bstatus .*-- (.*)", body)
    assert comment is not None
    assert comment[1].split(" | ") == list(get_args(words))
