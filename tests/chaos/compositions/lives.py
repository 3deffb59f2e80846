"""One life of a composition: a forked process that begins it, goes on with it, or forks its thread."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import traceback
from contextlib import closing
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from stepgraph import Budget, RunResult, Session, aresume, arun, resume, run, using
from stepgraph.errors import EffectUnknown, InputError, ThreadBusy
from stepgraph.graphs.engine.race import Race
from stepgraph.runners.result import RunStatus
from stepgraph.runners.run import aread_so_far
from stepgraph.state.journal import claims
from stepgraph.state.session.pauses import budget_end
from stepgraph.tracing import fork

from ..living import forked
from .building import Composition
from .model import CountingModel, Moment, token, watch_claims, watch_commits
from .states import shown

MODES = ("arun", "arun", "run", "ainvoke", "invoke", "astream", "stream")
MAX_RESUMES = 30
CLAIM_S = 0.6  # how long a claim lives where processes are stopped
SILENT_S = 40.0
THREAD = "t"


@dataclass(frozen=True)
class Order:
    """What one life does, and how it ends before its time.

    `fork` forks the thread first and runs the fork: at a superstep ("at"), as it stands ("whole"), before a
    call ("call"), or with that call's own answer put in its place ("answer").
    """

    life: int
    thread: str = THREAD
    mode: str = "arun"
    arrival: str = "spread"
    moment: Moment | None = None
    kill_after_s: float | None = None
    budget: dict[str, int] | None = None
    tight: bool = False
    leaves: bool = False
    fork: str | None = None
    seed: int = 0
    patient: bool = False
    short_claims: bool = False


@dataclass(frozen=True)
class Ending:
    """How a life ended: done, partial, interrupted, killed, busy, stopped, skipped or failed."""

    status: str
    values: dict[str, str] | None = None
    missing: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Folder:
    """The files of one trial."""

    path: Path
    seed: int
    rich: bool

    @property
    def database(self) -> Path:
        return self.path / "runs.sqlite"

    @property
    def asked(self) -> Path:
        return self.path / "asked.jsonl"

    @property
    def effects(self) -> Path:
        return self.path / "effects.txt"

    def happened(self) -> list[str]:
        """Return the effects that happened, one line each."""
        return self.effects.read_text().splitlines() if self.effects.exists() else []

    def lines(self) -> list[dict[str, Any]]:
        """Return what the model was asked, and which answers were committed, in their order."""
        return (
            [json.loads(line) for line in self.asked.read_text().splitlines()] if self.asked.exists() else []
        )

    def composition(self, *, tight: bool = False) -> Composition:
        return Composition(self.seed, self.effects, self.rich, tight)


class Life:
    """The child's side: runs until the workflow ends, or something ends the life."""

    def __init__(self, folder: Folder, order: Order) -> None:
        self._folder, self._order = folder, order
        self._built = folder.composition(tight=order.tight)
        self._model = CountingModel(
            self._built.questions, folder.asked, order.life, order.arrival, order.moment
        )
        self._options: dict[str, Any] = {} if order.budget is None else {"budget": Budget(**order.budget)}

    def __call__(self, pipe: Connection) -> Ending:
        try:
            with closing(Session(self._folder.database)) as session, using(self._model):
                thread = self._forked(session) if self._order.fork else self._order.thread
                pipe.send("ready")
                return self._live(session, thread)
        except ThreadBusy as busy:
            return Ending("busy", problem=str(busy))
        except (KeyboardInterrupt, SystemExit) as end:
            return Ending("stopped", problem=type(end).__name__)
        except NoForkError as none:
            return Ending("skipped", problem=str(none))
        except BaseException as error:
            where = traceback.format_exc(limit=-6)
            return Ending("failed", problem=f"{type(error).__name__}: {error}\n{where}")

    def _live(self, session: Session, thread: str) -> Ending:
        answers: dict[str, Any] | None = None
        for _ in range(MAX_RESUMES):
            try:
                result = self._once(session, thread, answers)
            except EffectUnknown:
                self._decide(session)
                continue
            except GraphRecursionError:  # so LangGraph's own calls say that a budget of supersteps ended
                if self._order.budget is None or self._order.mode in ("run", "arun"):
                    raise
                return Ending("partial")
            values = {name: shown(value) for name, value in sorted(result.values.items())}
            values |= {f"unmerged {path}": shown(said) for path, said in result.unmerged.items()}
            if result.status == "interrupted" and not self._order.leaves:
                answers = {each.id: word(each.value) for each in result.waiting}
                continue
            return Ending(result.status, values, result.missing)
        raise RuntimeError("The workflow does not end.")

    def _once(self, session: Session, thread: str, answers: dict[str, Any] | None) -> RunResult:
        app, given, mode = self._built.app, self._built.given(), self._order.mode
        begun = bool(session.journal.query("SELECT 1 FROM checkpoints WHERE thread_id = ?", (thread,)))
        if mode == "run":
            if begun:
                return resume(app, session, thread, answers=answers, **self._options)
            return run(app, given, session, thread, **self._options)
        if mode == "arun":
            if begun:
                return asyncio.run(aresume(app, session, thread, answers=answers, **self._options))
            return asyncio.run(arun(app, given, session, thread, **self._options))
        return self._plainly(session, thread, given if not begun else None, answers)

    def _plainly(
        self, session: Session, thread: str, given: Any, answers: dict[str, Any] | None
    ) -> RunResult:
        """Run the graph as LangGraph's users do, and read how it ended."""
        app, mode = self._built.app, self._order.mode
        config = session.config(thread, **self._options)
        before = None if given is not None else app.get_state(config)
        if before is not None and not before.tasks:
            return RunResult(thread, "done", before.values, session.spent(thread))
        said: Any = given if answers is None else Command(resume=answers)
        if (
            before is not None
            and answers is None
            and before.interrupts
            and budget_end(before.interrupts) is None
        ):
            return self._result(session, thread, before)
        if mode == "ainvoke":
            asyncio.run(app.ainvoke(said, config))
        elif mode == "invoke":
            app.invoke(said, config)
        elif mode == "stream":
            for _ in app.stream(said, config, stream_mode="updates", subgraphs=True):
                pass
        else:
            asyncio.run(_drain(app.astream(said, config, stream_mode=["values", "messages"])))
        return self._result(session, thread, app.get_state(session.config(thread)))

    def _result(self, session: Session, thread: str, snapshot: Any) -> RunResult:
        waiting = tuple(snapshot.interrupts)
        spent = session.spent(thread)
        if not waiting and not snapshot.tasks:
            return RunResult(thread, "done", snapshot.values, spent)
        values, unmerged = asyncio.run(aread_so_far(self._built.app, session, thread))
        status: RunStatus = "interrupted" if budget_end(waiting) is None else "partial"
        return RunResult(thread, status, values, spent, waiting=waiting, unmerged=unmerged)

    def _decide(self, session: Session) -> None:
        """Decide about the effects that a crash left open, as somebody would who asks the receiver."""
        if session.undecided_effects():
            until_siblings_go_on(session)
        lines = self._folder.happened()
        for record in session.undecided_effects():
            done = [line for line in lines if line.endswith(f" {record.key}")]
            field = self._built.receipts[record.key.partition(":")[0]]
            update = {field: [done[0].removesuffix(f" {record.key}")]} if done else None
            session.decide_effect(record.key, happened=bool(done), update=update)

    def _forked(self, session: Session) -> str:
        luck = random.Random(self._order.seed)
        new = self._order.thread
        calls = session.journal.query(
            "SELECT id, answer FROM calls WHERE thread_id = ? AND status = 'answered' AND tool_calls IS NULL "
            "AND source = 'model' ORDER BY started_at, id",
            (THREAD,),
        )
        try:
            if self._order.fork == "whole":
                return fork(session, THREAD, new_thread=new)
            if self._order.fork == "at":
                return fork(session, THREAD, at=luck.randint(0, 2), new_thread=new)
            if not calls:
                raise NoForkError("There is no call to fork at.")
            call = luck.choice(calls)
            answer = call["answer"] if self._order.fork == "answer" else None
            return fork(session, THREAD, call=call["id"], answer=answer, new_thread=new)
        except InputError as error:
            raise NoForkError(str(error)) from None


