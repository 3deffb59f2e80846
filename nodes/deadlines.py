"""When something is due: a time, a span, or what the state says; the first word is kept and stands."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig

from ..state.errors import DefinitionError, InputError
from ..state.event_loops import in_thread
from ..state.journal.waits import WaitRecord, begin_wait, end_wait, find_wait
from ..state.run_context import RunContext
from ..state.schema import StateType, accepts, check_known, fields_of, values_of
from ..state.session.session import Session
from ..state.statuses import WaitKind
from ..tracing.forks.recorded import recorded_run

Moment: TypeAlias = datetime | timedelta
Until: TypeAlias = Moment | str | Callable[[Any], Moment | Awaitable[Moment]]
"""A time with its zone; a span from the node's first entry; or the field, or function, that says it."""

ANSWERABLE_S = 30 * 86400.0  # how long a review can be answered in a replay, where a person answered in time


@dataclass(frozen=True)
class Deadline:
    """Until when the node `where` waits."""

    until: Until
    where: str

    def __post_init__(self) -> None:
        if isinstance(self.until, (datetime, timedelta)):
            self._checked(self.until, DefinitionError)
        elif not isinstance(self.until, str) and not callable(self.until):
            raise DefinitionError(
                f"{self.where}: {self.until!r} is no time. Expected a datetime with a zone, a timedelta, the "
                "name of a field, or a function of the state."
            )

    def check_state(self, state: StateType) -> None:
        """Raise DefinitionError unless the state has the field that says the time."""
        if not isinstance(self.until, str):
            return
        check_known(state, [self.until], f"{self.where} reads")
        field = fields_of(state)[self.until]
        if not accepts(field, datetime) and not accepts(field, timedelta):
            raise DefinitionError(
                f"{self.where}: {state.__name__}.{self.until} holds {getattr(field, '__name__', field)}, "
                "which is no time. Make it a datetime or a timedelta."
            )

    async def begin(
        self, kind: WaitKind, name: str, state: Any, config: RunnableConfig | None, session: Session
    ) -> WaitRecord:
        """Return the record of the wait, which a first entry begins."""
        here = RunContext.of(config)
        await session.journal.until_free()
        begun = find_wait(session.journal, here.thread_id, here.task, name)
        if begun is not None:
            return begun
        now = session.now()
        recorded = recorded_run(here)
        before = None if recorded is None else await recorded.wait(here.path, name)
        at = now.timestamp()
        if before is None:
            due = (await self._due(state, now)).timestamp()
        elif before.status == "over":
            due = min(before.due, at)
        else:
            due = max(before.due, at + ANSWERABLE_S)  # the answer came in time, so it does here
        wait = WaitRecord(here.thread_id, here.task, name, kind, due, "waiting", at, None)
        begun = await begin_wait(session.journal, wait)
        if before is None or kind == "wait" or before.status != "over":
            return begun
        await end_wait(session.journal, begun, "over", now)
        return replace(begun, status="over", ended_at=at)

    async def _due(self, state: Any, now: datetime) -> datetime:
        until: Any = self.until
        if isinstance(until, str):
            until = values_of(state).get(until)
        elif callable(until):
            async_ = inspect.iscoroutinefunction(until)
            until = until(state) if async_ else await in_thread(until, state)
            until = await until if inspect.isawaitable(until) else until
        moment = self._checked(until, InputError)
        try:
            return (now + moment if isinstance(moment, timedelta) else moment).astimezone(UTC)
        except OverflowError:
            raise InputError(
                f"{self.where}: {moment} from now is beyond the last year that there is."
            ) from None

    def _checked(self, until: Any, error: type[DefinitionError | InputError]) -> Moment:
        if isinstance(until, datetime) and until.utcoffset() is None:
            raise error(
                f"{self.where}: {until} has no time zone, so nobody knows when that is. Give it one: "
                "datetime(…, tzinfo=UTC), or datetime.now(UTC) + …"
            )
        if isinstance(until, (datetime, timedelta)):
            return until
        source = f"{self.until!r} is" if isinstance(self.until, str) else "its function returned"
        raise error(f"{self.where}: {source} {until!r:.80}; expected a datetime with a zone, or a timedelta.")
