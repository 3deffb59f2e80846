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
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from stepgraph.cli.app import main
from stepgraph.providers.settings import file_bindings
from stepgraph.providers.stack.stack import forget_endpoints
from stepgraph.state.session.default import session_table
from stepgraph.state.settings_file import working_folders_file

from ..servers import ChatServer
from .fuzzing_watch import FLOW, SUITE, Tally, Watch
from .mutating import Mutator

LIMIT_S = 60


class Fuzzer(Mutator):
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
        from stepgraph.ui.pages import Pages
        from stepgraph.ui.queries import Query
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
