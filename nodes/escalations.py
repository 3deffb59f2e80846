"""Whom a review asks, and whom it asks next where nobody has answered for so long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from ..state.errors import DefinitionError
from ..state.journal.escalations import Asking, ask_next, askings_of, end_asking
from ..state.run_context import RunContext
from ..state.session.session import Session
from .deadlines import Until

Steps: TypeAlias = Mapping[str, timedelta] | Iterable[tuple[str, timedelta]]
"""Who is asked next, and how long after the review was asked first."""
NOBODY = "whoever looks"


@dataclass(frozen=True)
class Escalation:
    """Whom a review asks first, and who is asked next, after how long."""

    to: str
    steps: tuple[tuple[str, timedelta], ...]

    @classmethod
    def of(cls, where: str, to: str | None, steps: Steps | None, deadline: Until | None) -> Escalation | None:
        """Return it, None where nobody is named. Raises DefinitionError for what cannot come to pass."""
        if to is None and steps is None:
            return None
        pairs = steps.items() if isinstance(steps, Mapping) else steps or ()
        try:
            stages = tuple((str(who), after) for who, after in pairs)
            is_meant = all(isinstance(after, timedelta) for _, after in stages)
        except (TypeError, ValueError):
            is_meant = False
        if not is_meant:
            raise DefinitionError(
                f"{where}: escalate_to names who is asked next, and how long after the first question: "
                '{"grace": timedelta(hours=4)}.'
            )
        last = timedelta(0)
        for who, after in stages:
            if after <= last:
                raise DefinitionError(
                    f"{where}: escalate_to asks {who!r} after {after}, no later than the one before."
                )
            last = after
        if isinstance(deadline, timedelta) and stages and last >= deadline:
            raise DefinitionError(
                f"{where}: escalate_to asks {stages[-1][0]!r} after {last}, when its deadline of {deadline} "
                "has passed."
            )
        return cls(to or NOBODY, stages)

    async def ask(self, name: str, here: RunContext, session: Session) -> dict[str, Any]:
        """Return what the question says of who is asked: the next one, if the time for that has come."""
        place, now = (here.thread_id, here.task, name), session.now()
        await session.journal.until_free()
        known = askings_of(session.journal, *place)
        if not known:
            known = await self._next(session, place, 0, now, now)
        began = datetime.fromtimestamp(known[0].asked_at, UTC)
        due = [number for number, (_, after) in enumerate(self.steps, 1) if began + after <= now]
        if due and due[-1] > known[-1].number:  # where no process ran for long, only the last one is asked
            known = await self._next(session, place, due[-1], began, now)
        question = {
            "to": known[-1].asked,
            "asked": [{"to": each.asked, "at": _shown(each.asked_at)} for each in known],
        }
        return question if known[-1].until is None else {**question, "escalates": _shown(known[-1].until)}

    async def _next(
        self, session: Session, place: tuple[str, str, str], number: int, began: datetime, now: datetime
    ) -> list[Asking]:
        who = self.steps[number - 1][0] if number else self.to
        until = (began + self.steps[number][1]).timestamp() if number < len(self.steps) else None
        await ask_next(session.journal, *place, Asking(number, who, now.timestamp(), until))
        return askings_of(session.journal, *place)

    async def end(self, name: str, here: RunContext, session: Session) -> None:
        """Ask nobody more."""
        await end_asking(session.journal, here.thread_id, here.task, name)


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
