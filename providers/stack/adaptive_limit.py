"""How many calls at a time an endpoint takes: additive increase, multiplicative decrease.

- A refusal (429, 503, 529) cuts the limit below what was under way: by a tenth, by more if refusals go on.
  Then it grows back to the last number that was good, and stays there; a while later it tries one more.
- Answers that take twice as long as before cut it too: the endpoint takes the calls, but lets them wait.
- It grows only while it is what holds calls back.

Nothing here waits or knows of event loops, so it can be simulated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

START: Final = 32
CUTS: Final = (0.9, 0.7, 0.5)  # for the first refusal, and for those that follow at once
GROWTH: Final = 0.4  # for each answer: so much of itself in the time of one call
PROBE_S: Final = 12.0
PROBE_CALLS: Final = 60  # so that of all calls hardly more than one in sixty is refused
LONGEST_PROBE_S: Final = 45.0  # where calls are few, or slow
FORGOTTEN_S: Final = 60.0

SLOW, SLOWER = math.log(1.5), math.log(2.0)
SHORT_S: Final = 0.2  # below that, the client's own work is most of a latency
WINDOW: Final = 32
LEAST_BY_LATENCY: Final = 4.0
STEPS: Final = 256


@dataclass(frozen=True, slots=True)
class Sent:
    """A call under way: how many there were with it, and after how many cuts of the limit it was sent."""

    level: int
    cuts: int


class AdaptiveLimit:
    """The limit for one model at one endpoint. `clock` gives seconds."""

    def __init__(self, start: int = START, clock: Callable[[], float] | None = None) -> None:
        self.start = start
        self.running = 0
        self._limit = float(start)
        self._clock = clock or (lambda: time.monotonic())
        self._latencies = Latencies()
        self._cuts = 0
        self._row = -1  # cuts with hardly an answer between them
        self._good = 0  # answers since the last cut
        self._refused = math.inf  # so many at a time were too many
        self._refused_at = -math.inf
        self._idle_since = -math.inf

    @property
    def limit(self) -> int:
        return max(1, int(self._limit + 1e-9))

    @property
    def is_free(self) -> bool:
        return self.running < self.limit

    def expect(self, calls: int) -> None:
        """Start no lower than this, if nothing speaks against it yet."""
        self.start = max(self.start, calls)
        if self._refused == math.inf:
            self._limit = max(self._limit, self.start)

    def send(self) -> Sent:
        """Note that a call is sent."""
        if not self.running and self._clock() - self._idle_since > FORGOTTEN_S:
            self._limit, self._refused = max(self._limit, self.start), math.inf
        self.running += 1
        return Sent(self.running, self._cuts)

    def end(self) -> None:
        """Note that a call is over, however it ended."""
        self.running -= 1
        if not self.running:
            self._idle_since = self._clock()

    def answered(self, sent: Sent, step: str, seconds: float, *, waiting: bool) -> None:
        """Learn from an answer, before its call ends; `waiting` says whether calls stand in line."""
        self._good += 1
        new = sent.cuts == self._cuts  # older calls tell of a crowd that is gone
        ratio = self._latencies.add(step, seconds, max(WINDOW, self.limit // 2), counts=new)
        if ratio is not None and ratio > SLOWER and sent.level >= self._limit / 2:
            share = min(CUTS[0], max(CUTS[1], 1.5 / math.exp(ratio)))
            self._limit = max(min(self._limit, LEAST_BY_LATENCY), self._limit * share)
            self._cuts += 1
        if self._latencies.is_slow or not (waiting or sent.level >= self._limit - 1):
            return
        if self._limit < self._refused - 1:
            self._limit = min(self._refused - 1, self._limit + GROWTH)
        elif self._may_probe():
            self._limit += 1 / self._limit
            if self._limit >= self._refused + 1:  # what was too many is not any more
                self._refused = math.inf

    def _may_probe(self) -> bool:
        since = self._clock() - self._refused_at
        return since >= PROBE_S and (self._good >= PROBE_CALLS or since >= LONGEST_PROBE_S)

    def refused(self, sent: Sent) -> bool:
        """Learn from a refusal, before its call ends. Return whether there were too many calls at a time."""
        others = self.running - 1
        crowded = others + 1 >= self._limit / 2
        if crowded:  # else it is not their number that is too much
            self._refused = others + 1
            self._limit = max(1.0, min(self._limit, others))
        self._refused_at = self._clock()
        if sent.cuts == self._cuts:  # later ones of the same crowd tell nothing new
            self._row = self._row + 1 if self._good < self._limit else 0
            self._limit = max(1.0, self._limit * CUTS[min(self._row, len(CUTS) - 1)])
            self._cuts += 1
            self._good = 0
        return crowded and others > 0


@dataclass(slots=True)
class _Usual:
    """How long a step's calls usually take, as the logarithm of seconds."""

    usual: float = 0.0
    known: bool = False
    sum: float = 0.0
    count: int = 0


@dataclass
class Latencies:
    """Whether calls take longer than they used to, each compared with those of its own step."""

    is_slow: bool = False
    _steps: dict[str, _Usual] = field(default_factory=dict)
    _sum: float = 0.0
    _count: int = 0

    def add(self, step: str, seconds: float, window: int, *, counts: bool = True) -> float | None:
        """Add a latency. At the end of a window, return the logarithm of how many times longer calls take.

        The window has those that count.
        """
        if seconds <= 0:
            return None
        value = math.log(seconds + SHORT_S)
        own = self._steps.get(step)
        if own is None:
            if len(self._steps) >= STEPS:
                del self._steps[next(iter(self._steps))]
            own = self._steps[step] = _Usual()
        if own.known and counts:
            self._sum += value - own.usual
            self._count += 1
        own.sum += value
        own.count += 1
        if own.count >= (WINDOW if own.known else WINDOW // 2):
            mean = own.sum / own.count
            # Faster is believed soon, slower only if it lasts: it may be the calls' own number.
            share = 1.0 if not own.known else 0.5 if mean < own.usual else 0.05
            own.usual += share * (mean - own.usual)
            own.known, own.sum, own.count = True, 0.0, 0
        if self._count < window:
            return None
        ratio = self._sum / self._count
        self._sum, self._count = 0.0, 0
        self.is_slow = ratio > SLOW
        return ratio
