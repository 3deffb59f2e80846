"""A run whose process died is unfinished, and one that goes on is running, wherever the record is read."""

from __future__ import annotations

import json
import os
import signal

import pytest

from stepgraph import Session
from stepgraph.cli.support.threads import show_threads
from stepgraph.state.journal.owners import this_machine
from stepgraph.tracing.record.cohorts import find_runs, runs_named
from stepgraph.tracing.record.listing import page_of_threads, totals_of, unended_threads
from stepgraph.tracing.record.prune import PruneFilter, choose
from stepgraph.tracing.record.run import read_run
from stepgraph.tracing.record.search import EVERYTHING, Search
from stepgraph.tracing.record.threads import (
    count_statuses,
    count_threads,
    find_thread,
    list_threads,
    list_version,
)

from ...committed import until_the_dead_are_known

RUNNING = {"here", "elsewhere", "queued then begun"}
DEAD = {"killed", "killed, many in one", "given back", "never claimed", "lease over", "machine was restarted"}
OTHERS = {"done": "done", "failed": "failed", "waits": "interrupted", "cut": "partial", "queued": "queued"}
STANDS = {**dict.fromkeys(RUNNING, "running"), **dict.fromkeys(DEAD, "unfinished"), **OTHERS}


def killed(database: object, *threads: str) -> None:
    """Begin threads in a process that is killed then."""
    child = os.fork()
    if not child:
        session = Session(database)  # type: ignore[arg-type]
        for thread in threads:
            session.claims.acquire(thread)
            session.journal.start_run(thread)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def claimed(session: Session, thread: str, lasts_s: float, **owner: object) -> None:
    """Put a claim of another machine's process on record."""
    row = {"owner": "0123456789ab.1", "host": "elsewhere", "pid": 1, "machine": "another one", **owner}
    session.journal.write(
        [
            (
                f"INSERT INTO claims (thread_id, owner, host, pid, machine, expires_at) "
                f"VALUES (?, ?, ?, ?, ?, {session.journal.dialect.now} + ?)",
                (thread, *row.values(), lasts_s),
            )
        ]
    )
    session.journal.start_run(thread)


@pytest.fixture
def lived(session: Session) -> Session:
    """A record with runs of every kind."""
    journal = session.journal
    for thread, status in OTHERS.items():
        journal.start_run(thread)
        journal.write([("UPDATE runs SET status = ? WHERE thread_id = ?", (status, thread))])
    killed(session.database, "killed", "killed, many in one")
    until_the_dead_are_known(session.database)
    for thread in ("here", "queued then begun", "given back"):
        session.claims.acquire(thread)
        journal.start_run(thread)
    session.claims.release("given back")
    journal.start_run("never claimed")
    claimed(session, "elsewhere", 3600.0)
    claimed(session, "lease over", -1.0)
    if journal.store.has_file:  # its start is known to this machine alone
        mine = {"host": os.uname().nodename, "machine": f"not {this_machine()}"}
        claimed(session, "machine was restarted", 3600.0, owner="ba9876543210.1", **mine)
    else:
        claimed(session, "machine was restarted", -1.0, owner="ba9876543210.1")
    journal.flush()
    return session


def test_every_list_says_the_same(lived: Session, capsys: pytest.CaptureFixture[str]) -> None:
    journal = lived.journal
    counts = {status: list(STANDS.values()).count(status) for status in set(STANDS.values())}
    assert {t.thread_id: t.status for t in list_threads(journal)} == STANDS
    assert {name: find_thread(journal, name).status for name in STANDS} == STANDS
    assert {run.thread_id: run.status for run in runs_named(journal, list(STANDS))} == STANDS
    assert {name: read_run(lived, name).state for name in STANDS} == STANDS
    assert {name for name in STANDS if read_run(lived, name).live} == RUNNING
    assert count_statuses(journal) == totals_of(journal, EVERYTHING).statuses == counts
    assert totals_of(journal, Search(since=0.0)).statuses == counts
    assert {t.thread_id for t in unended_threads(journal)} == STANDS.keys() - {"done"}
    for status, number in counts.items():
        fitting = {name for name, stands in STANDS.items() if stands == status}
        search = Search(status=status)
        assert {t.thread_id for t in page_of_threads(journal, search, "latest", 50).threads} == fitting
        assert {run.thread_id for run in find_runs(journal, [("status", status)])} == fitting
        assert totals_of(journal, search).statuses == {status: number}
        assert count_threads(journal, search) == number
        show_threads(
            limit=50, search="", status=status, order="latest", database=lived.database, as_json=True
        )
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {row["thread_id"] for row in told} == fitting
        assert {row["status"] for row in told} == {status}


def test_what_died_is_pruned_only_where_somebody_insists(lived: Session) -> None:
    spared = {candidate.thread_id for candidate in choose(lived, PruneFilter())}
    assert spared == OTHERS.keys()
    statuses = PruneFilter(statuses=("unfinished",), force=True)
    assert {candidate.thread_id for candidate in choose(lived, statuses)} == DEAD


def test_a_list_is_another_one_when_a_process_dies(session: Session) -> None:
    """What shows the list reads it again then, though nobody has written anything."""
    asks, says = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        other = Session(session.database)
        other.claims.acquire("t")
        other.journal.start_run("t")
        os.write(says[1], b".")
        os.read(asks[0], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(says[0], 1)
    before = list_version(session.journal)
    assert find_thread(session.journal, "t").status == "running"
    os.write(asks[1], b".")
    os.waitpid(child, 0)
    until_the_dead_are_known(session.database)
    assert list_version(session.journal) != before
    assert find_thread(session.journal, "t").status == "unfinished"


def test_a_hostile_owner_is_no_part_of_the_sql(session: Session) -> None:
    for number, owner in enumerate(
        ("'", "' OR 1=1 --", "?", "a'b.1", "", "A.1", "ff" * 5000 + ".1", "ab?.1")
    ):
        claimed(session, f"t{number}", 3600.0, owner=owner, host=os.uname().nodename, machine="x")
    assert len(list_threads(session.journal)) == 8
