"""What the run of a job is given: its input, unless its thread has begun with that."""

from __future__ import annotations

from typing import Any

from ..state.event_loops import in_thread
from ..state.journal.begun import was_given
from ..state.journal.jobs import JobRecord
from ..state.journal.journal import Journal
from ..state.schema import StateType, parse_input, values_of
from ..state.session.redelivery import digest_of


async def unbegun_input(
    journal: Journal, record: JobRecord, schema: StateType, part_input: dict[str, Any] | None
) -> Any:
    """Return the input with which a job is to begin, None where its thread has begun with it.

    On a thread that was run before, it is the next thing that is said: what the thread knows stays. Whoever
    ran the thread since the job was submitted may have given it the same input. `part_input` is that of a
    part, which is no plain data.
    """
    if record.is_begun:
        return None
    whole = part_input or parse_input(schema, record.input)
    said = part_input or {name: value for name, value in values_of(whole).items() if name in record.input}
    if record.begun >= record.trace and not record.options.get("restart"):
        digests = [digest_of(record.thread_id, state) for state in (whole, said)]
        if await in_thread(was_given, journal.query, record.thread_id, digests, record.trace):
            return None
    return said if record.begun >= 0 else whole
