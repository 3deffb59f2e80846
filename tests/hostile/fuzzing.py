"""Mutates the files that stepgraph reads, lets every command read them, and watches what that does.

    python -m tests.hostile.fuzzing --cases 2000 --seed 1

Each case is a folder with one file mutated: the database, its spill, a suite, results, a tape, the settings. The
commands run in this process. An audit hook sees each file that is opened for writing, each connection and
each program that is started; code of other places leaves a mark when it runs.
"""

# ruff: noqa: E501
from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepgraph.cli.app import main
from stepgraph.providers.settings import file_bindings
from stepgraph.providers.stack.stack import forget_endpoints
from stepgraph.state.session.default import session_table
from stepgraph.state.settings_file import working_folders_file

from ..servers import ChatServer

FLOW = """
from dataclasses import dataclass
from stepgraph import Ask, agent, chain, review, route, step

@dataclass
class Memo:
    text: str
    short: str = ""
    kind: str = ""

@step("short")
def shorten(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten: {memo.text}")

@review("short")
def words(memo: Memo) -> str:
    return "Send it?"

def look(name: str) -> str:
    '''Look a name up.'''
    return "found " + name

@step("short")
def find(memo: Memo) -> Ask[str]:
    return Ask(memo.text)

graph = chain(shorten, name="memo")
reviewed = chain(shorten, words, name="reviewed")
helped = agent(find, tools=[look], approve=["look"])

def fits(given):
    return True
"""
SUITE = """suite: memos
graph: flow.py:graph
evaluators:
  - {name: fit, kind: code, function: flow.py:fits}
  - {name: same, kind: exact, field: short}
gates:
  - {metric: same, at_least: 0.1}
files: [text]
cases:
  - {id: a, input: {text: flow.py}, expect: {output: {short: ok}, path: [shorten]}}
  - {id: b, input: {text: flow.py}, expect: {same: ok}}
"""
LIMIT_S = 60


@dataclass
class Tally:
    """What was done, and what must not happen."""

    cases: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)  # one line each, but of no kind that is known
    tracebacks: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    @property
    def harm(self) -> list[str]:
        return [*self.tracebacks, *self.ran, *self.sent, *self.touched, *self.slow]