class NoForkError(Exception):
    """There is nothing to fork there."""


async def _drain(stream: Any) -> None:
    async for _ in stream:
        pass


def word(asked: Any) -> Any:
    """Answer a person's question: the same question gets the same answer."""
    if isinstance(asked, dict) and "review" in asked:
        number = int(token(str(asked["question"]))[1:-1], 16)
        if number % 3 == 0:
            return {"decision": "edit", "value": f"{asked['value']} edited"}
        return {"decision": "approve", "by": "ada"}
    if isinstance(asked, dict) and "wait" in asked:
        return "now"
    return f"yes, {asked}"


def _live(pipe: Connection, folder: Folder, order: Order) -> None:
    if order.patient:
        Race.call_off = lambda self: None  # type: ignore[method-assign]
    if order.short_claims:
        claims.LIFETIME_S, claims.RENEW_S = CLAIM_S, CLAIM_S / 3
    watch_claims(folder.asked, order.life)
    watch_commits(folder.asked, order.moment)
    pipe.send(Life(folder, order)(pipe))


def lived(folder: Folder, order: Order) -> Ending:
    """Let one life run to its end."""
    with forked(_live, folder, order) as (process, pipe):
        started = time.monotonic()
        ending = heard(process, pipe, started + SILENT_S, order)
        return Ending(**{**asdict(ending), "seconds": time.monotonic() - started})


