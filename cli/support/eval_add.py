"""`stepgraph eval add`: a case of a suite, made from a recorded run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from ...evals.files.append import append_case, write_suite
from ...evals.files.recorded_case import PARTS, Part, case_of
from ...evals.files.suite_file import read_suite
from ...evals.suite.check import TO_FILL, check_suite
from ...evals.suite.loading import load_target
from ...evals.suite.model import Suite
from ...evals.suite.targets import target_of
from ...runners.loading import Loaded, load_graph, load_recorded
from ...state.database import Database
from ...state.errors import InputError
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
    database: Database,
    as_json: bool,
) -> None:
    """Add a recorded run to a suite's file as a case."""
    suite = read_suite(file) if file.exists() else None
    parts = cast(Sequence[Part], expect or PARTS[:3])
    with open_session(database) as session:
        reference = find_thread(session.journal, thread).graph
        loaded = _graph(suite, graph, reference)
        node = suite.node if suite is not None else None
        target = target_of(loaded.graph, node)
        made = case_of(
            session.journal,
            thread,
            case or re.sub(r"[^\w.-]+", "-", thread).strip("-") or "case",
            state=target.state,
            node=node,
            parts=parts,
            only=only,
        )
    text, longer = append_case(file, made, loaded.reference)
    if "fill" not in parts:
        check_suite(longer, target)
    write_suite(file, text)
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(clean(f"{file}: the case {made['id']!r} of the run {thread!r}."))
    if "fill" in parts:
        click.echo(f"Write what it must give in place of {TO_FILL!r}; until then the suite does not run.")


def _graph(suite: Suite | None, graph: str | None, recorded: str | None) -> Loaded:
    if suite is not None:
        return load_target(suite, graph)
    if graph is not None:
        return load_graph(graph)
    if recorded is None:
        raise InputError("The run's record names no graph. Give --graph.")
    return load_recorded(recorded)
