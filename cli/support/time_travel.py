"""`stepgraph history` and `stepgraph fork`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ...runners.bindings import check_roles, known_models, parse_models
from ...runners.loading import Loaded, load_graph, load_recorded
from ...state.budget import Budgets
from ...state.database import Database
from ...state.errors import InputError
from ...state.run_context import RunContext
from ...state.session.session import Session, new_thread_id
from ...tracing.forks.copies import ForkPoint
from ...tracing.forks.fork import find_call, fork
from ...tracing.record.history import CheckpointView, read_history
from ...tracing.record.lineage import SHORT_ID
from ...tracing.record.text import cost_json, cost_line, one_line, plain, show_value
from ...tracing.record.threads import Thread, find_thread
from ..exit_codes import ExitCode
from .ask_again import ask_again
from .diff import show_difference
from .inputs import from_pairs
from .limits import parse_budget
from .run import resume_threads
from .show import open_session


def show_history(thread_id: str, *, database: Database, as_json: bool) -> None:
    """Print the checkpoints of a thread."""
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        views = read_history(session, thread_id)
    if as_json:
        for view in views:
            click.echo(json.dumps(_view_json(view), ensure_ascii=False))
        return
    click.secho(f"{one_line(thread.thread_id)}  {thread.status}", bold=True)
    for view in views:
        for line in _view_lines(view, ""):
            click.echo(line)


def _view_lines(view: CheckpointView, indent: str) -> Iterator[str]:
    when = time.strftime("%H:%M:%S", time.localtime(view.at))
    wrote = ", ".join(one_line(name, 40) for name in view.wrote) or view.source
    yield f"{indent}{view.superstep:>3}  {view.checkpoint_id[:SHORT_ID]}  {when}  {wrote}"
    inner = f"{indent}     "
    for name, value in view.changed.items():
        yield f"{inner}{one_line(name, 40)} = {one_line(show_value(value), 100)}"
    if not view.next:
        return
    line = f"{inner}-> {', '.join(one_line(name, 40) for name in view.next)}"
    cost = view.cost
    yield f"{line}  {cost.calls} calls, {cost_line(cost)}" if cost.calls else line
    for views in view.nested.values():
        for nested in views:
            yield from _view_lines(nested, f"{inner}  ")


def _view_json(view: CheckpointView) -> dict[str, Any]:
    nested = {ns: [_view_json(m) for m in views] for ns, views in view.nested.items()}
    row = {name: value for name, value in vars(view).items() if name not in ("calls", "nested")}
    calls = [call["id"] for call in view.calls]
    return {**plain(row), "calls": calls, "cost": cost_json(view.cost), "nested": nested}


def fork_thread(
    thread_id: str,
    *,
    at: str | None,
    call: str | None,
    sets: Sequence[str],
    prompt: str | None,
    answer: str | None,
    models: Sequence[str],
    as_node: str | None,
    new_thread: str | None,
    graph: str | None = None,
    limits: Sequence[str],
    run: bool,
    database: Database,
    as_json: bool,
) -> ExitCode:
    """Fork a thread, run the fork, print what differs, and return the exit code of the run."""
    if (prompt is not None or answer is not None) and call is None:
        raise InputError("--prompt and --answer are for one call: name it with --call.")
    if answer is not None and (prompt is not None or models):
        raise InputError("With --answer nobody is asked, so --prompt and --model make no sense beside it.")
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        loaded = _load(thread, graph) if run or sets or graph else None
        new = new_thread or new_thread_id(thread_id)
        stand: ForkPoint | str | None = answer
        bound = parse_models(models)
        if call is not None and (prompt is not None or models):
            run_of = None if loaded is None else RunContext.of(loaded.graph.config)
            stand = _asked_again(session, thread, call, new, prompt, bound, parse_budget(limits), run_of)
            bound = {}
        if loaded:
            check_roles(bound, loaded.graph)
        fork(
            session,
            thread_id,
            at,
            call=call,
            answer=stand,
            changes=_changes(sets, loaded) if loaded else None,
            graph=loaded.graph if loaded else None,
            as_node=as_node,
            models=bound,
            new_thread=new,
        )
    if as_json:
        click.echo(json.dumps({"thread": new, "parent": thread_id}, ensure_ascii=False))
    else:
        click.echo(f"{one_line(new)}  forked from {one_line(thread_id)}")
    if not run:
        return ExitCode.DONE
    code = resume_threads(
        [new],
        graph=graph,
        limits=limits,
        models=[f"{role}={spec}" for role, spec in bound.items()],
        database=database,
        as_json=as_json,
    )
    show_difference(thread_id, new, database=database, as_json=as_json)
    return code


def _load(thread: Thread, graph: str | None) -> Loaded:
    if graph is not None:
        return load_graph(graph)
    if thread.graph is None:
        raise InputError(
            f"The thread {thread.thread_id!r} was run from Python, so its record names no graph. Name it: "
            "--graph file.py:attr. Or fork it with --no-run and without --set."
        )
    return load_recorded(thread.graph)


def _changes(sets: Sequence[str], loaded: Loaded) -> dict[str, Any]:
    for text in sets:
        if "=" not in text:
            raise InputError(f"--set {text}: expected field=value.")
    return from_pairs(sets, loaded.state)


def _asked_again(
    session: Session,
    thread: Thread,
    call: str,
    new: str,
    prompt: str | None,
    models: dict[str, str],
    budget: Budgets | None,
    run: RunContext | None,
) -> ForkPoint:
    if len(models) > 1:
        raise InputError("One call is asked by one model: give --model once.")
    recorded = find_call(session, thread.thread_id, call)
    model = next(iter(models.values()), None)
    whose = f"The record of the thread {thread.thread_id!r}"
    bound = known_models(thread.models, whose) if model is None else {}
    return asyncio.run(
        ask_again(session, recorded, new, prompt=prompt, model=model, models=bound, budget=budget, run=run)
    )
