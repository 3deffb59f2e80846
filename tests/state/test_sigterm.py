"""Ctrl-C and SIGTERM: whatever runs ends cleanly, its thread is free, and nothing is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session, chain, run
from stepgraph.state import sigterm

from .stopping import FORMS, ITEMS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")
SHAPES = {"chain": 4, "fan": ITEMS, "thread": 3}
FIRST_OF_ITS_CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.fixture(scope="module", params=["SIGINT", "SIGTERM"])
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process saw that runs each shape of graph in each form, stops it, and goes on."""
    script = Path(__file__).with_name("stopping.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("stopped")), request.param],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code = {"SIGINT": 130, "SIGTERM": 143}[request.param]
    seen = {tuple(name.split()[1:]): what for name, what in map(json.loads, done.stdout.splitlines())}
    return {"code": code, "seen": seen, "errors": done.stderr}


def test_whatever_runs_ends_cleanly_and_pays_for_nothing_twice(stopped: dict[str, Any]) -> None:
    assert set(stopped["seen"]) == {(form, shape) for form in FORMS for shape in SHAPES}, stopped["errors"]
    for (form, shape), seen in stopped["seen"].items():
        where = f"{form} of a {shape}: {seen}"
        assert seen["code"] == stopped["code"], where
        assert (seen["claims"], seen["status"], seen["restored"]) == (0, "failed", True), where
        assert seen["twice"] == [], where
        assert seen["paid"] + seen["asked"] == seen["whole"] == SHAPES[shape], where


def test_a_node_that_goes_on_in_a_thread_asks_nobody_any_more(stopped: dict[str, Any]) -> None:
    late = {form: stopped["seen"][form, "thread"]["late"] for form in FORMS}
    assert late == dict.fromkeys(FORMS, "not asked")


@dataclass
class Note:
    text: str = ""


@pytest.fixture(autouse=True)
def no_handler() -> Iterator[None]:
    """As in a program of its own: a command that ran in this process has left its handler."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def handler_in_a_run(session: Session) -> Any:
    """Return what handles SIGTERM while a run is under way."""
    seen = []

    def look(note: Note) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    run(chain(look).compile(), Note(), session, "t")
    return seen[0]


def test_the_handler_stands_while_a_run_of_the_main_thread_is_under_way(session: Session) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert handler_in_a_run(session) is sigterm._end
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_of_another_thread_leaves_signals_alone(session: Session) -> None:
    seen: list[Any] = []
    worker = threading.Thread(
        target=copy_context().run, args=(lambda: seen.append(handler_in_a_run(session)),)
    )
    worker.start()
    worker.join(60)
    assert seen == [signal.SIG_DFL]


@pytest.mark.parametrize("own", [lambda *_: None, signal.SIG_IGN])
def test_a_handler_of_the_programs_own_stays(session: Session, own: Any) -> None:
    before = signal.signal(signal.SIGTERM, own)
    try:
        assert handler_in_a_run(session) is own
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_that_is_forked_in_a_run_has_the_systems_handler(session: Session) -> None:
    codes = []

    def fork(note: Note) -> None:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    run(chain(fork).compile(), Note(), session, "t")
    assert codes == [-signal.SIGTERM]


SERVICE = """
from dataclasses import dataclass
from stepgraph import Ask, ScriptedModel, Session, chain, run, step

@dataclass
class Note:
    text: str = ""

def answer(request, context):
    with open("asked", "a") as log:
        log.write(request.messages[-1]["content"] + "\\n")
    return "ok"

def asking(number):
    def ask(note: Note) -> Ask[str]:
        return Ask(f"question {number}")
    ask.__name__ = f"ask{number}"
    return step("text", model=ScriptedModel(answer, delay_s=60 * number))(ask)

graph = chain(asking(0), asking(1), name="service")

if __name__ == "__main__":
    with Session("stepgraph.sqlite") as session:
        run(graph.compile(), Note(), session, "t")
"""
COMMAND = ("-m", "stepgraph", "run", "service.py:graph", "-i", "text=", "--thread", "t")


@pytest.mark.parametrize("first_of_container", [True, False])
@pytest.mark.parametrize("words", [COMMAND, ("service.py",)], ids=["command", "program"])
def test_sigterm_ends_a_service_with_143(
    tmp_path: Path, words: tuple[str, ...], first_of_container: bool
) -> None:
    """The first process of a container gets no SIGTERM at all if it has no handler."""
    if first_of_container and not can_unshare():
        pytest.skip("this system does not let us begin a process as the first of a container")
    if not first_of_container and words == COMMAND:
        number, code = signal.SIGINT, 130
    else:
        number, code = signal.SIGTERM, 143
    (tmp_path / "service.py").write_text(SERVICE)
    container = FIRST_OF_ITS_CONTAINER if first_of_container else ()
    service = subprocess.Popen([*container, sys.executable, *words], cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        until(lambda: asked(tmp_path) == ["question 0", "question 1"], service)
        os.kill(child_of(service.pid) if first_of_container else service.pid, number)
        told = service.communicate(timeout=60)[1]
        assert service.returncode == code, told
    finally:
        service.kill()
        service.communicate()
    with Session(tmp_path / "stepgraph.sqlite") as session:
        assert session.journal.query("SELECT status FROM runs") == [{"status": "failed"}]
        assert session.journal.query("SELECT * FROM claims WHERE expires_at > 0") == []
        calls = session.journal.query("SELECT status FROM calls ORDER BY started_at")
        assert [call["status"] for call in calls] == ["answered", "failed"]


def asked(folder: Path) -> list[str]:
    log = folder / "asked"
    return log.read_text().splitlines() if log.exists() else []


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def can_unshare() -> bool:
    try:
        return subprocess.run([*FIRST_OF_ITS_CONTAINER, "true"], capture_output=True).returncode == 0
    except OSError:
        return False
