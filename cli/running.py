"""`stepgraph run` and `stepgraph resume`."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from langgraph.types import Command

from ..providers.roles import using
from ..providers.settings import parse_spec
from ..runners.local import RunResult, arun
from ..state.budget import Budget
from ..state.errors import InputError, StepgraphError
from ..state.pauses import budget_end
from ..state.schema import parse_input
from ..state.session import Session, new_thread_id
from ..tracing.threads import Thread, find_thread, list_threads
from ..tracing.tree import read_calls, totals
from .app import exit_code
from .inputs import RunInput, read_inputs
from .limits import parse_age, parse_budget
from .loading import Loaded, load_graph, load_recorded
from .progress import Progress
from .text import clean, duration, money, one_line, plain, show_value, tokens

WAITING = 5
PARTIAL = 6
EVERY = "*"


@dataclass
class Job:
    """One thread to run or to go on with."""

    thread: str
    loaded: Loaded
    title: str
    models: dict[str, str]
    state: Any = None
    refused: StepgraphError | None = None
    given: dict[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    cache_s: float | None = None
    insist: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `output` is the final state as JSON."""

    thread: str
    status: str
    code: int
    seconds: float
    output: Any = None
    error: str | None = None


def run_graph(
    reference: str,
    *,
    inputs: Sequence[str],
    limit: int | None,
    thread: str | None,
    jobs: int,
    limits: Sequence[str],
    cache_s: str | None,
    models: Sequence[str],
    database: Path,
    as_json: bool,
) -> int:
    """Run a graph on its inputs and return the exit code: the first one that is not 0."""
    loaded = load_graph(reference)
    found = read_inputs(inputs, loaded.state)[:limit]
    if len(found) == 1 and found[0].error:
        raise found[0].error
    if thread and len(found) > 1:
        raise InputError("--thread names one thread, but there are several inputs.")
    bound = parse_models(models)
    base = thread or new_thread_id(loaded.name)
    work = [_job(base, number, len(found), item, loaded, bound) for number, item in enumerate(found, 1)]
    _limit(work, limits, cache_s)
    with Session(database) as session:
        for job in work:
            if job.refused is None:
                _refuse_known(session, job.thread)
                session.journal.describe_run(job.thread, loaded.reference, bound, job.given)
        return _run_all(session, work, jobs, as_json)


def _job(base: str, number: int, count: int, item: RunInput, loaded: Loaded, models: dict[str, str]) -> Job:
    return Job(
        thread=base if count == 1 else f"{base}-{number:02d}",
        loaded=loaded,
        title=one_line(json.dumps(item.data, ensure_ascii=False), 90),
        models=models,
        state=item.state,
        refused=item.error,
        given=item.data if isinstance(item.data, dict) else {},
    )


def _refuse_known(session: Session, thread: str) -> None:
    if session.journal.query("SELECT 1 FROM runs WHERE thread_id = ?", (thread,)):
        raise InputError(
            f"The thread {thread!r} exists already. Go on with it: stepgraph resume {thread}; or name "
            "another one."
        )


def resume_threads(
    threads: Sequence[str],
    *,
    everything: bool,
    answer: str | None,
    force: bool = False,
    graph: str | None,
    limits: Sequence[str],
    cache_s: str | None,
    models: Sequence[str],
    database: Path,
    as_json: bool,
) -> int:
    """Go on with threads from their last checkpoints and return the exit code."""
    if bool(threads) == everything:
        raise InputError("Name the threads to resume, or give --all. `stepgraph threads` lists them.")
    if not database.exists():
        raise InputError(f"There is no file {database}, so there is nothing to resume.")
    with Session(database) as session:
        if everything:
            found = [t for t in list_threads(session.journal, 10_000) if t.status != "done"]
            found.sort(key=lambda t: (t.started_at, t.thread_id))
        else:
            found = [find_thread(session.journal, thread) for thread in threads]
        if not found:
            if not as_json:
                click.echo("Every thread has ended.")
            return 0
        loaded: dict[str, Loaded] = {}
        bound = parse_models(models)
        work = []
        for thread in found:
            reference = graph or _reference_of(thread)
            load = load_graph if graph else load_recorded
            loaded[reference] = loaded.get(reference) or load(reference)
            job = Job(thread.thread_id, loaded[reference], "resumed", bound or thread.models)
            job.given, job.insist = _recorded_input(session, thread.thread_id), force
            work.append(job)
        _limit(work, limits, cache_s)
        return _run_all(session, work, 1, as_json, answer=answer)


def _reference_of(thread: Thread) -> str:
    if thread.graph is None:
        raise InputError(
            f"The thread {thread.thread_id!r} was run from Python, so only Python knows its graph: call "
            f"graph.invoke(None, session.config({thread.thread_id!r})) there."
        )
    return thread.graph


def parse_models(models: Sequence[str]) -> dict[str, str]:
    """Return role and spec of each --model; without a role it is for every role."""
    bound: dict[str, str] = {}
    for text in models:
        role, sign, spec = text.partition("=")
        if not sign:
            role, spec = EVERY, text
        parse_spec(spec, f"--model {text}")
        bound[role] = spec
    return bound


