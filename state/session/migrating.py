"""A thread of an old version goes on under the new one: its checkpoints are made the new version's.

The last checkpoint of the thread, and of each nested graph that is under way, keeps its id, so that all that
goes by it stays valid: paid answers, questions that wait, deadlines. What it held stays as its parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn, Protocol, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Interrupt, PregelExecutableTask

from ..errors import MigrationFailed
from ..journal import standing
from ..journal.claims import Claims
from ..journal.journal import Journal
from ..journal.records import Statement, ThreadStatement
from ..names import path_of
from .checkpoints import SqliteCheckpointer
from .converting import Converter, Misplaced
from .fingerprint import fingerprint_of
from .internals import NO_TASK, SENT, interrupt_id, next_tasks, sent_ids
from .opening import checkpointer_of
from .parts import PartsSerializer
from .versions import SOURCE, Migration, migrations_from, migrations_of, source_of, version_in

Graph = CompiledStateGraph[Any, Any, Any, Any]
_ROOM = 2**16  # ids right before a checkpoint's, for what it held before
_ANSWERS = 50  # questions that one node execution can have asked


class Keeper(Protocol):
    """What of a session is needed here."""

    @property
    def journal(self) -> Journal: ...
    @property
    def claims(self) -> Claims: ...
    @property
    def checkpointer(self) -> SqliteCheckpointer: ...


@dataclass(frozen=True)
class Level:
    """The last checkpoint of one graph of a thread, as the new version has it."""

    graph: Graph
    path: str  # in the new version, with a "/" at its end
    old_ns: str
    saved: CheckpointTuple
    paths: Mapping[str, str]  # LangGraph's path of each task that has written, by its new id
    open: Sequence[PregelExecutableTask]  # what is to run next, and is not inside a graph of its own

    @property
    def ns(self) -> str:
        return str(self.saved.config["configurable"]["checkpoint_ns"])

    @property
    def id(self) -> str:
        return str(self.saved.checkpoint["id"])


@dataclass
class Plan:
    """What a migration does to a thread; nothing is written yet. `tasks` has the new names of tasks."""

    thread_id: str
    migrations: tuple[Migration, ...]
    was: str
    fingerprint: str
    levels: list[Level] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)


def migrate(session: Keeper, graph: Graph, thread_id: str, *, claimed: bool = False) -> Plan | None:
    """Make a thread of an earlier version one of the graph's, if a migration of the graph is from there.

    All of it is one transaction. Raises MigrationFailed, and ThreadBusy while somebody runs the thread.
    """
    if not migrations_of(graph) or _to_do(session, graph, thread_id) is None:
        return None
    if not claimed:
        session.claims.acquire(thread_id)
    try:
        plan = planned(session, graph, thread_id)  # anew: somebody may have been faster
        if plan is not None:
            session.journal.write(ThreadStatement(item, thread_id) for item in _statements(session, plan))
        return plan
    finally:
        if not claimed:
            session.claims.release(thread_id)


def planned(session: Keeper, graph: Graph, thread_id: str) -> Plan | None:
    """Return what would be done to a thread, None if nothing is to do. Raises MigrationFailed."""
    to_do = _to_do(session, graph, thread_id)
    if to_do is None:
        return None
    migrations, fingerprint = to_do
    try:
        plan = standing_of(session, graph, thread_id, migrations, was=version_in(fingerprint))
    except Misplaced as problem:
        raise MigrationFailed(
            f"The thread {thread_id!r} was not migrated, and stays as it was. {problem}.",
            thread=thread_id,
            function=problem.function,
            field=problem.field,
        ) from None
    _rename_questions(plan)
    return plan


def standing_of(
    session: Keeper,
    graph: Graph,
    thread_id: str,
    migrations: tuple[Migration, ...] = (),
    *,
    was: str = "",
    config: RunnableConfig | None = None,
) -> Plan:
    """Return where a thread stands under a graph, after the migrations. Raises Misplaced.

    `config` is that of the run that would go on from there.
    """
    session.journal.flush()
    plan = Plan(thread_id, migrations, was, fingerprint_of(graph))
    with closing(checkpointer_of(session.journal.store, PartsSerializer)) as reader:
        _Walk(session, graph, plan, reader, config or {}).level(graph, "", "", "", "")
    return plan


def _to_do(session: Keeper, graph: Graph, thread_id: str) -> tuple[tuple[Migration, ...], str] | None:
    begun = standing.begun_with(session.journal, thread_id)
    if begun is None or begun[1] is None:
        return None
    migrations = migrations_from(graph, begun[1])
    return (migrations, begun[1]) if migrations else None


@dataclass
class _Walk:
    """Goes through a thread's graphs that are under way, from the outermost."""

    session: Keeper
    root: Graph
    plan: Plan
    reader: SqliteCheckpointer
    config: RunnableConfig

    def level(self, graph: Graph, old_ns: str, new_ns: str, old_path: str, new_path: str) -> None:
        """Add the last checkpoint of one graph to the plan, and of those inside it."""
        thread = self.plan.thread_id
        old = self.reader.get_tuple(_at(thread, old_ns))
        if old is None:
            return
        of_state = _state_of(graph) is _state_of(self.root)
        converter = Converter(
            graph,
            old_path,
            self.plan.migrations if of_state else (),
            lambda name: self.renamed(old_path + name).rpartition("/")[2],
            bool(self.plan.migrations),
        )
        checkpoint: Any = converter.checkpoint(old.checkpoint)
        config = _at(thread, new_ns, checkpoint["id"])
        origin = {"migrated_from": self.plan.was, "source_before": source_of(old.metadata)}
        metadata = cast("Any", {**old.metadata, "source": SOURCE, **origin})
        saved = old._replace(config=config, checkpoint=checkpoint, metadata=metadata, pending_writes=[])
        tasks = self._next(graph, saved)
        since = datetime.fromisoformat(checkpoint["ts"]).timestamp()
        if not old_ns and self.plan.migrations:
            self._check_effects(since)
        places = standing.writers_at(self.session.journal, thread, old_ns, checkpoint["id"])
        known = self._known(old, old_ns, places, since)
        ids = {NO_TASK: NO_TASK}
        for task, (name, number) in known.items():
            ids[task] = self._now(old_path, task, name, number, tasks, converter)
            before, after = (
                _join(ns, f"{n}:{i}")
                for ns, n, i in ((old_ns, name, task), (new_ns, tasks[ids[task]].name, ids[task]))
            )
            if before != after:
                self.plan.tasks[before] = after
        writes: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, part in old.pending_writes or ():
            writes.setdefault(task, []).append((channel, part))
        pending = [
            (ids[task], channel, value)
            for task, parts in writes.items()
            for channel, value in converter.writes(old.checkpoint, parts)
            if task in ids
        ]
        paths = {
            ids[task]: place
            if task == NO_TASK
            else _renamed_place(place, known[task][0], tasks[ids[task]].name)
            for task, place in places.items()
            if task in ids
        }
        saved = saved._replace(pending_writes=pending)
        here = len(self.plan.levels)
        ended = {
            task for task, channel, _ in pending if not channel.startswith("__") or channel == "__no_writes__"
        }
        to_run = {now.id: now for now in tasks.values() if now.id not in ended}
        inner = dict(graph.get_subgraphs())
        for task, (name, _) in known.items():
            now, below = tasks[ids[task]], _join(old_ns, f"{name}:{task}")
            if now.id in ended or self.reader.get_tuple(_at(thread, below)) is None:
                continue
            graph_inside = inner.get(now.name)
            if not isinstance(graph_inside, CompiledStateGraph):
                if self.plan.migrations:
                    self._fail(
                        f"Node {old_path + name!r} is inside a graph that its code calls, or that is none "
                        "any more, so what that one holds cannot be migrated. The thread must finish on the "
                        "old version"
                    )
                continue
            del to_run[now.id]
            self.level(
                graph_inside,
                below,
                _join(new_ns, f"{now.name}:{now.id}"),
                f"{old_path}{name}/",
                f"{new_path}{now.name}/",
            )
        level = Level(graph, new_path, old_ns, saved, paths, tuple(to_run.values()))
        self.plan.levels.insert(here, level)

    def renamed(self, path: str) -> str:
        """Return the path of a node in the new version."""
        for migration in self.plan.migrations:
            path = _renamed(path, migration.nodes)
        return path

    def _next(self, graph: Graph, saved: CheckpointTuple) -> dict[str, PregelExecutableTask]:
        try:
            values = {**self.config.get("configurable", {}), **saved.config["configurable"]}
            whole = saved._replace(config={**self.config, "configurable": values})
            return next_tasks(graph, whole, self.session.checkpointer)
        except Exception as error:  # whatever the state's own constructor raises
            self._fail(
                f"The new state cannot be made: {type(error).__name__}: {error}. Let the migration return "
                "all fields that it needs"
            )

    def _known(
        self, old: CheckpointTuple, ns: str, places: Mapping[str, str], since: float
    ) -> dict[str, tuple[str, int | None]]:
        """Return the tasks of the old version that a checkpoint led to: names and numbers, by their ids."""
        known: dict[str, tuple[str, int | None]] = {}
        begin = f"{ns}|" if ns else ""
        for task in standing.tasks_since(self.session.journal, self.plan.thread_id, since):
            if task.startswith(begin):
                name, _, task_id = task.removeprefix(begin).split("|", 1)[0].rpartition(":")
                known[task_id] = name, None
        for task_id, place in places.items():
            kind, _, rest = place.partition(", ")
            if task_id != NO_TASK and kind.endswith("pull"):
                known[task_id] = rest, None
        sent = old.checkpoint["channel_values"].get(SENT)
        sends = [] if sent is None else sent.typed() or []
        step = (old.metadata or {}).get("step", -1) + 1
        for number, task_id in enumerate(sent_ids(old.checkpoint["id"], ns, step, sends)):
            known[task_id] = sends[number].node, number
        return known

    def _now(
        self,
        path: str,
        task: str,
        name: str,
        number: int | None,
        tasks: Mapping[str, PregelExecutableTask],
        converter: Converter,
    ) -> str:
        """Return the id that a task has in the new version."""
        now = converter.renamed(name)
        if task in tasks and tasks[task].name == now:
            return task
        places = [
            new
            for new, candidate in tasks.items()
            if candidate.name == now
            and (
                candidate.path[:2] == ("__pregel_push", number)
                if number is not None
                else candidate.path[0] == "__pregel_pull"
            )
        ]
        if len(places) != 1:
            self._fail(
                f"The thread is at node {path + name!r}, which does not run next in the new version. Say "
                f"which node takes its place: migration(…, nodes={{{path + name!r}: …}})",
            )
        return str(places[0])

    def _check_effects(self, since: float) -> None:
        begun = standing.effects_since(self.session.journal, self.plan.thread_id, since)
        if begun:
            self._fail(
                f"The effect {begun[0]['key']!r} in {begun[0]['path']!r} began, and its node has not ended: "
                "with another state it could happen a second time. The thread must finish on the old version"
            )

    def _fail(self, message: str) -> NoReturn:
        raise Misplaced(message, function=self.plan.migrations[-1].name if self.plan.migrations else "")


