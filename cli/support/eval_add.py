"""`stepgraph eval add`: a case of a suite, made from a recorded run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click

from ...evals.files.append import append_case, write_suite
from ...evals.files.labels import judge_of, label_of, with_label
from ...evals.files.recorded_case import PARTS, Part, case_of, ended_run
from ...evals.files.suite_file import read_suite
from ...evals.suite.check import TO_FILL, check_suite
from ...evals.suite.loading import load_target
from ...evals.suite.model import Suite, digest
from ...evals.suite.targets import target_of
from ...runners.loading import Loaded, load_graph, load_recorded
from ...state.database import Database
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...tracing.record.text import clean
from ...tracing.record.threads import find_thread
from .show import open_session


def add_case(
    thread: str,
    *,
    file: Path,
    case: str | None,
    expect: Sequence[str],
    only: Sequence[str],
    graph: str | None,
    verdict: str,
    correct: Sequence[str],
    judge: str | None,
    by: str | None,
    database: Database,
    as_json: bool,
) -> None:
    """Add a recorded run to a suite's file as a case, and a person's verdict to a judge's labels."""
    suite = read_suite(file) if file.exists() else None
    wrong = verdict == "wrong"
    parts = cast(Sequence[Part], expect or (("fill",) if wrong else PARTS[:3]))
    _check_verdict(wrong, correct, parts, judge, suite)
    label = None
    with open_session(database) as session:
        reference = find_thread(session.journal, thread).graph
        loaded = _graph(suite, graph, reference)
        node = suite.node if suite is not None else None
        target = target_of(loaded.graph, node)
        entry = case_of(
            session.journal,
            thread,
            case or re.sub(r"[^\w.-]+", "-", thread).strip("-") or "case",
            state=target.state,
            node=node,
            parts=parts,
            only=only,
            correct=_corrected(session.journal, thread, correct) if correct else None,
        )
        if judge is not None and suite is not None:
            judged = judge_of(suite, judge)
            label = label_of(session.journal, thread, judged, passed=not wrong, by=by)
    known = suite is not None and any(digest(c.input) == digest(entry["input"]) for c in suite.cases)
    text = None
    if label is None or not known:  # else the person judges one more answer to a case that is there
        text, longer = append_case(file, entry, _from_here(loaded.reference))
        if not _is_to_fill(entry):
            check_suite(longer, target)
    if label is not None and judged.labels is not None:
        write_suite(judged.labels, with_label(judged.labels, label))
    if text is not None:
        write_suite(file, text)
    if as_json:
        click.echo(json.dumps(entry if label is None else {**entry, "label": label}))
        return
    if text is not None:
        click.echo(clean(f"{file}: the case {entry['id']!r} of the run {thread!r}."))
    if label is not None:
        click.echo(clean(f"{judged.labels}: {verdict}, for the judge {judge!r}."))
    if text is not None and _is_to_fill(entry):
        click.echo(f"Write what it must give in place of {TO_FILL!r}; until then the suite does not run.")


def _check_verdict(
    wrong: bool, correct: Sequence[str], parts: Sequence[Part], judge: str | None, suite: Suite | None
) -> None:
    """Raise InputError for options that contradict each other."""
    if correct and not wrong:
        raise InputError("--correct says what the run should have given: it goes with --verdict wrong.")
    if wrong and "output" in parts:
        raise InputError(
            "--verdict wrong: what the run gave cannot be what is expected. Leave out --expect output, and "
            "say with --correct FIELD=VALUE what it should have given."
        )
    if judge is not None:
        if suite is None:
            raise InputError("There is no such suite yet, so it has no judge. Begin it without --judge.")
        judge_of(suite, judge)


def _corrected(journal: Journal, thread: str, correct: Sequence[str]) -> dict[str, Any]:
    """Return the fields that a run should have given: text where it gave text, else JSON."""
    _, output = ended_run(journal, thread)
    fields: dict[str, Any] = {}
    for text in correct:
        name, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"--correct {text}: expected FIELD=VALUE.")
        if name not in output:
            raise InputError(
                f"--correct {text}: the run gave no field {name!r}. {did_you_mean(name, output)}"
            )
        try:
            fields[name] = value if isinstance(output[name], str) else json.loads(value)
        except ValueError:
            fields[name] = value
        if fields[name] == output[name]:
            raise InputError(f"--correct {name}: that is what the run gave.")
    return fields


def _is_to_fill(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("expect", {}).get("output") == TO_FILL)


def _from_here(reference: str) -> str:
    """Return a reference whose file lies below the working folder by its path from there.

    A suite is shared with others, whose folders lie elsewhere.
    """
    place, colon, attribute = reference.rpartition(":")
    path, here = Path(place).resolve(), Path.cwd().resolve()
    if not place.endswith(".py") or not path.is_relative_to(here):
        return reference
    return f"{path.relative_to(here).as_posix()}{colon}{attribute}"


def _graph(suite: Suite | None, graph: str | None, recorded: str | None) -> Loaded:
    if suite is not None:
        return load_target(suite, graph)
    if graph is not None:
        return load_graph(graph)
    if recorded is None:
        raise InputError(
            "The run was run from Python, so its record names no graph. Say which: --graph file.py:attr."
        )
    return load_recorded(recorded)
