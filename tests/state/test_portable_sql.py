"""All SQL of the package is one text that SQLite and Postgres both run."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg
import pytest

from stepgraph import Session
from stepgraph.state.database import PostgresAddress, database_of
from stepgraph.state.journal.postgres.connecting import connect
from stepgraph.state.journal.postgres.sql import translator
from stepgraph.state.journal.postgres.tables import names

ROOT = Path(__file__).parents[2]
FOLDERS = ("state", "tracing", "providers", "nodes", "graphs", "runners", "evals", "ui", "cli")
# Modules that speak to one of the databases only, or to a database that is not ours.
OWN = (
    "state/journal/columns.py",
    "state/journal/dialect.py",
    "state/journal/migration.py",
    "state/journal/own_locks.py",
    "state/journal/postgres/",
    "state/journal/sqlite.py",
    "state/journal/sqlite_store.py",
    "state/journal/upkeep.py",  # of LangGraph's tables, in words that the translation for its saver knows
    "tracing/record/postgres_query.py",
    "tracing/record/query.py",
    "graphs/ready/support_desk/",
)
STATEMENT = re.compile(r"\s*(SELECT|WITH|INSERT INTO|UPDATE|DELETE FROM)\s")
WORDS = re.compile(r"(?s)\b(SELECT\s.*\bFROM|INSERT\s+(OR|INTO)|UPDATE\s+\w+\s+SET|DELETE\s+FROM)\b")
NOT_PORTABLE = {
    r"\?\d": "a numbered mark: give the value once for each mark",
    r"\bINSERT OR\b": "ON CONFLICT … DO NOTHING, or DO UPDATE",
    r"\bIS (NOT )?\?": "IS NOT DISTINCT FROM, or coalesce on both sides",
    r"\bsum\([^()]*[^<>=]=[^()]*\)": "count(*) FILTER (WHERE …)",
    r"\b(max|min)\([^()]*,[^()]*\)": "CASE WHEN",
    r"\bjson_(each|extract)\(": "the dialect, or plain Python",
    r"\binstr\(": "LIKE, or the dialect",
    r"\bPRAGMA\b": "the dialect, or the store",
    r"\bifnull\(": "coalesce",
    r"\bi\.user\b": 'i."user"',
    r"\bGLOB\b": "LIKE",
}


@cache
def _all_texts() -> list[tuple[str, str, bool]]:
    return list(_texts())


def _texts() -> Iterator[tuple[str, str, bool]]:
    """Yield every text of SQL: where it stands, the text, and whether it is whole."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            if name.startswith(OWN):
                continue
            tree = ast.parse(file.read_text(encoding="utf-8"))
            documents = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            inner = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
                    text, whole = " … ".join(map(str, parts)), False
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    text, whole = node.value, True
                    if id(node) in documents or id(node) in inner:
                        continue
                else:
                    continue
                if WORDS.search(text) and not text.startswith(("stepgraph ", "`")):
                    yield f"{name}:{node.lineno}", text, whole


def test_no_text_has_words_of_one_database_only() -> None:
    found = [
        f"{place}: {pattern}, instead: {instead}"
        for place, text, _ in _all_texts()
        for pattern, instead in NOT_PORTABLE.items()
        if re.search(pattern, text)
    ]
    assert found == []


@pytest.mark.sqlite_file("the tables of both databases")
def test_every_whole_statement_runs_on_both(tmp_path: Path, postgres_url: str) -> None:
    statements = {
        text: place
        for place, text, whole in _all_texts()
        if whole and STATEMENT.match(text) and "{" not in text
    }
    assert len(statements) > 60
    file = tmp_path / "empty.sqlite"
    Session(file).close()
    Session(postgres_url).close()
    address = database_of(postgres_url)
    assert isinstance(address, PostgresAddress)
    translated = translator(address.schema, names())
    failed = []
    with sqlite3.connect(file) as here, connect(address) as there:
        for text, place in statements.items():
            marks = text.count("?")
            if text.rstrip().endswith(("IN", "SET", "WHERE", "AND", "BY", ",", "(")):
                continue  # another text ends it
            try:
                here.execute(f"EXPLAIN {text}", [None] * marks)
            except sqlite3.OperationalError as error:
                if "incomplete input" not in str(error):
                    failed.append(f"{place}: SQLite: {error}")
                continue  # another text ends it
            try:
                there.execute(f"EXPLAIN {translated(text)}".encode(), [None] * marks)
            except psycopg.Error as error:
                failed.append(f"{place}: Postgres: {str(error).splitlines()[0]}")
                there.rollback()
    here.close()
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t WHERE b = ?1",
        "INSERT OR IGNORE INTO t VALUES (?)",
        "SELECT sum(status = 'failed') FROM t",
        "SELECT max(a, b) FROM t",
        "SELECT 1 FROM t WHERE a IS ?",
    ],
)
def test_such_words_are_found(text: str) -> None:
    assert any(re.search(pattern, text) for pattern in NOT_PORTABLE)