def _state_of(graph: Graph) -> Any:
    return getattr(graph.builder, "state", None) or graph.builder.state_schema


def _at(thread_id: str, ns: str, checkpoint_id: str | None = None) -> RunnableConfig:
    place = {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
    return {"configurable": {name: value for name, value in place.items() if value is not None}}


def _join(ns: str, name: str) -> str:
    return f"{ns}|{name}" if ns else name


def _renamed(path: str, nodes: Mapping[str, str]) -> str:
    if path in nodes:
        return nodes[path]
    outer, sign, name = path.rpartition("/")
    return f"{_renamed(outer, nodes)}/{name}" if sign else path


def _renamed_place(place: str, old: str, new: str) -> str:
    kind, sign, rest = place.partition(", ")
    return f"{kind}{sign}{new}" if rest == old else place


def _rename_questions(plan: Plan) -> None:
    """Give the questions of tasks that have another name now their new ids."""
    if not plan.tasks:
        return
    ids = {f"budget:{old}": f"budget:{new}" for old, new in plan.tasks.items()}
    for old, new in plan.tasks.items():
        ids |= {interrupt_id(old, n): interrupt_id(new, n) for n in range(_ANSWERS)}
    levels = []
    for level in plan.levels:
        writes = [
            (task, channel, _asked_as(value, ids))
            for task, channel, value in level.saved.pending_writes or ()
        ]
        levels.append(replace(level, saved=level.saved._replace(pending_writes=writes)))
    plan.levels = levels


def _asked_as(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Interrupt) for item in value):
        return type(value)(Interrupt(item.value, id=ids.get(item.id, item.id)) for item in value)
    return value


