"""What workers serve: told by each while it lives, so that what nobody serves can be told too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .jobs import JobRecord
from .journal import Journal

TOLD_EVERY_S: Final = 10.0
TOLD_FOR_S: Final = 30.0


def tell_served(journal: Journal, worker: str, served: Iterable[tuple[str, str]]) -> None:
    """Record that a worker serves graphs in versions, for the next seconds."""
    now = journal.dialect.now
    sql = (
        "INSERT INTO served_graphs (worker, graph, version, expires_at) "
        f"VALUES (?, ?, ?, {now} + ?) ON CONFLICT (worker, graph, version) "
        "DO UPDATE SET expires_at = excluded.expires_at"
    )
    statements = [(sql, (worker, graph, version, TOLD_FOR_S)) for graph, version in served]
    journal.write([(f"DELETE FROM served_graphs WHERE expires_at < {now}", ()), *statements])


def forget_served(journal: Journal, worker: str) -> None:
    """Record that a worker serves nothing more."""
    journal.write([("DELETE FROM served_graphs WHERE worker = ?", (worker,))])


def unserved(journal: Journal, job: JobRecord) -> str | None:
    """Return in words what no worker serves, if a job that is not over needs it; else None."""
    if job.is_over:
        return None
    sql = (
        "SELECT 1 FROM served_graphs WHERE graph = ? AND version = ? "
        f"AND expires_at >= {journal.dialect.now} LIMIT 1"
    )
    if journal.query(sql, (job.graph, job.version or "")):
        return None
    version = "" if job.version is None else f"version {job.version!r} of "
    return f"no worker serves {version}{job.graph}"