def _run_all(
    session: Session, work: list[Job], at_once: int, as_json: bool, answer: str | None = None
) -> int:
    progress = Progress(live=at_once == 1)
    if not as_json:
        session.journal.listeners.append(progress)

    async def one(job: Job, gate: asyncio.Semaphore) -> Outcome:
        async with gate:
            if not as_json and at_once == 1:
                click.echo(f"{one_line(job.thread)}  {job.title}")
            outcome = await _run_job(session, job, answer)
            if as_json:
                click.echo(json.dumps(_as_json(session, outcome)))
            else:
                if at_once > 1:
                    click.echo(f"{one_line(job.thread)}  {job.title}")
                progress.ended(job.thread)
                _print_outcome(job, outcome)
            return outcome

    async def all_of_them() -> list[Outcome]:
        gate = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(job, gate) for job in work))

    started = time.perf_counter()
    outcomes = asyncio.run(all_of_them())
    if not as_json:
        _print_summary(session, outcomes, time.perf_counter() - started)
    return next((outcome.code for outcome in outcomes if outcome.code), 0)


async def _run_job(session: Session, job: Job, answer: str | None) -> Outcome:
    started = time.perf_counter()

    def ended(status: str, code: int, **rest: Any) -> Outcome:
        return Outcome(job.thread, status, code, time.perf_counter() - started, **rest)

    if job.refused is not None:
        return ended("refused", exit_code(job.refused), error=str(job.refused))
    models = dict(job.models)
    every = models.pop(EVERY, None)
    try:
        with using(every, **models):
            result = await _go_on(session, job, answer)
    except StepgraphError as error:
        return ended("failed", exit_code(error), error=str(error))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        return ended("failed", 1, error=f"{type(error).__name__} ({place}): {error}")
    output = plain(result.values)
    if result.status == "partial":
        missing = f" Missing: {', '.join(result.missing)}." if result.missing else ""
        return ended("partial", PARTIAL, output=output, error=f"{result.limit}{missing}")
    if result.status == "interrupted":
        asked = "; ".join(show_value(item.value) for item in result.waiting)
        return ended("interrupted", WAITING, output=output, error=f"waits for an answer to: {asked}")
    return ended("done", 0, output=output)


async def _go_on(session: Session, job: Job, answer: str | None) -> RunResult:
    graph = job.loaded.graph
    given: Any = job.state
    if given is None:
        snapshot = await graph.aget_state(session.config(job.thread))
        waiting = snapshot.interrupts if budget_end(snapshot.interrupts) is None else ()
        spent = session.spent(job.thread)
        if snapshot.created_at is None:
            given = parse_input(job.loaded.state, job.given)
        elif waiting and answer is None:
            return RunResult(job.thread, "interrupted", snapshot.values, spent, waiting=tuple(waiting))
        elif waiting:
            given = Command(resume=_parsed(answer or ""))
        elif not snapshot.next:
            session.journal.end_run(job.thread, "done")
            return RunResult(job.thread, "done", snapshot.values, spent)
    return await arun(
        graph, given, session, job.thread, budget=job.budget, cache_s=job.cache_s, insist=job.insist
    )


def _limit(work: list[Job], limits: Sequence[str], cache_s: str | None) -> None:
    budget = parse_budget(limits)
    lifetime = None if cache_s is None else parse_age(cache_s)
    for job in work:
        job.budget, job.cache_s = budget, lifetime


def _recorded_input(session: Session, thread: str) -> dict[str, Any]:
    rows = session.journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread,))
    given: dict[str, Any] = json.loads(rows[0]["input"] or "{}")
    return given


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _as_json(session: Session, outcome: Outcome) -> dict[str, Any]:
    sums = totals(read_calls(session.journal, outcome.thread))
    return {
        "thread": outcome.thread,
        "status": outcome.status,
        "output": outcome.output,
        "error": outcome.error,
        "calls": sums.calls,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": None if sums.unknown_costs else sums.cost_usd,
        "seconds": round(outcome.seconds, 3),
    }


def _print_outcome(job: Job, outcome: Outcome) -> None:
    for name, value in (outcome.output or {}).items():
        if job.given.get(name) != value and value not in (None, "", [], {}):
            shown = show_value(value).replace("\n", "\n        ")
            click.echo(f"    {name}: {shown}")
    colour = {"done": "green", "interrupted": "yellow", "partial": "yellow"}.get(outcome.status, "red")
    click.secho(f"  {outcome.status}", fg=colour, nl=False)
    click.echo(f" in {duration(outcome.seconds)}" + (f": {clean(outcome.error)}" if outcome.error else ""))
    click.echo()


def _print_summary(session: Session, outcomes: list[Outcome], seconds: float) -> None:
    calls = [call for outcome in outcomes for call in read_calls(session.journal, outcome.thread)]
    sums = totals(calls)
    states = ", ".join(
        f"{sum(o.status == status for o in outcomes)} {status}"
        for status in dict.fromkeys(o.status for o in outcomes)
    )
    used = tokens(sums.input_tokens, sums.output_tokens)
    click.echo(
        f"{states}; {sums.calls} model calls, {used}, {money(sums.cost_usd, sums.unknown_costs)}, "
        f"{duration(seconds)}."
    )
    ran = [outcome for outcome in outcomes if outcome.status != "refused"]
    if ran:
        option = "" if session.path == Path("stepgraph.sqlite") else f" --db {shlex.quote(str(session.path))}"
        click.echo(f"See every step of a run:  stepgraph show {_typed(ran[0].thread)}{option}")
        for outcome in ran:
            if outcome.status != "done":
                rest = {WAITING: " --answer …", PARTIAL: " --budget …"}.get(outcome.code, "")
                click.echo(
                    f"Go on with it:            stepgraph resume {_typed(outcome.thread)}{rest}{option}"
                )
                break


def _typed(thread: str) -> str:
    """Return a thread's name as one types it in a shell."""
    return shlex.quote(one_line(thread, 1000))
