"""One life of a run in the kill matrix: a forked process, and what may end it before its time."""

from __future__ import annotations

import os
import signal
import time
import traceback
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stepgraph import Budget, Session, using
from stepgraph.errors import ClaimLost, StoreError, ThreadBusy
from stepgraph.graphs.engine.race import Race

from ..compositions.building import Composition
from ..compositions.lives import THREAD, Ending, Folder, Life, Order
from ..compositions.model import watch_claims, watch_commits
from .client import RemoteModel
from .still import tell_after

# All takes longer where so much else runs that nobody would come to renew a claim in time.
SLOWER = min(4.0, max(1.0, os.getloadavg()[0] / (4 * (os.cpu_count() or 1))))
HEARTBEAT_S = 0.6 * SLOWER
BUSY_S = 20.0 * SLOWER
LIFE_S = 60.0 * SLOWER
STILL_S = 20.0 * SLOWER


@dataclass(frozen=True)
class Place(Folder):
    """The files of a trial, its database and its model server."""

    address: str | Path = ""
    port: int = 0
    run: str = ""
    on: str | None = None  # the engine that brings the thread to workers
    thread: str = THREAD


@dataclass(frozen=True)
class Cut:
    """When a life ends: at an effect (before or after it happens), at the end of a run that waits."""

    effect: int = 0
    happens: bool = False
    parked: bool = False


class EffectsFile:
    """The file of the effects; at one of them, the process that writes it dies."""

    def __init__(self, path: Path, cut: Cut) -> None:
        self._path, self._left, self._happens = path, cut.effect, cut.happens

    def open(self, mode: str) -> Any:
        self._left -= 1
        if self._left == 0 and not self._happens:
            os.kill(os.getpid(), signal.SIGKILL)
        return self if self._left == 0 else self._path.open(mode)

    def write(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(line)
        os.kill(os.getpid(), signal.SIGKILL)

    def __enter__(self) -> EffectsFile:
        return self

    def __exit__(self, *_: object) -> None: ...


class ClusterLife(Life):
    """A life whose model and database are elsewhere."""

    def __init__(self, place: Place, order: Order, cut: Cut) -> None:
        self._folder, self._order, self._place, self._cut = place, order, place, cut
        file: Any = EffectsFile(place.effects, cut)
        self._built = Composition(place.seed, file, place.rich)
        self._model: Any = RemoteModel(place.port, place.run, place.seed, place.rich, order.life)
        self._options: dict[str, Any] = {"budget": Budget()}

    def __call__(self, pipe: Connection) -> Ending:
        try:
            with closing(Session(self._place.address, heartbeat_s=HEARTBEAT_S)) as session:
                with using(self._model):
                    pipe.send("ready")
                    ended = self._once_free(session)
                if self._cut.parked and ended.status == "interrupted":
                    pipe.send(ended)
                    signal.pause()  # somebody will kill it while the review waits
                return ended
        except ClaimLost as lost:
            return Ending("lost", problem=str(lost))
        except (KeyboardInterrupt, SystemExit) as end:
            return Ending("stopped", problem=type(end).__name__)
        except StoreError as away:
            return Ending("away", problem=str(away))
        except BaseException as error:
            where = traceback.format_exc(limit=-6)
            return Ending("failed", problem=f"{type(error).__name__}: {error}\n{where}")

    def _once_free(self, session: Session) -> Ending:
        """Run, once the claim of whoever ran the thread before has ended."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return self._live(session, self._order.thread)
            except ClaimLost:
                raise
            except ThreadBusy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def live(pipe: Connection, place: Place, order: Order, cut: Cut) -> None:
    """Be one life, in a process of its own."""
    signal.alarm(int(2 * LIFE_S))
    os.environ["XDG_STATE_HOME"] = str(place.path / "state")
    tell_after(STILL_S, place.address, place.path / f"still-{order.life}.txt")
    if order.patient:
        Race.call_off = lambda self: None  # type: ignore[method-assign]
    watch_claims(place.asked, order.life)
    watch_commits(place.asked, order.moment, order.life)
    pipe.send(ClusterLife(place, order, cut)(pipe))