def heard(process: Any, pipe: Connection, deadline: float, order: Order | None = None) -> Ending:
    """Return what a life sends, or how it died."""
    kill_at, began = None, time.monotonic()
    while True:
        limit = deadline if kill_at is None else min(kill_at, deadline)
        if not pipe.poll(max(0.0, limit - time.monotonic())):
            process.kill()
            process.join()
            if kill_at is None or kill_at > deadline:
                silent_s = time.monotonic() - began
                return Ending("failed", problem=f"It did not end within {silent_s:.0f} s.")
            return Ending("killed", problem="SIGKILL")
        try:
            said = pipe.recv()
        except EOFError:
            process.join()
            return Ending(
                "killed",
                problem=signal.Signals(-process.exitcode).name
                if process.exitcode < 0
                else f"exit {process.exitcode}",
            )
        if isinstance(said, Ending):
            return said
        if order is not None and order.kill_after_s is not None:
            kill_at = time.monotonic() + order.kill_after_s


@dataclass(frozen=True)
class TakeOver:
    """Two lives on one thread: the first was stopped, the second took over, the first was let go on."""

    first: Ending
    second: Ending


def taken_over(folder: Folder, first: Order, second: Order, wakes_after_s: float) -> TakeOver | Ending:
    """Stop the first life past its claim's end, start the second, and let the first go on once that one asks.

    Returns the first life's ending where it ended before it could be stopped.
    """
    with forked(_live, folder, first) as (process, pipe):
        deadline = time.monotonic() + SILENT_S
        while not is_stopped(process.pid):
            if pipe.poll(0.005) and isinstance(said := _peek(pipe), Ending):
                return said
            if time.monotonic() > deadline:
                return Ending("failed", problem=f"It did not end within {SILENT_S} s.")
        time.sleep(CLAIM_S * 1.5)
        with forked(_live, folder, second) as (other, other_pipe):
            if isinstance(said := _peek(other_pipe), Ending):
                os.kill(process.pid, signal.SIGCONT)
                return TakeOver(heard(process, pipe, deadline), said)
            while not other_pipe.poll(0.01) and not any(
                "call" in line and line["life"] == second.life for line in folder.lines()
            ):
                if time.monotonic() > deadline:
                    return Ending("failed", problem=f"The second life did not end within {SILENT_S} s.")
            time.sleep(wakes_after_s)
            os.kill(process.pid, signal.SIGCONT)
            ended = heard(other, other_pipe, deadline)
            return TakeOver(heard(process, pipe, time.monotonic() + SILENT_S / 4), ended)


def _peek(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return Ending("killed")


def is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def until_siblings_go_on(session: Session, seconds: float = 60.0) -> None:
    """Wait while a sibling of this process stands still in an effect: once it goes on, it may do it yet.

    So does somebody who is to say that it did not happen. It is then on record, or the sibling is too late.
    """
    ends = time.monotonic() + seconds
    was_still = False
    while time.monotonic() < ends and any(is_stopped(pid) for pid in _siblings()):
        was_still = True
        time.sleep(0.02)
    ends = time.monotonic() + 3 * was_still
    while time.monotonic() < ends and session.undecided_effects():
        time.sleep(0.02)


def _siblings() -> list[int]:
    of_threads = Path(f"/proc/{os.getppid()}/task").glob("*/children")
    return [int(pid) for children in of_threads for pid in children.read_text().split()]
