"""Moves threads from one database to another: each family of forks wholly, or not at all.

A family is copied in one transaction of the target, compared there, and deleted at the source. Meanwhile it
is claimed, so that nobody runs it. A move that was killed is repeated: what has arrived is known again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ...state.errors import InputError, StepgraphError, did_you_mean
from ...state.journal.columns import Query, Table, number_above, tables_of
from ...state.journal.moving import APART, Copy, matching, refuse_run
from ...state.session.session import Session
from .prune import delete_thread, drop_unused_blobs


@dataclass(frozen=True)
class Moved:
    """What became of some threads that belong together: those of one family of forks.

    `rows` counts what was copied by table, `size` its bytes. `already` says that all of it had arrived
    before. `problem` says why nothing was moved.
    """

    threads: tuple[str, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    already: bool = False
    problem: StepgraphError | None = None


def move_threads(
    source: Session, target: Session, threads: Sequence[str] = (), *, keep: bool = False
) -> Iterator[Moved]:
    """Move threads, or all, with everything on their record, and yield what became of each family of forks.

    A thread takes its forks and the threads that it was forked from along: they share their side effects.
    With `keep` they stay at the source too; a thread goes on in one place only, so run the copy or the
    original, never both. A thread that is run now is not moved, nor one that the target has with other
    content. Raises InputError for a thread that the source does not have, and StoreError where the tables
    differ.
    """
    theirs, ours = _tables(source), _tables(target)
    matching(theirs, ours, str(source.database), str(target.database))
    known = _threads(source, theirs)
    for thread in threads:
        if thread not in known:
            hint = did_you_mean(thread, known) if len(known) < 20 else "`stepgraph threads` lists them."
            raise InputError(f"There is no thread {thread!r} in {source.database}. {hint}".rstrip())
    arrived = 0
    for family in _families(source, known, threads or known):
        try:
            with _claimed(source, family):
                moved = _copied(source, theirs, target, ours, family)
                if not keep:
                    source.journal.write(
                        statement for thread in family for statement in delete_thread(thread)
                    )
        except StepgraphError as problem:
            moved = Moved(family, problem=problem)
        else:
            arrived += 1
        yield moved
    if arrived and not keep:
        drop_unused_blobs(source)


def _copied(
    source: Session,
    theirs: Mapping[str, Table],
    target: Session,
    ours: Mapping[str, Table],
    family: tuple[str, ...],
) -> Moved:
    done: list[Moved] = []

    def work(query: Query) -> None:
        copy = Copy(source.journal.query, theirs, query, ours, number_above(query, _schema(target)))
        for thread in family:
            refuse_run(query, target.journal.dialect.now, thread)
        there = [thread for thread in family if copy.is_there(thread)]
        if not there:
            copied = copy.run(family)
            done.append(Moved(family, copied.rows, copied.size))
            return
        other = [name for name in family if copy.of_source(name) != copy.of_target(name)]
        if other:
            raise InputError(
                f"The thread {other[0]!r} is in {target.database} too, with other content. It went on in "
                "both places, or they are two threads. Nothing of it was moved: look at both with `stepgraph "
                "show`, and prune the one that you do not need."
            )
        done.append(Moved(family, already=True))

    target.journal.transact(lambda transaction: work(transaction.execute))
    return done[-1]


@contextmanager
def _claimed(source: Session, family: Sequence[str]) -> Iterator[None]:
    """Keep everybody else from running threads."""
    with ExitStack() as held:
        for thread in family:
            source.claims.acquire(thread)
            held.callback(source.claims.release, thread)
        yield


def _tables(session: Session) -> dict[str, Table]:
    return tables_of(session.journal.query, _schema(session))


def _schema(session: Session) -> str | None:
    """Return the schema of a Postgres database that holds the record."""
    return getattr(session.database, "schema", None)


def _threads(session: Session, tables: Mapping[str, Table]) -> dict[str, None]:
    """Return all threads of which there is a row, the oldest run first."""
    query = session.journal.query
    known = {row["thread_id"]: None for row in query("SELECT thread_id FROM runs ORDER BY started_at", ())}
    for name, table in tables.items():
        if table.has_threads and name not in APART:
            for row in query(f"SELECT DISTINCT thread_id FROM {name} ORDER BY thread_id", ()):
                known.setdefault(row["thread_id"])
    return known


def _families(
    session: Session, known: Mapping[str, None], threads: Mapping[str, None] | Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Yield the threads with those that they were forked from, and all forks of these."""
    near = defaultdict(set)
    sql = "SELECT thread_id, parent_thread FROM runs WHERE parent_thread IS NOT NULL"
    for row in session.journal.query(sql, ()):
        near[row["thread_id"]].add(row["parent_thread"])
        near[row["parent_thread"]].add(row["thread_id"])
    seen: set[str] = set()
    for thread in threads:
        family, waiting = set[str](), [thread]
        while waiting:
            name = waiting.pop()
            if name not in family:
                family.add(name)
                waiting += near[name]
        if thread not in seen:
            seen |= family
            yield tuple(name for name in known if name in family)
