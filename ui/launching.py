"""What a person begins on a page runs in a process of its own: the command line's own commands, no others.

So the page never waits for a graph and loads none of your code, and what holds for `stepgraph resume` holds
here: which code a record may name, who runs a thread, what is paid for.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Final

from ..runners.choosing import VARIABLE as ENGINE
from ..state.database import VARIABLE, Database, variable_for
from ..state.masking import NO_KEYS
from ..tracing.record.text import clean, shorten

KEPT: Final = 200  # threads whose last command is remembered
READ: Final = 1_000_000  # bytes of what a command says
LONGEST: Final = 4000  # characters of its error
FINE: Final = (0, 5, 6)  # exit codes: done, waits, a budget ended


@dataclass(frozen=True)
class Launch:
    """A command that was begun for a thread: `message` is what to say of it, `problem` why it failed."""

    thread: str
    arguments: Sequence[str]
    message: str
    question: str = ""
    at: float = 0.0
    is_over: bool = False
    problem: str = ""


class Launcher:
    """Begins commands; those of one thread run one after the other, each when the one before has ended.

    `command` is what runs our command line with the arguments that its standard input holds as JSON. What
    was begun goes on when the page ends.
    """

    def __init__(
        self, command: Sequence[str], database: Database, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        variables = os.environ if environment is None else environment
        here = {name: value for name, value in variables.items() if name != ENGINE}  # it runs in that process
        self._environment = {**here, VARIABLE: variable_for(database)}
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Launch]] = {}
        self._last: OrderedDict[str, Launch] = OrderedDict()
        self._count = 0

    def begin(self, thread: str, arguments: Sequence[str], message: str, question: str = "") -> bool:
        """Begin a command, or queue it behind those of its thread; no answer to a question that has one."""
        launch = Launch(thread, arguments, message, question, time.time())
        with self._lock:
            queue = self._queues.get(thread)
            if question and any(item.question == question for item in queue or ()):
                return False
            self._note(launch)
            if queue is not None:
                queue.append(launch)
                return True
            self._queues[thread] = deque([launch])
        threading.Thread(target=self._work, args=(thread,), daemon=True).start()
        return True

    def is_going(self, thread: str) -> bool:
        """Tell whether something that was begun for a thread has not ended."""
        with self._lock:
            return thread in self._queues

    def is_answered(self, thread: str, question: str) -> bool:
        """Tell whether an answer to a question is on its way."""
        with self._lock:
            return any(item.question == question for item in self._queues.get(thread, ()))

    def last(self, thread: str) -> Launch | None:
        """Return the last that was begun for a thread."""
        with self._lock:
            return self._last.get(thread)

    def recent(self) -> list[Launch]:
        """Return what goes on, and what failed, the latest first."""
        with self._lock:
            launches = [item for item in self._last.values() if not item.is_over or item.problem]
        return launches[::-1]

    @property
    def version(self) -> str:
        """What changes whenever something begins or ends."""
        return str(self._count)

    def _note(self, launch: Launch) -> None:
        self._count += 1
        self._last.pop(launch.thread, None)
        self._last[launch.thread] = launch
        while len(self._last) > KEPT:
            self._last.popitem(last=False)

    def _work(self, thread: str) -> None:
        while True:
            with self._lock:
                launch = self._queues[thread][0]
            try:
                problem = self._run(launch)
            except OSError as error:
                problem = f"The command could not be begun: {error}"
            with self._lock:
                queue = self._queues[thread]
                queue.popleft()
                self._note(replace(launch, arguments=(), is_over=True, problem=problem))
                if not queue:
                    del self._queues[thread]
                    return
                self._note(queue[0])

    def _run(self, launch: Launch) -> str:
        """Run a command to its end, and return what went wrong."""
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as complained,
        ):
            stdin.write(json.dumps(list(launch.arguments)).encode())
            stdin.seek(0)
            # Its own session: Ctrl-C that ends the page does not end a run. No pipes: they would break then.
            ended = subprocess.run(  # noqa: S603 -- our own command line, without a shell
                self._command,
                stdin=stdin,
                stdout=stdout,
                stderr=complained,
                env=self._environment,
                start_new_session=True,
                check=False,
            )
            if ended.returncode in FINE:
                return ""
            return _problem(_end_of(complained), _end_of(stdout)) or f"Exit code {ended.returncode}."


def _end_of(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - READ))
    return file.read().decode("utf-8", "replace")


def _problem(complained: str, stdout: str) -> str:
    """Return why a command failed: what it says as its error, or as that of the run."""
    _, separator, error = complained.rpartition("Error: ")
    if separator:
        return _fit_to_show(error.strip())
    for line in reversed(stdout.splitlines()):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and row.get("error"):
            return _fit_to_show(str(row["error"]))
    return _fit_to_show(complained.strip()[-2000:])


def _fit_to_show(text: str) -> str:
    """Return what a page may show: code that fails may print the keys that it was given."""
    return shorten(clean(NO_KEYS.text(text)), LONGEST)
