"""One claim on a thread, and when it was surely held."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
