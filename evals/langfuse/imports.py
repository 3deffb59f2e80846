"""Runs from Langfuse, put on record here: from a file that its page exported, or from a dataset."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...state.blobs import referring
from ...state.errors import InputError
from ...state.journal.journal import Journal
from ...state.names import LANGFUSE
from ...state.session.session import Session
from ...tracing.export.langfuse_client import LangfuseClient
from ...tracing.record.cohorts import imported_rows, threads_by_trace
from ...tracing.record.threads import is_known
from ..files.located import json_lines, read_text

PAGE = 100
LONGEST = 2**31 - 1  # characters of a field in CSV; Python's own limit is less than a long prompt
_TRACE_IDS = ("traceId", "trace_id", "sourceTraceId", "source_trace_id")
_SESSIONS = ("sessionId", "session_id")
_OUTPUTS = ("output", "expectedOutput", "expected_output")


@dataclass(frozen=True)
class ImportedRun:
    """One row: what a run was given and what it gave, and by what it may be known here."""

    id: str
    input: Any
    output: Any
    trace: str | None = None
    session: str | None = None
    started_at: float | None = None


def import_export(session: Session, path: Path) -> list[str]:
    """Put the traces of an exported file on record, and return their threads in its order.

    The file is JSON, JSON lines or CSV, as Langfuse's page exports traces, observations or the items of a
    dataset. A trace whose thread is on record here already is that thread, with all that it was answered;
    any other one has its input and output alone. Raises InputError for what holds no runs.
    """
    return _imported(session, list(read_export(path)), f"The export {path}")


def import_dataset(session: Session, client: LangfuseClient, name: str) -> list[str]:
    """Put the items of a dataset on record, and return their threads. Raises InputError if there are none."""
    import httpx
    from langfuse.api.core import ApiError

    runs: list[ImportedRun] = []
    page, pages = 1, 1
    while page <= pages:
        try:
            answer = client.api.dataset_items.list(dataset_name=name, page=page, limit=PAGE)
        except ApiError as error:
            raise InputError(
                f"{client.base_url} gave no dataset {name!r}: it answered {error.status_code}."
            ) from None
        except httpx.HTTPError as error:
            raise InputError(f"{client.base_url} cannot be reached: {type(error).__name__}.") from None
        runs += [
            ImportedRun(item.id, item.input, item.expected_output, item.source_trace_id)
            for item in answer.data
            if str(getattr(item.status, "value", item.status)).upper() != "ARCHIVED"
        ]
        page, pages = page + 1, answer.meta.total_pages
    return _imported(session, runs, f"The dataset {name!r}")


def read_export(path: Path) -> Iterator[ImportedRun]:
    """Yield the runs of an exported file. Raises InputError."""
    runs: dict[str, ImportedRun] = {}
    for place, row in _rows(path):
        if not isinstance(row, Mapping):
            raise InputError(f"{place}: expected a trace, an object with id, input and output.")
        parent = row.get("parentObservationId") or row.get("parent_observation_id")
        if parent or ("input" not in row):
            continue  # a step inside of a run
        trace = next((str(row[name]) for name in _TRACE_IDS if row.get(name)), None)
        known = trace or str(row.get("id") or place)
        output = next((row[name] for name in _OUTPUTS if row.get(name) is not None), None)
        run = ImportedRun(
            known,
            _value(row["input"]),
            _value(output),
            trace or known,
            next((str(row[name]) for name in _SESSIONS if row.get(name)), None),
            _moment(row.get("timestamp") or row.get("startTime") or row.get("start_time")),
        )
        runs.setdefault(known, run)
    yield from runs.values()


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    text = read_text(path, "The export", piped=True)
    if path.suffix == ".csv":
        csv.field_size_limit(LONGEST)
        try:
            yield from (
                (f"{path}, row {n}", row) for n, row in enumerate(csv.DictReader(text.splitlines(True)), 1)
            )
        except csv.Error as error:
            raise InputError(f"The export {path} is no CSV: {error}.") from None
        return
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise InputError(f"The export {path} is no JSON: {error}.") from None
        rows = None
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]  # an answer of Langfuse's API, or of its command line
    if isinstance(rows, list):
        yield from ((f"{path}, row {n}", row) for n, row in enumerate(rows, 1))
        return
    yield from ((f"{path}, line {n}", row) for n, row in json_lines(text, str(path)))


def _value(value: Any) -> Any:
    """Return what a text says that is JSON, as some exports have it; any other value as it is."""
    if isinstance(value, str) and value[:1] in '{["':
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _imported(session: Session, runs: Sequence[ImportedRun], whose: str) -> list[str]:
    if not runs:
        raise InputError(f"{whose} holds no runs: no row has an input.")
    journal = session.journal
    by_trace = threads_by_trace(journal)
    threads: list[str] = []
    for run in runs:
        known = by_trace.get(run.trace or "")
        if known is None and run.session is not None and is_known(journal, run.session):
            known = run.session
        thread = known or f"{LANGFUSE}{run.id}"[:500]
        if known is None and not is_known(journal, thread):
            if not isinstance(run.input, Mapping):
                raise InputError(
                    f"{whose}: the input of {run.id!r} is {type(run.input).__name__}; expected the fields of "
                    "the graph's state, as an object."
                )
            at = time.time() if run.started_at is None else run.started_at
            output = None if run.output is None else _kept(journal, run.output)
            journal.write(list(imported_rows(thread, _kept(journal, run.input), output, at)))
        threads.append(thread)
    return list(dict.fromkeys(threads))


def _kept(journal: Journal, value: Any) -> str:
    """Return a value as the record keeps it. What only looks like a reference to an image here stays text."""
    return referring(journal.mask.json(json.dumps(value)))
