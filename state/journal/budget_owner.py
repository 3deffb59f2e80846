"""As whom a process sets aside what its calls can cost, and until when others take it for alive.

What a process had set aside may be given back once it has shown no sign of life for LIFETIME_S, by the
database's clock: it was stopped, or its database was away. From then on it sets aside as somebody else. So
what its earlier calls settle, which may be given back already, takes nothing away from what the later ones
hold.
"""

from __future__ import annotations

import threading
import time
from uuid import uuid4

from .budget_holds import LIFETIME_S

Moment = tuple[float, float]  # by the clock that ticks, and by the one on the wall


def moment() -> Moment:
    return time.monotonic(), time.time()


class BudgetOwner:
    """The names under which one process sets aside; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name = uuid4().hex
        self._former: list[str] = []  # whose calls are under way
        self._until: float | None = None  # by the database's clock; None while it holds nothing
        self._alive_at: Moment = (-LIFETIME_S, -LIFETIME_S)

    @property
    def name(self) -> str:
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """By which it has something under way, and its own of now."""
        with self._lock:
            return (self._name, *self._former)

    def lease(self) -> tuple[str, float | None]:
        """Return its name, and when others may give back what it has set aside by it.

        That is by the database's clock; None while nothing is.
        """
        with self._lock:
            return self._name, self._until

    def age_s(self) -> float:
        """Return for how long it has shown no sign of life; either clock may stand still, or be set."""
        ticking, on_wall = self._alive_at
        return max(time.monotonic() - ticking, time.time() - on_wall)

    def renewed(self, began: Moment, now: float) -> None:
        """Take note that all which it holds was renewed at a time of the database, asked for `began`."""
        with self._lock:
            self._alive_at, self._until = began, now + LIFETIME_S

    def rest(self) -> None:
        """Take note that nothing is under way."""
        with self._lock:
            self._former.clear()
            self._until = None

    def begin_anew(self, name: str) -> None:
        """Set aside as somebody else from now on, if it still does by this name."""
        with self._lock:
            if self._name == name:
                self._former.append(name)
                self._name, self._until = uuid4().hex, None