def _statements(session: Keeper, plan: Plan) -> list[Statement]:
    """Return what is written: what was stays, and what is new takes its place."""
    thread, saver = plan.thread_id, session.checkpointer
    statements: list[Statement] = []
    for level in plan.levels:
        checkpoint_id = _id_before(session, thread, level)
        statements += standing.archived(thread, level.old_ns, (level.ns, checkpoint_id), level.id)
        statements.append(standing.cleared(thread, level.ns, level.id))
        place = _at(thread, level.ns, checkpoint_id)
        statements += saver.put_statements(place, level.saved.checkpoint, level.saved.metadata)
        by_task: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in level.saved.pending_writes or ():
            by_task.setdefault(task, []).append((channel, value))
        for task, writes in by_task.items():
            own = _at(thread, level.ns, level.id)
            statements += saver.write_statements(own, writes, task, level.paths.get(task, ""))
    for old in sorted(plan.tasks, key=len, reverse=True):
        new = plan.tasks[old]
        statements += standing.renamed_task(thread, old, new, path_of(old), path_of(new))
    statements.append(standing.goes_on_as(thread, plan.fingerprint))
    return statements


def _id_before(session: Keeper, thread: str, level: Level) -> str:
    """Return the id of what a checkpoint held before: right before its own, behind those of earlier times."""
    number = UUID(level.id).int - _ROOM
    while standing.is_kept(session.journal, thread, level.ns, str(UUID(int=number))):
        number += 1
    return str(UUID(int=number))