class Watch:
    """Sees what this process opens, connects to and starts. One for the process: hooks cannot be removed."""

    def __init__(self) -> None:
        self.on = False
        self.allowed: tuple[str, ...] = ()
        self.bait = ""
        self.port = 0
        self.found: list[tuple[str, str]] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            path = os.path.realpath(os.fsdecode(args[0]))
            flags = args[2] if isinstance(args[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if path == self.bait or (writes and not path.startswith(self.allowed)):
                self.found.append(("touched", path))
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.symlink", "shutil.rmtree"):
            path = os.path.realpath(os.fsdecode(args[0])) if not isinstance(args[0], int) else ""
            if path and not path.startswith(self.allowed):
                self.found.append(("touched", f"{event} {path}"))
        elif event == "socket.connect" and isinstance(args[1], tuple):
            if args[1][:2] != ("127.0.0.1", self.port):
                self.found.append(("sent", repr(args[1])))
        elif event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost", ""):
            self.found.append(("sent", f"looked up {args[0]!r}"))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn"):
            self.found.append(("ran", f"{event} {args[:2]!r:.200}"))


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


class Fuzzer:
    """Makes the cases of one seed and runs them."""

    def __init__(self, seed: int, watch: Watch) -> None:
        self.luck = random.Random(seed)
        self.watch = watch
        self.tally = Tally()
        self.top = Path(tempfile.mkdtemp(prefix="stepgraph-fuzz-")).resolve()
        self.base, self.work, self.away = self.top / "base", self.top / "work", self.top / "away"
        for folder in (self.base, self.away):
            folder.mkdir()
        self.mark, self.bait = self.top / "ran", self.away / "bait.txt"
        self.bait.write_text("secret")
        evil = f"from pathlib import Path\nPath({str(self.mark)!r}).touch()\n{FLOW}"
        for name in ("bad.py", ".py", "evilmod.py"):
            (self.away / name).write_text(evil)
        (self.away / "s.yaml").write_text(SUITE)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        before = Path.cwd()
        kept = {name: os.environ.get(name) for name in ("OPENAI_API_KEY", "OWN_KEY", "VICTIM")}
        os.environ |= {
            "OPENAI_API_KEY": "sk-victim0123456789abcd",
            "OWN_KEY": "own-key-0123456789",
            "VICTIM": "v-1234567890",
        }
        with ChatServer() as self.server:
            self.watch.port = int(self.server.url.rsplit(":", 1)[1].split("/")[0])
            try:
                self._begin()
                yield
            finally:
                self.watch.on = False
                os.chdir(before)
                shutil.rmtree(self.top, ignore_errors=True)
                for name, value in kept.items():
                    os.environ.pop(name, None)
                    if value is not None:
                        os.environ[name] = value

    def _begin(self) -> None:
        """Write the files that the cases are copies of."""
        os.chdir(self.base)
        (self.base / "flow.py").write_text(FLOW)
        (self.base / "stepgraph.toml").write_text(
            f'[models.default]\nbase_url = "{self.server.url}"\nmodel = "m"\napi_key_env = "OWN_KEY"\n'
            "retries = 0\ntimeout_s = 5\n[session]\nurl = 'stepgraph.sqlite'\n[tracing]\nenvironment = 'x'\n"
        )
        (self.base / "s.yaml").write_text(SUITE)
        (self.base / "old").mkdir()
        for words in (
            ("run", "flow.py:graph", "-i", "text=x", "--thread", "done"),
            ("run", "flow.py:reviewed", "-i", "text=x", "--thread", "asks"),
            ("run", "flow.py:helped", "-i", "text=x", "--thread", "agent"),
            ("eval", "run", "s.yaml", "--run", "r"),
            ("eval", "run", "s.yaml", "--run", "q"),
        ):
            self._command(words)
        rows = sqlite3.connect("stepgraph.sqlite")
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cells = rows.execute("SELECT * FROM calls LIMIT 1")
        names = [column[0] for column in cells.description]
        self.spilt = json.dumps(dict(zip(names, cells.fetchone(), strict=True)), default=str)
        rows.close()
        request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        body = ['{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}']
        row = {
            "request": request,
            "status": 200,
            "headers": {"Content-Type": "application/json"},
            "body": body,
        }
        (self.base / "t.jsonl").write_text(json.dumps(row) + "\n")
        self.kinds = {
            "database": 12, "checkpoint": 4, "bytes": 2, "schema": 2, "spill": 1, "suite": 4, "results": 3,
            "settings": 2, "tape": 1,
        }  # fmt: skip

    def case(self) -> None:
        """Make one case and let some commands read it."""
        kind = self.luck.choices(list(self.kinds), list(self.kinds.values()))[0]
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.base, self.work)
        os.chdir(self.work)
        (self.work / "sub").symlink_to(self.away)
        told = getattr(self, f"_mutate_{kind}")() or ""
        self.tally.cases[kind] += 1
        self.watch.allowed = (str(self.work), "/dev/", "/proc/")
        self.watch.bait = str(self.bait)
        for words in self._commands(kind):
            self._watched(words, f"{kind} {told}")

    # Mutations

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

    # Commands

    def _commands(self, kind: str) -> list[tuple[str, ...]]:
        luck = self.luck
        thread = luck.choice(["done", "asks", "agent", "eval/r/a/1"])
        reads: list[tuple[str, ...]] = [
            ("threads",), ("threads", "--json"), ("threads", "--search", "x", "--order", "longest"), ("show", thread),
            ("show", thread, "--json"), ("show", thread, "--full"), ("show", thread, "--waterfall"), ("history", thread),
            ("history", thread, "--json"), ("pending",), ("pending", "--json"), ("pending", "--full"),
            ("diff", "done", thread), ("diff", thread, "asks", "--json"), ("export",), ("export", "--spans"),
            ("export", thread, "--html"), ("export", thread, "--html", "--to", "page.html"), ("effects",),
            ("effects", "--json"), ("sql", "SELECT * FROM runs"), ("sql", "SELECT * FROM costs_by_step", "--json"),
            ("estimate", "flow.py:graph"), ("trace", "push"), ("prune", "--keep", "0"), ("ui", thread),
        ]  # fmt: skip
        writes: list[tuple[str, ...]] = [
            ("resume", thread), ("resume", "--all"), ("resume", "--due"), ("approve", "asks"), ("approve", "agent"),
            ("approve", "asks", "--full", "--by", "x"), ("reject", "asks", "--reason", "no"), ("edit", "asks", "--value", "y"),
            ("fork", thread), ("fork", thread, "--no-run"), ("fork", thread, "--set", "text=z"),
            ("fork", thread, "--call", "shorten", "--prompt", "p"), ("fork", thread, "--call", "shorten", "--answer", "p"),
            ("run", "flow.py:graph", "-i", "text=x", "--thread", thread), ("run", "flow.py:graph", "-i", "text=n"),
            ("eval", "add", thread, "--suite", "new.yaml"), ("effect", "x", "--done"),
            ("prune", "--keep", "0", "--yes", "--force"), ("prune", "--checkpoints-only", "--yes"),
        ]  # fmt: skip
        suites: list[tuple[str, ...]] = [
            ("eval", "check", "s.yaml"), ("eval", "run", "s.yaml"), ("eval", "run", "s.yaml", "--run", "r"),
            ("eval", "add", "done", "--suite", "s.yaml"), ("eval", "push", "s.yaml", "--run", "r"),
        ]  # fmt: skip
        results = "stepgraph-evals/r.jsonl"
        results_commands: list[tuple[str, ...]] = [
            ("eval", "report", results, "--no-baseline"), ("eval", "report", results, "--html", "r.html", "--json"),
            ("eval", "compare", results, "stepgraph-evals/q.jsonl"), ("eval", "blame", "q", "r", "--no-graft"),
            ("eval", "blame", "eval/r/a/1"), ("eval", "run", "s.yaml", "--run", "r"),
        ]  # fmt: skip
        if kind == "tape":
            return [("tape",)]
        if kind == "suite":
            return luck.sample(suites, 3)
        if kind == "results":
            return luck.sample(results_commands, 3)
        if kind == "settings":
            return [
                luck.choice(reads),
                ("run", "flow.py:graph", "-i", "text=x"),
                ("models", "check", "--offline"),
            ]
        return [*luck.sample(reads, 4), *luck.sample(writes, 2), luck.choice(reads)]

    def _watched(self, words: Sequence[str], told: str) -> None:
        where = f"{' '.join(words)} | {told}"
        self.watch.found.clear()
        started = time.monotonic()
        self.watch.on = True
        try:
            code, said = self._command(words)
        finally:
            self.watch.on = False
        self.tally.commands[
            " ".join(words[:2] if words[0] in ("eval", "trace", "models") else words[:1])
        ] += 1
        self.tally.codes[code] += 1
        if "Traceback (most recent call last)" in said:
            self.tally.tracebacks.append(f"{where}\n{said[-1500:]}")
        for line in said.splitlines():
            if "STEPGRAPH_TRACEBACK" in line:
                self.tally.unexpected[f"{words[0]}: {line[:160]}"] += 1
        if self.mark.exists():
            self.mark.unlink()
            self.tally.ran.append(where)
        for kind, what in self.watch.found:
            getattr(self.tally, kind).append(f"{what} | {where}")
        if time.monotonic() - started > LIMIT_S:
            self.tally.slow.append(where)

    def _command(self, words: Sequence[str]) -> tuple[int, str]:
        """Run a command as a process of its own would, and return its exit code and all that it printed."""
        out = io.StringIO()
        path, modules, argv = list(sys.path), set(sys.modules), sys.argv
        for cache in (file_bindings, working_folders_file, session_table):
            cache.cache_clear()
        forget_endpoints()
        sys.path.append(str(self.away))
        sys.argv = ["stepgraph", *words]
        stdin = sys.stdin
        try:
            sys.stdin = io.StringIO("")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if words[0] == "tape":
                    self._tape()
                elif words[0] == "ui":
                    self._pages(words[1])
                else:
                    main()
            return 0, out.getvalue()
        except SystemExit as stop:
            return int(stop.code or 0), out.getvalue()
        except BaseException:
            return 99, out.getvalue() + traceback.format_exc()
        finally:
            sys.argv, sys.path[:], sys.stdin = argv, path, stdin
            for name in set(sys.modules) - modules:
                if str(self.top) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]

    def _tape(self) -> None:
        from stepgraph.state.errors import StepgraphError
        from stepgraph.testing import Tape

        with contextlib.suppress(StepgraphError):
            Tape("t.jsonl", {"base_url": self.server.url, "model": "m"})

    def _pages(self, thread: str) -> None:
        from stepgraph import Session
        from stepgraph.state.errors import StepgraphError
        from stepgraph.state.masking import EVERYTHING
        from stepgraph.ui.pages import Pages, Query
        from stepgraph.ui.records import Reader

        with contextlib.suppress(StepgraphError), Session("stepgraph.sqlite") as session:
            pages = Pages(Reader(session), EVERYTHING)
            for path in ("/", "/run", "/compare", "/export", "/version"):
                pages.answer(path, Query([("thread", thread), ("a", thread), ("b", "done")]))


