"""Time as a waterfall shows it: only that in which the thread ran, however long it waited in between."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from .spans import Span

SCALE = 1000


class Timeline:
    """The times of the invocations, put end to end."""

    def __init__(self, spans: Iterable[Span]) -> None:
        merged: list[list[float]] = []
        for span in sorted(spans, key=lambda s: s.started_at):
            if merged and span.started_at <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], span.ended_at)
            else:
                merged.append([span.started_at, span.ended_at])
        self._pieces = merged
        self.length = sum(end - start for start, end in merged)

    def at(self, moment: float) -> float:
        """Return how many seconds the thread had run at a moment."""
        return sum(min(max(moment - start, 0.0), end - start) for start, end in self._pieces)

    def bar(self, span: Span) -> tuple[float, float]:
        """Return where a span's bar begins and how long it is, of SCALE in all."""
        length = max(self.length, 1e-9)
        begin = min(self.at(span.started_at) / length * SCALE, SCALE - 2.0)
        width = (self.at(span.ended_at) - self.at(span.started_at)) / length * SCALE
        return begin, max(2.0, min(width, SCALE - begin))

    def waited_before(self, moment: float) -> float:
        """Return how long nothing ran before the piece that begins at a moment."""
        pairs = pairwise(self._pieces)
        return next((late[0] - early[1] for early, late in pairs if late[0] == moment), 0.0)
