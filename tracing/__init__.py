"""A run's record: read back, compared, forked, scored, and sent to Langfuse or any OTLP endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..state.lazy_names import lazy_names

if TYPE_CHECKING:
    from .export.live import Tracing as Tracing
    from .export.prompts import managed as managed
    from .export.scores import score as score
    from .export.settings import TracingSettings as TracingSettings
    from .forks.fork import fork as fork
    from .record.diff import Difference as Difference, diff as diff
    from .record.history import CheckpointView as CheckpointView, read_history as read_history
    from .record.pending import Waiting as Waiting, due as due, read_waiting as read_waiting
    from .record.query import QueryResult as QueryResult, select as select
    from .record.reads import records as records
    from .record.run import Run as Run, read_run as read_run
    from .record.search import Search as Search
    from .record.spans import Span as Span
    from .record.threads import (
        Thread as Thread,
        find_thread as find_thread,
        list_threads as list_threads,
    )
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            ".export.live": "Tracing",
            ".export.prompts": "managed",
            ".export.scores": "score",
            ".export.settings": "TracingSettings",
            ".forks.fork": "fork",
            ".record.diff": "Difference diff",
            ".record.history": "CheckpointView read_history",
            ".record.pending": "Waiting due read_waiting",
            ".record.query": "QueryResult select",
            ".record.reads": "records",
            ".record.run": "Run read_run",
            ".record.search": "Search",
            ".record.spans": "Span",
            ".record.threads": "Thread find_thread list_threads",
        },
    )
