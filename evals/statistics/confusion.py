"""The confusion table of a classifier or a route: what was expected against what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Confusion:
    """Counts of (expected, actual) label pairs; `labels` is the order of rows and columns."""

    labels: tuple[str, ...]
    counts: Counter[tuple[str, str]]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def right(self) -> int:
        return sum(count for (expected, actual), count in self.counts.items() if expected == actual)

    def __str__(self) -> str:
        """Return the table as text: a row for each expected label, a column for each actual one."""
        width = max(len(label) for label in (*self.labels, "expected"))
        head = "expected".ljust(width) + "".join(f"  {label:>9}" for label in self.labels)
        rows = [
            expected.ljust(width)
            + "".join(f"  {self.counts[expected, actual] or '·':>9}" for actual in self.labels)
            for expected in self.labels
        ]
        return "\n".join([head, *rows, f"{self.right} of {self.total} right"])


def confusion(pairs: Iterable[tuple[str, str]]) -> Confusion:
    """Count (expected, actual) pairs; the labels come in the order in which they are first seen."""
    counts = Counter(pairs)
    labels = dict.fromkeys(label for pair in counts for label in pair)
    return Confusion(tuple(labels), counts)
