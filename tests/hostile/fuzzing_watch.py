"""What fuzzing watches, what it counts, and the graph and suite it begins with."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
