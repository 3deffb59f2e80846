"""Commands on a Postgres database: what they find, and that no password is ever shown."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Command

SHOWN = "postgresql://stepgraph@127.0.0.1"


def test_a_run_and_all_that_reads_it(
    command: Command, memo: Any, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = postgres_url.partition("@")[0].rpartition(":")[2]

    def said(*arguments: str, code: int = 0) -> str:
        done = command(*arguments)
        assert password not in done.out + done.err
        assert done.code == code, done.err
        return str(done.out)

    for thread in ("a", "b"):
        ran = said(
            "run", "memo.py:reviewed", "-i", "text=x", "--thread", thread, "--db", postgres_url, code=5
        )
        assert f"--db {SHOWN}" in ran
    assert f"--db {SHOWN}" in said("pending", "--db", postgres_url)
    monkeypatch.setenv("STEPGRAPH_DB", postgres_url)
    assert "--db" not in said("pending")
    assert said("sql", "SELECT count(*) AS n FROM calls", "--json") == '{"n": 2}\n'
    assert "approve" in said("show", "a")
    assert "shorten" in said("show", "a", "--json")
    assert said("threads", "--search", "nobody") == "No thread fits.\n"
    assert said("history", "a").splitlines()
    assert said("diff", "a", "b")
    assert "approve" in said("resume", "a", "--answer", "true")
    assert said("fork", "a", "--at", "1", "--thread", "c", code=5)
    assert len(command("export").rows) > len(command("export", "a").rows) > 5
    assert said("export", "a", "--html", "--to", "a.html")
    assert "3 threads would be deleted" in said("prune", "--keep", "0", "--force")
    assert "1 threads deleted" in said("prune", "--thread", "a", "--yes")
    assert "3 threads" not in said("threads")
