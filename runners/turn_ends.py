"""The end of a turn, as the record of jobs has it: what becomes of the job, and when its next turn is due."""

from __future__ import annotations

from ..state.errors import ClaimLost, ThreadBusy
from ..state.event_loops import in_thread
from ..state.journal.job_turns import Attempts, end_turn, forgive_turn, is_due_now
from ..state.journal.jobs import JobRecord, JobStatus
from ..state.journal.journal import Journal
from .outcomes import Outcome
from .spreading import LOOK_AGAIN_S


async def put_on_record(journal: Journal, record: JobRecord, outcome: Outcome) -> Outcome:
    """Put on record how a turn ended, and return how the job stands then."""
    status: JobStatus
    after_s: float | None = None
    attempts: Attempts = "none"
    if outcome.status == "handed_over":
        status, after_s = "queued", 0.0
    elif outcome.status == "failed" and outcome.retryable:
        status, after_s, attempts = "queued", outcome.after_s, "kept"
        if outcome.kind in (ThreadBusy.__name__, ClaimLost.__name__):  # it was no attempt
            attempts = "one less"
    elif outcome.status == "spread":
        status, after_s = "queued", LOOK_AGAIN_S
    elif outcome.status == "interrupted":
        status = "waiting"
    else:
        status = outcome.status
    stands = await end_turn(
        journal,
        record,
        status,
        kind=outcome.kind,
        due_at=outcome.due_at,
        after_s=after_s,
        attempts=attempts,
        is_stopped=outcome.status != "spread",
    )
    if stands is None:
        await in_thread(forgive_turn, journal, record)
    elif stands == "queued" and status != "queued":  # it was woken meanwhile
        return Outcome("handed_over", usd=outcome.usd, calls=outcome.calls)
    elif stands == "canceled" and status != "canceled":
        outcome = Outcome("canceled", usd=outcome.usd, calls=outcome.calls)
    if outcome.status == "spread" and await in_thread(is_due_now, journal, record.thread_id):
        return Outcome("handed_over")  # its parts have ended meanwhile
    return outcome
