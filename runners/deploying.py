"""What would become of each thread that has not ended if another version of its graph went on with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..state.cost import NOTHING, Cost
from ..state.errors import MigrationFailed, StepgraphError
from ..state.journal.standing import begun_with, has_checkpoint
from ..state.schema import parse_input
from ..state.session.converting import Misplaced
from ..state.session.fingerprint import changes_for, fingerprint_of
from ..state.session.migrating import migrate, standing_of
from ..state.session.session import Session
from ..state.session.versions import version_in, version_of
from ..state.statuses import RUNNING
from ..tracing.record.pending import due_of, is_wait, read_waiting
from ..tracing.record.reads import cost_of_calls, read_input
from ..tracing.record.spans import Row
from ..tracing.record.threads import Thread
from .bindings import known_models, using_named
from .loading import Compiled
from .rehearsal import config_for, put_on_stage, rehearse, stage

Verdict = Literal["goes on", "migrates", "pays again", "must finish", "unknown"]


@dataclass(frozen=True)
class Outlook:
    """What would become of one thread.

    It `goes on` as it is; or `migrates` by the new version's functions, and goes on; or goes on and `pays
    again` for `repaid_calls` that it had paid for; or `must finish` on the old version, since the new one
    refuses it, or would lose something. What is `unknown` has no shape on record, or cannot be told.
    `because` says why, `to_do` what to do. `waits_for` says where it is now, `was` and `now` name versions.
    """

    thread: str
    graph: str | None
    waits_for: str
    verdict: Verdict
    because: tuple[str, ...] = ()
    to_do: str = ""
    was: str | None = None
    now: str | None = None
    migrations: tuple[str, ...] = ()
    repaid_calls: int = 0
    repaid: Cost = NOTHING
    unchecked_calls: int = 0

    @property
    def is_well(self) -> bool:
        """Whether the thread goes on under the new version, and pays nothing twice."""
        return self.verdict in ("goes on", "migrates")


class DeployCheck:
    """Tries threads under new versions, on copies: the record stays as it is, and no model is asked."""

    def __init__(self, session: Session, staged: Session, models: Mapping[str, str]) -> None:
        self._session = session
        self._staged = staged
        self._models = models

    def outlook(self, thread: Thread, graph: Compiled) -> Outlook:
        """Return what would become of a thread under a graph."""
        begun = begun_with(self._session.journal, thread.thread_id)
        fingerprint = None if begun is None else begun[1]
        known = Outlook(
            thread.thread_id,
            thread.graph or thread.name,
            self._waits_for(thread),
            "goes on",
            was=None if fingerprint is None else version_in(fingerprint),
            now=version_of(graph),
        )
        try:
            put_on_stage(self._session, self._staged, thread.thread_id)
            with self._bound(thread):
                return self._tried(known, graph, fingerprint is not None)
        except MigrationFailed as problem:
            to_do = f"Correct migration {problem.function!r}, or let the thread finish on the old version."
            return replace(known, verdict="must finish", because=(_shortened(problem),), to_do=to_do)
        except (Misplaced, StepgraphError) as problem:
            return replace(known, verdict="must finish", because=(str(problem),), to_do=_advice(known))

    @contextmanager
    def _bound(self, thread: Thread) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                models = self._models or known_models(thread.models, "The record")
            except StepgraphError:  # so its roles are what the settings say
                models = {}
            stack.enter_context(using_named(models))
            yield

    def _tried(self, known: Outlook, graph: Compiled, has_shape: bool) -> Outlook:
        staged, thread = self._staged, known.thread
        config = config_for(staged, graph, thread)
        plan = migrate(staged, graph, thread)
        changed = changes_for(staged.journal, thread, fingerprint_of(graph))
        if changed:
            return replace(known, verdict="must finish", because=tuple(changed), to_do=_advice(known))
        if not has_checkpoint(staged.journal, thread):
            parse_input(graph.builder.input_schema, read_input(staged.journal, thread))
            return known
        standing = standing_of(staged, graph, thread, config=config)
        if standing.tasks:
            why = tuple(
                f"node execution {old!r} would be another one, and what it paid for or was told is lost"
                for old in standing.tasks
            )
            return replace(known, verdict="must finish", because=why, to_do=_advice(known))
        tries = [rehearse(staged, thread, level, task) for level in standing.levels for task in level.open]
        lost = tuple(line for tried in tries for line in tried.lost)
        why = tuple(line for tried in tries for line in tried.why)
        if lost:
            return replace(known, verdict="must finish", because=lost, to_do=_advice(known))
        repaid: Sequence[Row] = [call for tried in tries for call in tried.repaid]
        unknown = [call for tried in tries for call in tried.unknown]
        known = replace(
            known,
            because=why,
            migrations=() if plan is None else tuple(step.name for step in plan.migrations),
            repaid_calls=len(repaid),
            repaid=cost_of_calls(repaid),
            unchecked_calls=len(unknown),
        )
        if repaid:
            to_do = "Let the thread finish on the old version, or pay for the calls again."
            return replace(known, verdict="pays again", to_do=to_do)
        if not has_shape:
            why = (*why, "the thread has no shape on record: it ran without session.config(graph=…)")
            return replace(known, verdict="unknown", because=why, to_do=_advice(known))
        return known if plan is None else replace(known, verdict="migrates")

    def _waits_for(self, thread: Thread) -> str:
        if thread.status == "queued":
            return "its turn"
        if thread.status == "partial":
            return "a budget"
        if thread.status == RUNNING:
            return "nothing: it runs"
        waiting = read_waiting(self._session, thread.thread_id)
        if waiting:
            first = waiting[0]
            return _question(first.value, first.path)
        return "somebody to go on with it" if thread.status != "failed" else "another try"


def _question(question: Any, path: str) -> str:
    kind = "a time" if is_wait(question) else "an answer"
    due = due_of(question)
    until = f", until {due.isoformat(timespec='minutes')}" if due else ""
    return f"{kind} at {path!r}{until}"


def _advice(known: Outlook) -> str:
    version = f"@migration(from_={known.was!r}), " if known.was else ""
    return (
        f"Write a migration of its state ({version}docs/deploying-versions.md), or let it finish on the old "
        "version."
    )


def _shortened(problem: MigrationFailed) -> str:
    return str(problem).partition("stays as it was. ")[2] or str(problem)


@contextmanager
def deploy_check(session: Session, models: Mapping[str, str] | None = None) -> Iterator[DeployCheck]:
    """Give what tries the threads of a session under new versions."""
    with stage(session) as staged:
        yield DeployCheck(session, staged, models or {})
