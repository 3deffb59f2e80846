"""A run's record: read back, compared, forked, scored, and sent to Langfuse or any OTLP endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .export.live import Tracing
    from .export.prompts import managed
    from .export.scores import score
    from .export.settings import TracingSettings
    from .forks.fork import fork
    from .record.diff import Difference, diff
    from .record.history import CheckpointView, read_history
    from .record.pending import Waiting, read_waiting
    from .record.query import QueryResult, select
    from .record.reads import records
    from .record.run import Run, read_run
    from .record.spans import Span
    from .record.threads import Search, Thread, find_thread, list_threads
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            ".export.live": "Tracing",
            ".export.prompts": "managed",
            ".export.scores": "score",
            ".export.settings": "TracingSettings",
            ".forks.fork": "fork",
            ".record.diff": "Difference diff",
            ".record.history": "CheckpointView read_history",
            ".record.pending": "Waiting read_waiting",
            ".record.query": "QueryResult select",
            ".record.reads": "records",
            ".record.run": "Run read_run",
            ".record.spans": "Span",
            ".record.threads": "Search Thread find_thread list_threads",
        },
    )

__all__ = [
    "CheckpointView",
    "Difference",
    "QueryResult",
    "Run",
    "Search",
    "Span",
    "Thread",
    "Tracing",
    "TracingSettings",
    "Waiting",
    "diff",
    "find_thread",
    "fork",
    "list_threads",
    "managed",
    "read_history",
    "read_run",
    "read_waiting",
    "records",
    "score",
    "select",
]
