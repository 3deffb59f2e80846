"""The ways in which the fuzzer mutates one file of a folder that stepgraph reads."""

# ruff: noqa: E501
from __future__ import annotations

import contextlib
import json
import pickle
import random
import sqlite3
from pathlib import Path
from typing import Any

from .fuzzing_watch import Payload


class Mutator:
    """Mutates one file: each method takes the file's kind, and says what it did."""

    luck: random.Random
    work: Path
    away: Path
    mark: Path
    spilt: str

    def _value(self) -> Any:
        luck, away = self.luck, self.away
        return luck.choice(
            [
                None, "", 0, -1, 2**62, 1e308, float("inf"), b"\x00\xff", b"", "\0", "{", "[]", "{}", "null", "[1, 2]",
                '"x"', "7", "NaN", '{"a": ' * 3000 + "1" + "}" * 3000, "[" * 100_000, "x" * 100_000, "\u202e\x9b\x1b[31m",
                "\ud800".encode("utf-8", "surrogatepass"), f"{away}/bad.py:graph", "../away/bad.py:graph", "sub/bad.py:graph",
                f"{away}/.py:graph", "evilmod:graph", "os:system", "subprocess:getoutput", "flow.py:look", "flow.py",
                "antigravity:x", "a\0b.py:graph", "..flow:graph", ":", "flow:graph:graph", "9" * 400, "done", "running",
                json.dumps({"*": {"base_url": "http://127.0.0.2:9/v1", "model": "m", "api_key_env": "VICTIM"}}),
                json.dumps({"*": "openai:gpt-5"}), json.dumps({"default": "local:/etc/passwd"}), json.dumps({"*": 3}),
                json.dumps([{"name": "look", "arguments": {"name": "y"}, "id": "call00100"}]),
                json.dumps([{"role": "user"}]), json.dumps({"cut": "x", "start": "y"}), json.dumps({"cut": 1, "start": 2}),
                json.dumps([{"kind": "review", "due": "x", "value": {}}]), "1e999", "-", "%s", "'; DROP TABLE runs; --",
                f"{away}/bait.txt", "../away/bait.txt", "file:///etc/passwd", "http://127.0.0.2:9/", "2026-13-45T99:99",
            ]
        )  # fmt: skip

    def _mutate_database(self) -> str:
        told = []
        with contextlib.closing(sqlite3.connect("stepgraph.sqlite")) as file, file:
            tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            tables = [name for name in tables if not name.startswith("sqlite_")]
            for _ in range(self.luck.choice([1, 1, 2, 5])):
                table = self.luck.choice(["runs", "runs", "calls", "node_runs", "invocations", *tables])
                columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
                column, value = self.luck.choice(columns), self._value()
                where = "" if self.luck.random() < 0.5 else f" WHERE rowid = (SELECT min(rowid) FROM {table})"
                with contextlib.suppress(sqlite3.Error, OverflowError):
                    file.execute(f"UPDATE OR REPLACE {table} SET {column} = ?{where}", (value,))
                told.append(f"{table}.{column} = {value!r:.60}")
        return "; ".join(told)

    def _mutate_checkpoint(self) -> str:
        with contextlib.closing(sqlite3.connect("stepgraph.sqlite")) as file, file:
            table, column, kind = self.luck.choice(
                [
                    ("checkpoints", "checkpoint", "type"),
                    ("writes", "value", "type"),
                    ("checkpoints", "metadata", ""),
                ]
            )
            rows = file.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
            number, data = self.luck.choice(rows)
            data = bytearray(data if isinstance(data, bytes) else str(data or "").encode())
            for _ in range(self.luck.choice([1, 3, 20])):
                if data:
                    data[self.luck.randrange(len(data))] = self.luck.randrange(256)
            new: Any = bytes(data[: self.luck.randrange(len(data) + 1)] if self.luck.random() < 0.3 else data)
            if self.luck.random() < 0.3:
                new = pickle.dumps(Payload(self.mark))
                if kind:
                    file.execute(f"UPDATE {table} SET {kind} = 'pickle' WHERE rowid = ?", (number,))
            elif self.luck.random() < 0.2:
                new = self._value()
            file.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, number))
        return f"{table}.{column}"

    def _flip(self, name: str, spare: str = "") -> str:
        data = bytearray((self.work / name).read_bytes())
        start, end = 0, len(data)
        for _ in range(self.luck.choice([1, 5, 50])):
            if data:
                data[self.luck.randrange(start, end)] = self.luck.randrange(256)
        if self.luck.random() < 0.2:
            del data[self.luck.randrange(len(data)) :]
        (self.work / name).write_bytes(bytes(data))
        return name

    def _mutate_bytes(self) -> str:
        return self._flip("stepgraph.sqlite")

    def _mutate_schema(self) -> str:
        sql = self.luck.choice(
            [
                "DROP TABLE calls", "DROP TABLE runs", "DROP TABLE checkpoints", "ALTER TABLE runs DROP COLUMN models",
                "ALTER TABLE calls RENAME COLUMN answer TO said", "PRAGMA user_version = 99", "PRAGMA user_version = 1",
                "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM calls; END", "DROP TABLE node_runs",
                "DELETE FROM invocations", "DELETE FROM checkpoints", "DROP TABLE writes", "DELETE FROM runs",
            ]
        )  # fmt: skip
        with (
            contextlib.closing(sqlite3.connect("stepgraph.sqlite")) as file,
            contextlib.suppress(sqlite3.Error),
        ):
            file.execute(sql)
            file.commit()
        return sql

    def _mutate_spill(self) -> str:
        row = json.loads(self.spilt)
        for _ in range(self.luck.choice([1, 3])):
            value = self._value()
            row[self.luck.choice(list(row))] = value if not isinstance(value, bytes) else value.hex()
        lines = [json.dumps(row), self.luck.choice(["", "{", "[1]", "null", "\x00"])]
        (self.work / "stepgraph.sqlite.spill").write_text("\n".join(lines))
        return "spill"

    def _edited(self, name: str) -> str:
        """Replace a word of a text file by a hostile value, or flip its bytes."""
        if self.luck.random() < 0.3:
            return self._flip(name)
        text = (self.work / name).read_text()
        words = [word for word in text.replace("{", " ").replace("}", " ").split() if len(word) > 1]
        value = self.luck.choice(
            [
                str(self._value())[:2000], "!!python/object/apply:os.system [touch x]", "&a [*a]", "!!binary x", "{", "[",
                "flow.py:look", f"{self.away}/bad.py:fits", "os:system", "subprocess:getoutput", "null", "1e400", "- - -",
                f"{self.away}/bait.txt", "../away/bait.txt", "sub/bait.txt", "\t", "2026-01-01", "? x", "<<: *b",
            ]
        )  # fmt: skip
        old = self.luck.choice(words)
        (self.work / name).write_text(text.replace(old, value, 1), encoding="utf-8", errors="replace")
        return f"{name}: {old!r:.30} -> {value!r:.60}"

    def _mutate_suite(self) -> str:
        return self._edited("s.yaml")

    def _mutate_results(self) -> str:
        if self.luck.random() < 0.4:
            path = self.work / "stepgraph-evals" / "r.jsonl"
            lines = path.read_text().splitlines()
            number = self.luck.choice([0, self.luck.randrange(len(lines))])
            row = json.loads(lines[number])
            name, value = self.luck.choice(list(row)), self._value()
            row[name] = value.hex() if isinstance(value, bytes) else value
            lines[number] = json.dumps(row)
            path.write_text("\n".join(lines) + "\n")
            return f"results {name} = {value!r:.60}"
        return self._edited("stepgraph-evals/r.jsonl")

    def _mutate_settings(self) -> str:
        lines = (self.work / "stepgraph.toml").read_text().splitlines()
        number = self.luck.choice([n for n, line in enumerate(lines) if "base_url" not in line])
        value = str(self._value())[:500]
        lines[number] = self.luck.choice(
            [value, f"{lines[number]}{value}", f"x = {value}", "[tracing]\nmask = { x = '(' }"]
        )
        (self.work / "stepgraph.toml").write_text("\n".join(lines), encoding="utf-8", errors="replace")
        return f"settings {lines[number]!r:.60}"

    def _mutate_tape(self) -> str:
        return self._edited("t.jsonl")
