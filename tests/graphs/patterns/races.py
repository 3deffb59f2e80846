"""Whether races that are over are forgotten."""

from __future__ import annotations

import gc
import time

from stepgraph.graphs.engine.race import Race


def races() -> int:
    """Return how many races this process holds."""
    gc.collect()
    return sum(type(each) is Race for each in gc.get_objects())


def come_down_to(number: int) -> bool:
    """Wait until there are no more races than that; what a run has cancelled may still be on its way out."""
    for _ in range(200):
        if races() <= number:
            return True
        time.sleep(0.05)
    return False
