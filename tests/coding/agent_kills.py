"""Kills the coding agent at each step, and counts what was paid or written twice.

    python -m tests.coding.agent_kills

An uninterrupted run of the agent, against a model server on this machine, tells the moments: each begin and
end of a node, each write, move or removal in the project's folder, and each call of a model. Then each moment
has a trial: the agent's process is killed there with SIGKILL, and another one goes on.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.types import Command

from stepgraph import Session, using
from stepgraph.graphs.ready.coding_agent.graph import CodingTask, graph
from tests.chaos.campaign import read_copy
from tests.chaos.living import forked, received

THREAD = "t"
WRITES = {"os.rename", "os.remove", "os.mkdir"}
OLD = {
    "code.py": "def total(items):\n    return sum(items)\n",
    "words/greet.py": 'def greet(name):\n    return "Hi" + name\n',
    "twins.py": "def one():\n    return 1\n\n\ndef two():\n    return 1\n",
    "gone.py": "nobody = 1\n",
    "was.py": "y = 1\n",
    "check.py": "from code import total\nfrom words.greet import greet\n"
    'bad = (total([1, 2]) != 6) + (greet("Ada") != "Hi, Ada")\n'
    'print(f"test result: x. {2 - bad} passed; {bad} failed")\nraise SystemExit(bad)\n',
}
NEW = {
    **{name: text for name, text in OLD.items() if name not in ("gone.py", "was.py")},
    "now/is.py": "y = 1\n",
    "code.py": "def total(items):\n    return 2 * sum(items)\n",
    "words/greet.py": 'def greet(name):\n    return "Hi, " + name\n',
    "twins.py": "def one():\n    return 2\n\n\ndef two():\n    return 1\n",
    "new.py": "x = 1\n",
}


@dataclass(frozen=True)
class Moment:
    """When the process is killed: at its so-and-so-manieth event, or while that call of a model is out."""

    kind: Literal["event", "call"]
    number: int
    name: str = ""


@dataclass(frozen=True)
class Place:
    """What a trial has to itself."""

    folder: Path
    port: int

    @property
    def run(self) -> str:
        return self.folder.name

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def file(self) -> Path:
        return self.folder / "runs.sqlite"

    def made(self) -> Place:
        for name, text in OLD.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def told(self, what: str) -> Counter[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/{what}")
            return Counter(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def asked(self) -> Counter[str]:
        return self.told(f"counts/{self.run}")

    def held(self) -> dict[str, str]:
        """Return the files of the project, without those that are on their way to their places."""
        files = (path for path in self.project.rglob("*") if path.is_file())
        return {
            path.relative_to(self.project).as_posix(): path.read_text()
            for path in files
            if ".stepgraph-" not in path.name
        }


class Events(BaseCallbackHandler):
    """Counts what happens in a life, and ends it at one of the events."""

    raise_error = True

    def __init__(self, project: Path, last: int | None) -> None:
        self.names: list[str] = []
        self._project = str(project)
        self._last = last
        sys.addaudithook(self._audit)

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self._happens(f"{kwargs.get('name') or 'a node'} begins")

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self._happens("a node ends")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)
        if writes and str(arguments[0]).startswith(self._project):
            self._happens(f"{event} {Path(str(arguments[0])).name}")

    def _happens(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def _life(pipe: Connection, place: Place, last: int | None) -> None:
    url = f"http://127.0.0.1:{place.port}/{place.run}/v1"
    job = CodingTask("Make totals and greetings right.", str(place.project), test="python check.py")
    app = graph.compile()
    events = Events(place.project, last)
    with Session(place.file) as session, using({"model": "m", "base_url": url, "retries": 0}):
        config: Any = {**session.config(THREAD), "callbacks": [events]}
        snapshot = app.get_state(config)
        for _ in range(5):
            given: Any = job if snapshot.created_at is None else None
            waits = {interrupt.id: "approve" for task in snapshot.tasks for interrupt in task.interrupts}
            app.invoke(Command(resume=waits) if waits else given, config)
            snapshot = app.get_state(config)
            if not snapshot.next:
                break
        values = snapshot.values
        pipe.send((values["status"], values["written"], str(values["report"]), events.names))


def live(place: Place, moment: Moment | None) -> Any:
    """Run the agent, or go on with it; None says that it was killed."""
    last = moment.number if moment and moment.kind == "event" else None
    if moment and moment.kind == "call":
        place.told(f"hold/{place.run}/{moment.number}")
    with forked(_life, place, last) as (process, pipe):
        if moment is None:
            return received(pipe)
        if moment.kind == "call":
            deadline = time.monotonic() + 60
            while place.asked().total() < moment.number and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
        process.join(90)
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"It was not killed: {process.exitcode}")
        return None


def trial(place: Place, moment: Moment, reference: Counter[str]) -> list[str]:
    """Kill the agent once, go on, and return what is wrong with what came of it."""
    live(place, moment)
    faults = []
    for name, text in place.held().items():
        if text not in (OLD.get(name), NEW.get(name)):
            faults.append(f"{name} is half written: {text!r}")
    if not {"was.py", "now/is.py"} & place.held().keys():
        faults.append("a file that is renamed is nowhere")
    committed, damaged = read_copy(place.file) if place.file.exists() else (Counter[str](), False)
    if damaged:
        faults.append("the record is damaged")
    in_flight = place.asked() - committed
    status, written, report, _ = live(place, None)
    if (status, written) != ("written", sorted(name for name in OLD | NEW if OLD.get(name) != NEW.get(name))):
        faults.append(f"it ended as {status}, with {written} written; {report}")
    if place.held() != NEW or len(place.held()) != sum(p.is_file() for p in place.project.rglob("*")):
        faults.append(f"the project holds {sorted(path.name for path in place.project.rglob('*'))}")
    twice = place.asked() - reference - in_flight
    if twice:
        faults.append(f"paid twice: {sorted(prompt[-80:] for prompt in twice)}")
    if reference - place.asked():
        faults.append("a prompt was never asked")
    return faults


@contextmanager
def serving() -> Iterator[int]:
    command = [sys.executable, str(Path(__file__).with_name("editing_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def campaign(folder: Path, port: int, only: Sequence[str] = (), every: int = 1) -> list[str]:
    """Try each moment, or every so-and-so-manieth, or the first whose names begin with one of `only`."""
    whole = Place(folder / "whole", port).made()
    status, _, report, names = live(whole, None)
    assert (status, report) == ("written", "2 of 2 tests pass"), (status, report)
    reference = whole.asked()
    moments = [Moment("event", number, name) for number, name in enumerate(names, 1)]
    moments += [Moment("call", number, f"call {number}") for number in range(1, reference.total() + 1)]
    if only:
        moments = [next(m for m in moments if m.name.startswith(start)) for start in only]
    faults = []
    for moment in moments[::every]:
        place = Place(folder / f"{moment.kind}-{moment.number}", port).made()
        found = trial(place, moment, reference)
        faults += [f"killed at {moment.kind} {moment.number} ({moment.name}): {fault}" for fault in found]
        shutil.rmtree(place.folder)
    print(f"{len(moments[::every])} moments of {len(names)} events and {reference.total()} calls")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="moments of that name")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th moment")
    options = parser.parse_args()
    os.environ.setdefault("STEPGRAPH_SANDBOX", "limits")  # fast; the sandbox itself is tried elsewhere
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, serving() as port:
        faults = campaign(Path(name), port, options.only, options.every)
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
