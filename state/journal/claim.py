"""One claim on a thread, and when it was surely held."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ThreadBusy


@dataclass
class Claim:
    """One claim of this session, and when it was surely held, by both clocks.

    One clock stands still while the machine sleeps, the other may be set.
    """

    owner: str
    epoch: int = 0
    on_clock: float = field(default_factory=time.time)
    ticking: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        return max(time.monotonic() - self.ticking, time.time() - self.on_clock)

    def renewed(self) -> Claim:
        return Claim(self.owner, self.epoch)

    def is_in(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a lease is this claim's, whether it has run out or not."""
        return (row["owner"], row["epoch"]) == (self.owner, self.epoch)


def busy(row: Mapping[str, Any] | None) -> ThreadBusy:
    """Return why a thread cannot be run: by the row of the claim on it, None if that is gone by now."""
    if row is None:
        return ThreadBusy(
            "The thread has just been claimed by another process. Wait until its run has ended."
        )
    left_s = max(0.0, row["left_s"])
    return ThreadBusy(
        f"The thread {row['thread_id']!r} is being run by process {row['pid']} on {row['host']}. Wait "
        "until it has ended, or stop it; then go on. A run beside it needs another thread. If it is dead, "
        f"its claim ends by itself in {left_s:.1f} s."
    )
