"""`stepgraph history`, `stepgraph fork` and `stepgraph diff`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...runners.bindings import check_roles, parse_models
from ...runners.loading import Loaded, load_graph
from ...state.budget import Budget
from ...state.errors import InputError
from ...state.session.session import Session, new_thread_id
from ...tracing.forks.copies import ForkPoint
from ...tracing.forks.fork import find_call, fork
from ...tracing.record.diff import CallDifference, Difference, Visited, diff
from ...tracing.record.history import CheckpointView, read_history
from ...tracing.record.lineage import SHORT_ID
from ...tracing.record.threads import Thread, find_thread
from ...tracing.record.tree import Row, Totals
from ..exit_codes import ExitCode
from .ask_again import ask_again
from .inputs import from_pairs
from .limits import parse_budget
from .run import resume_threads
from .show import open_session
from .text import clean, money, one_line, plain, show_value, tokens


def show_history(thread_id: str, *, database: Path, as_json: bool) -> None:
    """Print the checkpoints of a thread."""
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        moments = read_history(session, thread_id)
    if as_json:
        for moment in moments:
            click.echo(json.dumps(_moment_json(moment), ensure_ascii=False))
        return
    click.secho(f"{one_line(thread.thread_id)}  {thread.status}", bold=True)
    for moment in moments:
        for line in _moment_lines(moment, ""):
            click.echo(line)


def _moment_lines(moment: CheckpointView, indent: str) -> Iterator[str]:
    when = time.strftime("%H:%M:%S", time.localtime(moment.at))
    wrote = ", ".join(one_line(name, 40) for name in moment.wrote) or moment.source
    yield f"{indent}{moment.superstep:>3}  {moment.checkpoint_id[:SHORT_ID]}  {when}  {wrote}"
    inner = f"{indent}     "
    for name, value in moment.changed.items():
        yield f"{inner}{one_line(name, 40)} = {one_line(show_value(value), 100)}"
    if not moment.next:
        return
    line = f"{inner}-> {', '.join(one_line(name, 40) for name in moment.next)}"
    spent = moment.spent
    yield f"{line}  {_spent(spent)}" if spent.calls else line
    for moments in moment.nested.values():
        for nested in moments:
            yield from _moment_lines(nested, f"{inner}  ")


def _moment_json(moment: CheckpointView) -> dict[str, Any]:
    nested = {ns: [_moment_json(m) for m in moments] for ns, moments in moment.nested.items()}
    row = {name: value for name, value in vars(moment).items() if name not in ("calls", "nested")}
    calls = [call["id"] for call in moment.calls]
    return {**plain(row), "calls": calls, "spent": asdict(moment.spent), "nested": nested}


def _spent(spent: Totals) -> str:
    cost = money(spent.known_cost_usd, spent.unknown_costs)
    return f"{spent.calls} calls, {tokens(spent.input_tokens, spent.output_tokens)}, {cost}"


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
    limits: Sequence[str],
    run: bool,
    database: Path,
    as_json: bool,
) -> ExitCode:
    """Fork a thread, run the fork, print what differs, and return the exit code of the run."""
    if (prompt is not None or answer is not None) and call is None:
        raise InputError("--prompt and --answer are for one call: name it with --call.")
    if answer is not None and (prompt is not None or models):
        raise InputError("With --answer nobody is asked, so --prompt and --model make no sense beside it.")
    with open_session(database) as session:
        thread = find_thread(session.journal, thread_id)
        loaded = _load(thread) if run or sets else None
        new = new_thread or new_thread_id(thread_id)
        stand: ForkPoint | str | None = answer
        bound = parse_models(models)
        if call is not None and (prompt is not None or models):
            stand = _asked_again(session, thread, call, new, prompt, bound, parse_budget(limits))
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
        limits=limits,
        models=(),
        database=database,
        as_json=as_json,
    )
    show_difference(thread_id, new, database=database, as_json=as_json)
    return code


def _load(thread: Thread) -> Loaded:
    if thread.graph is None:
        raise InputError(
            f"The thread {thread.thread_id!r} was run from Python, so only Python knows its graph: fork it "
            "there, or here with --no-run and without --set."
        )
    return load_graph(thread.graph)


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
    budget: Budget | None,
) -> ForkPoint:
    if len(models) > 1:
        raise InputError("One call is asked by one model: give --model once.")
    recorded = find_call(session, thread.thread_id, call)
    model = next(iter(models.values()), None)
    return asyncio.run(
        ask_again(session, recorded, new, prompt=prompt, model=model, models=thread.models, budget=budget)
    )


def show_difference(a: str, b: str, *, database: Path, as_json: bool) -> None:
    """Print where two threads differ."""
    with open_session(database) as session:
        found = diff(session, a, b)
    if as_json:
        click.echo(json.dumps(plain({**asdict(found), "same": found.same}), ensure_ascii=False))
        return
    for line in _difference_lines(found):
        click.echo(line)


def _difference_lines(found: Difference) -> Iterator[str]:
    width = max(len(found.a), len(found.b))
    a, b = (one_line(name).ljust(width) for name in (found.a, found.b))
    if found.same:
        yield f"{a.strip()} and {b.strip()} went the same way, to the same answers and state."
    if found.parting is not None:
        yield f"path      they part after {found.parting} nodes"
        for name, way in ((a, found.way_a), (b, found.way_b)):
            yield f"  {name}  {_way(way[found.parting :])}"
    for difference in found.calls:
        yield f"call      {one_line(difference.path)}: {', '.join(difference.what)}"
        for name, call in ((a, difference.a), (b, difference.b)):
            if call is not None:
                yield f"  {name}  {_call(call, difference)}"
    for field, values in found.state.items():
        yield f"state     {one_line(field)}"
        for name, value in zip((a, b), values, strict=True):
            yield f"  {name}  {one_line(show_value(value), 160)}"
    yield "spent"
    for name, spent in ((a, found.spent_a), (b, found.spent_b)):
        yield f"  {name}  {_spent(spent)}"


def _way(way: Sequence[Visited], most: int = 6) -> str:
    shown = [one_line(v.path) + (f" ({one_line(v.choice)})" if v.choice else "") for v in way[:most]]
    return (" -> ".join(shown) + (" -> …" if len(way) > most else "")) or "(ends there)"


def _call(call: Row, difference: CallDifference) -> str:
    parts = []
    if "model" in difference.what:
        parts.append(one_line(call["model_asked"]))
    if "prompt" in difference.what:
        parts.append(one_line(f"asked {json.loads(call['messages'])[-1]['content']}", 100))
    parts.append(one_line(call["answer"] or "", 160))
    return clean(" | ".join(parts))
