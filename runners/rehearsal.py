"""A thread's copy, in a file of its own, on which it is tried how it would go on under another version.

What a step has paid for already is asked of the record once more, and of nobody else. No function, effect,
tool or person is asked: their code may do more than say what it would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import PregelExecutableTask

from ..graphs.engine.workflow import Workflow
from ..nodes.effects import Effect
from ..nodes.reviews import TAKES, Review, as_recorded
from ..nodes.steps import Step
from ..providers.stack.journal import WouldAsk, rehearsing
from ..state.errors import UnboundRole
from ..state.event_loops import run_sync
from ..state.journal.columns import number_above, tables_of
from ..state.journal.dialect import Transaction
from ..state.journal.earlier import prompt_of
from ..state.journal.moving import Copy
from ..state.journal.standing import effects_since
from ..state.run_context import RunContext, for_reading, with_models
from ..state.session.migrating import Level
from ..state.session.session import Session
from ..tracing.record.pending import read_waiting
from ..tracing.record.reads import read_calls
from ..tracing.record.spans import Row
from .loading import Compiled


@dataclass(frozen=True)
class Rehearsed:
    """What is known of one node that is to run next.

    `repaid` are the calls that it has paid for and would ask, and pay for, again; `unknown` those of which
    nobody can tell. `why` says so in words. `lost` says what would go wrong.
    """

    repaid: tuple[Row, ...] = ()
    unknown: tuple[Row, ...] = ()
    why: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@contextmanager
def stage(source: Session) -> Iterator[Session]:
    """Open an empty session for copies of threads; it is gone at the end."""
    with (
        TemporaryDirectory(prefix="stepgraph-deploy-") as folder,
        Session(Path(folder) / "copies.sqlite", models=source.models, clock=source.now) as session,
    ):
        yield session


def put_on_stage(source: Session, staged: Session, thread_id: str) -> None:
    """Copy a thread, with all that is on its record."""
    theirs, ours = (tables_of(each.journal.query, _schema(each)) for each in (source, staged))

    def copy(transaction: Transaction) -> None:
        target = transaction.execute
        above = number_above(target, _schema(staged))
        Copy(source.journal.query, theirs, target, ours, above).run((thread_id,))

    staged.journal.transact(copy)


def _schema(session: Session) -> str | None:
    return getattr(session.database, "schema", None)


def config_for(session: Session, graph: Compiled, thread_id: str) -> RunnableConfig:
    """Return the config under which nodes are rehearsed."""
    config = for_reading(session.config(thread_id, graph=graph))
    own = RunContext.of(graph.config).models
    return with_models(config, own) if own else config


def rehearse(session: Session, thread_id: str, level: Level, task: PregelExecutableTask) -> Rehearsed:
    """Try a node that is to run next, as far as it only asks again what is answered."""
    here = RunContext.of(task.config).task
    path = level.path + task.name
    bound: Any = level.graph.nodes[task.name].bound
    builder = level.graph.builder
    part = builder.part_of(task.name) if isinstance(builder, Workflow) else bound
    if isinstance(part, Effect):
        return _of_effect(session, thread_id, part, task, path)
    if isinstance(part, Review):
        return _of_review(session, thread_id, part, task, here, path)
    calls = _answered(session, thread_id, here)
    if not calls:
        return Rehearsed()
    if not isinstance(part, Step):
        why = (
            f"node {path!r} is code of yours, which is not tried: what it asks again, word for word, is free"
        )
        return Rehearsed(unknown=calls, why=(why,))
    token = rehearsing.set(True)
    try:
        run_sync(bound.ainvoke(task.input, task.config))
    except WouldAsk as error:
        session.journal.flush()
        left = [
            call for call in _answered(session, thread_id, here) if call["replays"] == _before(calls, call)
        ]
        return Rehearsed(repaid=tuple(left), why=(_difference(error, left, path),))
    except UnboundRole as problem:
        return Rehearsed(
            unknown=calls, why=(f"{problem} So it cannot be told whether {path!r} asks the same",)
        )
    except Exception as problem:  # whatever a prompt's function raises
        return Rehearsed(lost=(f"node {path!r} raises {type(problem).__name__}: {problem}",))
    finally:
        rehearsing.reset(token)
    return Rehearsed()


def _answered(session: Session, thread_id: str, task: str) -> tuple[Row, ...]:
    calls = read_calls(session.journal, thread_id)
    return tuple(
        row
        for row in calls
        if row["status"] == "answered" and (row["task"] == task or row["task"].startswith(f"{task}|"))
    )


def _before(calls: tuple[Row, ...], call: Row) -> int:
    return next((int(row["replays"]) for row in calls if row["id"] == call["id"]), 0)


def _difference(error: WouldAsk, left: list[Row], path: str) -> str:
    models = {row["model_asked"] for row in left}
    if left and error.model not in models:
        return f"node {path!r} asks {error.model}, and had its answer of {', '.join(sorted(models))}"
    if any(prompt_of(row["messages"], row["params"]) == error.prompt for row in left):
        return f"node {path!r} asks the same of a model with other settings"
    return f"the prompt of node {path!r} is another one than was answered"


def _of_effect(
    session: Session, thread_id: str, part: Effect[Any], task: PregelExecutableTask, path: str
) -> Rehearsed:
    begun = [row["key"] for row in effects_since(session.journal, thread_id, 0.0) if row["path"] == path]
    if not begun:
        return Rehearsed()
    try:
        key = part.key_of(task.input, task.config)
    except Exception as problem:  # whatever the key's function raises
        return Rehearsed(lost=(f"the key of effect {path!r} raises {type(problem).__name__}: {problem}",))
    if key in begun:
        return Rehearsed()
    return Rehearsed(
        lost=(f"effect {path!r} began under the key {begun[0]!r} and would happen again under {key!r}",)
    )


def _of_review(
    session: Session, thread_id: str, part: Review[Any], task: PregelExecutableTask, here: str, path: str
) -> Rehearsed:
    waiting = [item.value for item in read_waiting(session, thread_id) if item.task == here]
    if not waiting or not isinstance(waiting[0], dict):
        return Rehearsed()
    try:
        asks = as_recorded(part.question(task.input))
    except Exception as problem:  # whatever the question's function raises
        return Rehearsed(lost=(f"review {path!r} raises {type(problem).__name__}: {problem}",))
    was = as_recorded(waiting[0])
    if any(asks.get(name) != was.get(name) for name in TAKES):
        return Rehearsed(why=(f"review {path!r} takes another answer: a person who answers is asked anew",))
    if asks["question"] != was.get("question"):
        return Rehearsed(why=(f"review {path!r} has another question: the one that was asked stands",))
    return Rehearsed()
