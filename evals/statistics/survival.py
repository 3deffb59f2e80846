"""How many rounds a loop needs, when some loops were stopped before anyone knew.

A loop that ended without approval, because its rounds were used up or something else ended it, would
perhaps have been approved later: it is *censored*, and Kaplan and Meier's estimate treats it so. A
loop that produced the same draft twice would never have been: it stays unapproved for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..scoring.trial_record import APPROVED, UNCHANGED, Loop

ENOUGH = 0.95


@dataclass(frozen=True)
class RoundStatistics:
    """The rounds of one loop over many runs.

    `approved` and `stopped` count runs by their last round. `share` is the estimated share of runs that
    are approved by each round; beyond the last round that was seen, nobody knows. `suggested` is the
    smallest limit that reaches 95 % of what the most rounds reach, None if none was ever approved.
    """

    path: str
    approved: dict[int, int]
    stopped: dict[int, int]
    hopeless: int
    share: dict[int, float]
    suggested: int | None

    @property
    def runs(self) -> int:
        return sum(self.approved.values()) + sum(self.stopped.values()) + self.hopeless

    @property
    def last(self) -> int:
        return max([*self.approved, *self.stopped, 1])


def rounds_of(path: str, loops: Sequence[Loop]) -> RoundStatistics:
    """Return what the runs of one loop say together."""
    approved = Counter(loop.rounds for loop in loops if loop.ended == APPROVED)
    hopeless = sum(loop.ended == UNCHANGED for loop in loops)
    stopped = Counter(loop.rounds for loop in loops if loop.ended not in (APPROVED, UNCHANGED))
    share: dict[int, float] = {}
    at_risk, waiting = len(loops), 1.0
    for number in range(1, max([*approved, *stopped, 0]) + 1):
        if at_risk:
            waiting *= 1 - approved[number] / at_risk
        share[number] = 1 - waiting
        at_risk -= approved[number] + stopped[number]
    most = max(share.values(), default=0.0)
    suggested = next((n for n, reached in share.items() if most and reached >= ENOUGH * most), None)
    return RoundStatistics(
        path, dict(sorted(approved.items())), dict(sorted(stopped.items())), hopeless, share, suggested
    )