def fuzz(cases: int, seed: int, watch: Watch, *, seconds: float = float("inf")) -> Tally:
    """Run so many cases, at most so long."""
    fuzzer = Fuzzer(seed, watch)
    end = time.monotonic() + seconds
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with fuzzer.running():
            for _ in range(cases):
                fuzzer.case()
                if time.monotonic() > end:
                    break
    finally:
        signal.signal(signal.SIGTERM, handler)
    return fuzzer.tally


def report(tally: Tally) -> str:
    """Return what was done and what happened, for a reader."""
    lines = [f"{sum(tally.cases.values())} cases: {dict(tally.cases)}"]
    lines += [
        f"{sum(tally.commands.values())} commands: {dict(tally.commands)}; exit codes {dict(tally.codes)}"
    ]
    for name in ("tracebacks", "ran", "sent", "touched", "slow"):
        found = getattr(tally, name)
        lines += [f"{name}: {len(found)}", *(f"  {what}" for what in found[:10])]
    lines += [f"lines of no known kind: {sum(tally.unexpected.values())}"]
    lines += [f"  {n} x {what}" for what, n in tally.unexpected.most_common(40)]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    done = fuzz(given.cases, given.seed, Watch(), seconds=given.seconds)
    print(report(done))
    sys.exit(bool(done.harm))
