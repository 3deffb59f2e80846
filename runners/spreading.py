"""Fan-outs shared over workers: some items each in a job of its own, and their results for who waits."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from ..graphs.engine.sharing import PartOutcome, SharedPart, plans_in
from ..nodes.costs import cost_of
from ..state.budget import Budget
from ..state.errors import BudgetExceeded, InputError, RunFailed, StepgraphError
from ..state.event_loops import in_thread
from ..state.halts import HALTED
from ..state.journal.jobs import OVER, JobRecord, find_job, wake_for_parts, wake_job
from ..state.journal.journal import Journal
from ..state.journal.parts import (
    PartRecord,
    PartStanding,
    begin_again,
    begin_parts,
    find_part,
    parts_of,
)
from ..state.serde import AllowListSerializer
from ..state.session.session import Session
from ..tracing.record.threads import find_thread
from .loading import Compiled
from .outcomes import Job
from .run import aread_result

LOOK_AGAIN_S: Final = 30.0  # whoever waits for parts looks by itself, should nobody tell it
Submit = Callable[[Job], Awaitable[None]]
_SERIALIZER: Final = AllowListSerializer()
_KIND: Final = _SERIALIZER.dumps_typed(0)[0]


class JobSpreader:
    """Gives the items of one run's fan-outs to workers."""

    def __init__(self, session: Session, record: JobRecord, graph: Compiled, submit: Submit) -> None:
        self._session = session
        self._journal = session.journal
        self._record = record
        self._plans = list(plans_in(cost_of(graph)))
        self._submit = submit

    async def find(self, task: str) -> Sequence[PartOutcome]:
        """Return the parts of a node execution, with their results where all of them are over."""
        parts = await in_thread(parts_of, self._journal, self._record.thread_id, task)
        plain = [PartOutcome(part.thread_id, part.status, part.is_told) for part in parts]
        if not all(part.is_over for part in plain):
            for part in parts:
                if part.status == "queued":  # whoever was to tell the engine may have died
                    await self._submit(Job(self._record.graph, part.thread_id))
            return plain
        return [await self._outcome(part) for part in parts]

    async def _outcome(self, part: PartStanding) -> PartOutcome:
        graph = self._plans[int(part.place)].graph
        result = await aread_result(graph, self._session, part.thread_id)
        results = [
            replace(each, index=each.index + part.first) for each in result.values.get("results") or ()
        ]
        outcome = PartOutcome(part.thread_id, part.status, part.is_told, results)
        if part.status == "failed":
            thread = await in_thread(find_thread, self._journal, part.thread_id)
            problem = RunFailed(
                f"A part of the fan-out failed, the thread {part.thread_id!r}: {thread.error or part.kind}",
                thread_id=part.thread_id,
                kind=part.kind or "an error",
            )
            return replace(outcome, problem=problem)
        if part.status == "done":
            return outcome
        end = result.budget_end
        limit, scope = (end.limit, end.scope) if end is not None else (HALTED, "the worker")
        message = str(end) if end is not None and part.status == "partial" else "The run was canceled."
        limit = limit if part.status == "partial" else HALTED
        return replace(outcome, ended=BudgetExceeded(message, limit=limit, scope=scope, budget={}, spent={}))

    async def begin(self, task: str, plan: SharedPart, items: Sequence[Any]) -> bool:
        """Give items to workers; False for a fan-out that is not found in the graph, such as a closure's."""
        place = next((n for n, each in enumerate(self._plans) if each is plan), None)
        if place is None:
            return False
        try:
            contents = [_SERIALIZER.dumps_typed(chunk)[1] for chunk in chunks(items, plan.parts)]
        except StepgraphError as error:
            raise InputError(f"Items that workers share are kept in the database: {error}") from None
        options = await in_thread(self._options, task)
        parent, digest = self._record.thread_id, hashlib.sha256(task.encode()).hexdigest()[:8]
        parts, first = [], 0
        for number, (chunk, content) in enumerate(zip(chunks(items, plan.parts), contents, strict=True)):
            thread = f"{parent}.{digest}.{number}"
            part = PartRecord(thread, parent, task, str(place), first, content)
            job = JobRecord(thread, self._record.graph, 0, {}, options=options, engine=self._record.engine)
            parts.append((part, job))
            first += len(chunk)
        await in_thread(begin_parts, self._journal, parts)
        for part, _ in parts:
            await self._submit(Job(self._record.graph, part.thread_id))
        return True

    def _options(self, task: str) -> dict[str, Any]:
        """Return the options of parts: those of the run, and what its own budget has left for all."""
        thread = self._record.thread_id
        options = {name: value for name, value in self._record.options.items() if name != "restart"}
        shared = [each for each in options.pop("budget", None) or () if each.get("scope")]
        own = self._session.budget_of(thread)
        if own is not None and not own.lifts:
            shared += self._left(own, task)
        return {**options, "budget": shared} if shared else options

    def _left(self, own: Budget, task: str) -> list[dict[str, Any]]:
        thread, budgets = self._record.thread_id, []
        used = self._session.spent(thread).charged()
        # What the parts spend counts against their scope: what they have spent is there, and in `spent` too.
        scope = f"parts:{hashlib.sha256(f'{thread} {task}'.encode()).hexdigest()[:24]}"
        inside = self._spent_by_parts(task)
        limits = {
            name: max(0, limit - used[name] + inside[name])
            for name in used
            if (limit := getattr(own, name)) is not None
        }
        if limits:
            budgets.append(Budget(**limits, answer_tokens=own.answer_tokens, scope=scope).values())
        if own.seconds is not None or own.supersteps is not None:
            left_s = None if own.seconds is None else max(0.0, own.seconds - self._session.ran_s(thread))
            budgets.append(Budget(seconds=left_s, supersteps=own.supersteps).values())
        return budgets

    def _spent_by_parts(self, task: str) -> dict[str, Any]:
        costs = [
            self._session.spent(part.thread_id)
            for part in parts_of(self._journal, self._record.thread_id, task)
        ]
        return {
            "calls": sum(cost.calls for cost in costs),
            "tokens": sum(cost.charged_tokens for cost in costs),
            "usd": sum(cost.charged_usd for cost in costs),
        }

    async def go_on(self, parts: Sequence[PartOutcome]) -> None:
        """Have parts that have stopped go on, with what the run's budget has left."""
        for part in parts:
            standing = await in_thread(find_part, self._journal, part.thread)
            options = await in_thread(self._options, "" if standing is None else standing.task)
            await in_thread(begin_again, self._journal, part.thread)
            await in_thread(wake_job, self._journal, part.thread, options)
            await self._submit(Job(self._record.graph, part.thread))


def chunks(items: Sequence[Any], parts: int) -> list[list[Any]]:
    """Return items in so many parts at most, in their order, each about as long as the others."""
    count = min(parts, len(items))
    ends = [len(items) * number // count for number in range(count + 1)]
    return [list(items[begin:end]) for begin, end in pairwise(ends)]


def part_of(graph: Compiled, part: PartRecord) -> tuple[Any, dict[str, Any]]:
    """Return the graph of a part, and its input. Raises InputError for one that the graph has no more."""
    plans = list(plans_in(cost_of(graph)))
    if int(part.place) >= len(plans):
        raise InputError(f"The graph of {part.parent!r} has changed: it has no such fan-out any more.")
    return plans[int(part.place)].graph, {"items": _SERIALIZER.loads_typed((_KIND, part.items))}


def parent_to_wake(journal: Journal, thread: str) -> Job | None:
    """Wake the job that waits for a part which is over, if all of its parts are; return whom to tell of."""
    part = find_part(journal, thread)
    if part is None or any(each.status not in OVER for each in parts_of(journal, part.parent, part.task)):
        return None
    parent = find_job(journal, part.parent)
    if parent is None or parent.is_over:
        return None
    wake_for_parts(journal, part.parent)
    return Job(parent.graph, part.parent)
