"""One thread that is handed to workers of an engine: whichever of them dies, another goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..compositions.lives import Ending, is_stopped
from ..compositions.model import Moment
from .databases import PostgresDatabase, contents
from .lives import HEARTBEAT_S, Cut
from .server import ANY
from .trial import Tally, Trial
from .workers import CLIENT_S, GRACE_S, Worker, client, started

WORKERS = 2
MOST_WORKERS = 8
TICK_S = 0.01


@dataclass
class EngineTrial(Trial):
    """Keeps two workers alive while a client waits for its thread."""

    restart_engine: Callable[[], None] | None = None
    _workers: list[Worker] = field(default_factory=list)
    _kind: str = ""
    _at: int = 0

    def run(self, kind: str) -> Tally:
        """Disturb the run as the cell says, and go on until it has ended."""
        self._kind = kind
        cut, moment = Cut(), None
        most = max(1, self.reference.effects.total())
        if kind == "effect":
            cut = Cut(effect=self.luck.randint(1, most), happens=self.luck.random() < 0.5)
        elif kind == "commit":
            moment = Moment(signal.SIGKILL, self._some(), committed=True)
        elif kind in SIGNALS:
            self._at = self._some()
            self.models.arm(self.place.run, ANY, self._at, SIGNALS[kind])
        try:
            for _ in range(WORKERS):
                self._start(cut, moment)
            with client(self.place, waits=kind == "review") as (process, pipe):
                ended = self._watched(process, pipe)
            if kind == "deploy":
                self._until_drained()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
        self._count()
        self._judge(ended)
        return self.tally

    def _start(self, cut: Cut = Cut(), moment: Moment | None = None) -> None:  # noqa: B008 - it is frozen
        self._life += 1
        self._workers.append(started(self.place, self._life, cut, moment))

    def _watched(self, process: Any, pipe: Any) -> Ending:
        """Return how the client's run ends, with a worker in the place of each that died."""
        deadline = time.monotonic() + CLIENT_S
        at = self._some()
        while time.monotonic() < deadline:
            if pipe.poll(TICK_S):
                try:
                    said = pipe.recv()
                except EOFError:
                    return Ending("failed", problem="The client died.")
                if isinstance(said, Ending):
                    return said
                self._park()
                pipe.send("go on")
            self._replace()
            if self._kind == "zombie":
                self._look_for_zombie()
            if self._kind in ("database", "server") and len(self.models.asked(self.place.run)) >= at:
                self._restart()
        return Ending("failed", problem=f"It did not end within {CLIENT_S:.0f} s.")

    def _replace(self) -> None:
        for worker in list(self._workers):
            if worker.process.is_alive():
                continue
            worker.process.join()
            self._workers.remove(worker)
            self._count(worker.life)
            code = worker.process.exitcode
            said = [*_said(worker)]
            if code == -signal.SIGKILL or "drained" in said:
                self.tally.kills += 1
            elif self._kind not in ("database", "server"):
                self._fault("errors", f"worker {worker.life} ended by itself ({code}): {said[-1:]}")
            if self._life < MOST_WORKERS:
                self._start()

    def _until_drained(self) -> None:
        """Wait for the worker that was told to end: its thread may have ended elsewhere meanwhile."""
        deadline = time.monotonic() + 3 * GRACE_S
        while self.tally.kills == 0 and time.monotonic() < deadline:
            if len(self.models.asked(self.place.run)) < self._at:
                break  # it was asked less, and told nothing
            self._replace()
            time.sleep(TICK_S)

    def _park(self) -> None:
        """Kill all workers while the review waits, if others may take their places."""
        if self._life + len(self._workers) <= MOST_WORKERS:
            for worker in self._workers:
                worker.process.kill()

    def _restart(self) -> None:
        if self._kind == "server":
            assert self.restart_engine is not None
            self.restart_engine()
        else:
            assert isinstance(self.database, PostgresDatabase)
            self.database.restart()
        self.tally.kills += 1
        self._kind = ""
        self._count()

    def _look_for_zombie(self) -> None:
        stopped = next((worker for worker in self._workers if is_stopped(worker.process.pid)), None)
        if stopped is None:
            return
        self._kind, self._stopped_at = "", time.time()
        self._count(stopped.life)
        time.sleep(HEARTBEAT_S * 1.2)
        other = next(worker for worker in self._workers if worker is not stopped)
        late = self.luck.random() < 0.5
        deadline = time.monotonic() + CLIENT_S / 4
        while time.monotonic() < deadline and not self._is_far(other.life, ended=late):
            time.sleep(TICK_S)
        ended = late and self._is_far(other.life, ended=True)
        before: Mapping[str, list[str]] | None = contents(self.database) if ended else None
        os.kill(stopped.process.pid, signal.SIGCONT)
        time.sleep(HEARTBEAT_S)
        self._settle(stopped.life)
        self.tally.kills += 1
        self._count(stopped.life)
        self._check_fence(stopped.life, other.life, Ending("lost"), before)

    def _is_far(self, life: int, *, ended: bool) -> bool:
        """Tell whether the run has ended, or at least a worker has asked, or it waits."""
        status = next(iter(self.database.rows("SELECT status FROM runs")), ("",))[0]
        if status == "done" or (status == "interrupted" and not ended):
            return True
        asked = self.models.asked(self.place.run)
        return not ended and any(line["life"] == life and line["at"] > self._stopped_at for line in asked)

    def _settle(self, zombie: int) -> None:
        """Wait until the zombie's answers are on record."""
        deadline = time.monotonic() + CLIENT_S / 4
        while time.monotonic() < deadline and self._not_on_record(zombie):
            time.sleep(TICK_S)


SIGNALS = {"call": signal.SIGKILL, "zombie": signal.SIGSTOP, "deploy": signal.SIGTERM}


def _said(worker: Worker) -> list[Any]:
    said = []
    with suppress(EOFError, OSError):
        while worker.pipe.poll():
            said.append(worker.pipe.recv())
    return said
