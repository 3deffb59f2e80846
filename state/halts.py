"""A halt: a run begins no more calls, keeps those that are under way, and stops where it can go on."""

from __future__ import annotations

import asyncio
from typing import Final

from .errors import BudgetExceeded

HALTED: Final = "halted"  # the `limit` of the budget's end that a halt looks like


class Halt:
    """Tells one run to stop, as the end of a budget does: nothing that was paid for is lost.

    It belongs to the event loop in which it was made.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Have the run begin no more calls; the first reason stands."""
        self.reason = self.reason or reason
        self._asked.set()

    async def wait(self) -> None:
        """Return once the run is to stop."""
        await self._asked.wait()

    def check(self) -> None:
        """Raise BudgetExceeded if the run is to stop."""
        if self.reason:
            raise BudgetExceeded(
                f"The run stops here, because {self.reason}. What was done is kept, and the thread goes on "
                "from here.",
                limit=HALTED,
                scope="the worker",
                budget={},
                spent={},
            )
