"""The one workflow: it has a worker run a thread, waits for what the thread waits for, and does so again.

It knows no graph, so it never changes with one. Its history holds names, ids and words: no state, no prompt,
no answer. What it imports is Temporal's alone, and what it does depends on its history alone.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ApplicationError

TURN = "stepgraph.turn"
CANCEL = "stepgraph.cancel"
FIRE = "stepgraph.fire"
HEARTBEAT = timedelta(seconds=2)  # a server's timers may come two seconds late, which makes four
STEP = timedelta(seconds=3)  # how long the workflow may take for one: a worker that stands still may have it
LONGEST_TURN = timedelta(days=365)
# How long to wait after a failure is said by the turn; this is for a worker that died.
AGAIN = RetryPolicy(initial_interval=timedelta(seconds=0.1), backoff_coefficient=1.0)
GRAPH = SearchAttributeKey.for_keyword("StepgraphGraph")
STATUS = SearchAttributeKey.for_keyword("StepgraphStatus")
USER = SearchAttributeKey.for_keyword("StepgraphUser")
COST = SearchAttributeKey.for_float("StepgraphCost")


@workflow.defn(name="stepgraph")
class ThreadWorkflow:
    """One thread that was handed to workers. `job` names it, and says how its last turn ended."""

    @workflow.init
    def __init__(self, job: dict[str, Any]) -> None:
        if "thread" not in job:  # begun by a schedule, which gives each time's workflow an id of its own
            here = workflow.info()
            job = {**job, "thread": here.workflow_id.removeprefix(f"{here.task_queue}/")}
        self._job = job
        self._woken = False
        self._waiting: frozenset[str] | None = None  # None while a turn is under way

    @workflow.run
    async def run(self, job: dict[str, Any]) -> dict[str, Any]:
        if "schedule" in self._job and "outcome" not in self._job and not await self._fire():
            return {"status": "skipped"}
        outcome: dict[str, Any] = job.get("outcome") or await self._turn()
        while True:
            if outcome["status"] in ("interrupted", "spread"):
                await self._wait(outcome)
            elif not self._woken:  # else it was told to go on just now
                return self._ended(outcome)
            outcome = await self._turn()

    def _ended(self, outcome: dict[str, Any]) -> dict[str, Any]:
        if outcome["status"] == "canceled":
            raise asyncio.CancelledError
        if outcome["status"] == "failed":
            raise ApplicationError(str(outcome.get("kind")), type=outcome.get("kind"))
        return outcome

    async def _fire(self) -> bool:
        """Put the job of a schedule's time on record; False where it was missed, or the schedule is gone."""
        fires: bool = await workflow.execute_activity(
            FIRE,
            {"schedule": self._job["schedule"], "thread": self._job["thread"]},
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=AGAIN,
        )
        return fires

    async def _turn(self) -> dict[str, Any]:
        self._woken, self._waiting = False, None
        outcome: dict[str, Any] = await workflow.execute_activity(
            TURN,
            {"graph": self._job["graph"], "thread": self._job["thread"]},
            start_to_close_timeout=LONGEST_TURN,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=AGAIN,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        self._show(outcome)
        return outcome

    async def _wait(self, outcome: dict[str, Any]) -> None:
        """Return once an answer came, or a deadline."""
        self._waiting = frozenset(outcome.get("waiting", ()))
        if workflow.info().is_continue_as_new_suggested() and not self._woken:
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new({**self._job, "outcome": outcome})
        left: timedelta | None = None
        if "due_at" in outcome:
            left = datetime.fromtimestamp(outcome["due_at"], UTC) - workflow.now()
            left = max(left, timedelta(milliseconds=50))
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=left)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            await workflow.execute_local_activity(
                CANCEL, self._job["thread"], schedule_to_close_timeout=timedelta(minutes=1)
            )
            raise

    def _show(self, outcome: dict[str, Any]) -> None:
        """Show in Temporal's own pages how the thread stands, and what it has cost."""
        shown: dict[str, Any] = {name: outcome[name] for name in ("status", "kind", "usd") if name in outcome}
        if not self._job.get("searchable"):
            workflow.upsert_memo(shown)
            return
        updates: list[SearchAttributeUpdate[Any]] = [STATUS.value_set(outcome["status"])]
        if "usd" in outcome:
            updates.append(COST.value_set(float(outcome["usd"])))
        workflow.upsert_search_attributes(updates)

    @workflow.signal
    def wake(self) -> None:
        """Have the thread go on."""
        self._woken = True

    @workflow.update
    def answer(self, questions: list[str]) -> None:
        """Have the thread go on with answers, which the record has, to these questions."""
        self._woken = True

    @answer.validator
    def _check_answer(self, questions: list[str]) -> None:
        if self._waiting is not None and not self._waiting.issuperset(questions):
            raise ValueError("The thread does not wait for that.")
