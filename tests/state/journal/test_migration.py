"""Files of every earlier format, as stepgraph wrote them then: `older/FORMAT-what-was-new.sql`."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, step, using
from stepgraph.state.cost import Cost
from stepgraph.state.errors import InputError, StoreError
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.migration import FORMER_COLUMNS
from stepgraph.state.journal.tables import TABLES, VERSION
from stepgraph.tracing.record.query import select
from stepgraph.tracing.record.read_spans import read_spans

pytestmark = pytest.mark.sqlite_file("files of older versions")

OLDER = sorted((Path(__file__).parent / "older").glob("*.sql"))
RENAMED = {"visits": "node_runs", "hits": "replays", "joins": "coalesced_calls"}
COLUMNS = {
    "visits": {"asked": "interrupts"},
    "hits": {"at": "replayed_at"},
    "effects": {"began_at": "started_at"},
}
STATUSES = {"begun": "started"}
SOURCES = {"joined": "coalesced", "given": "override"}
PROCESSES = 6

OPEN = """
import os, signal, sys, time
from pathlib import Path
from stepgraph.state.journal import migration
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.migration import FORMER_COLUMNS

rename, add_columns = migration._rename, migration._add_columns

def renamed(connection):
    rename(connection)
    print("migrated")

def killed(connection):
    add_columns(connection)
    os.kill(os.getpid(), signal.SIGKILL)

migration._rename = renamed
if sys.argv[2] == "killed":
    migration._add_columns = killed
while sys.argv[2] == "together" and not Path(sys.argv[1] + ".go").exists():
    time.sleep(0.001)
journal = Journal(Path(sys.argv[1]))
print(journal.query("SELECT count(*) AS n FROM node_runs")[0]["n"], "node runs")
journal.close()
"""


class Post(TypedDict, total=False):
    topic: str
    plan: str
    approved: str
    draft: str


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("Plan " + post["topic"] + ".")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write " + post["plan"] + ".")


def approve(post: Post) -> dict[str, Any]:
    return {"approved": interrupt("fine?")}


@pytest.fixture(params=OLDER, ids=lambda path: path.stem)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return made(request.param, tmp_path)


@pytest.fixture
def newest(tmp_path: Path) -> Path:
    return made(next(path for path in OLDER if path.stem == "3-joins"), tmp_path)


def made(dump: Path, folder: Path) -> Path:
    file = folder / "runs.sqlite"
    with opened(file) as database:
        database.executescript(dump.read_text())
    return file


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as database:
        yield database
        database.commit()


def contents(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables, under the names of today."""
    contents: dict[str, list[dict[str, Any]]] = {}
    with opened(file) as database:
        database.row_factory = sqlite3.Row
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = [dict(row) for row in database.execute(f"SELECT * FROM {table}")]
            columns = COLUMNS.get(table, {})
            contents[RENAMED.get(table, table)] = [
                {columns.get(name, name): value for name, value in row.items()} for row in rows
            ]
    return contents


def started(file: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, str(file), how], stdout=subprocess.PIPE, text=True)


def test_every_format_has_a_file() -> None:
    assert {int(path.stem.split("-")[0]) for path in OLDER} == set(range(1, VERSION))


def test_nothing_is_lost_and_nothing_else_changes(older: Path) -> None:
    before = contents(older)
    Journal(older).close()
    after = contents(older)
    for call in before["calls"]:
        source = call.get("source") or "model"
        call["source"] = SOURCES.get(source, source)
        if call["cost_usd"] is not None:  # some were summed as floats: 9.799999999999998e-06
            call["cost_usd"] = round(call["cost_usd"], 12)
    for account in before.get("budget_accounts", ()):
        for sum_of_holds in FORMER_COLUMNS["budget_accounts"]:
            account.pop(sum_of_holds, None)
    for effect in before.get("effects", ()):
        effect["status"] = STATUSES.get(effect["status"], effect["status"])
    for table, rows in after.items():
        known = set(before[table][0]) if before.get(table) else set()
        kept = [{name: value for name, value in row.items() if name in known} for row in rows]
        assert kept == before.get(table, []), table


def test_the_file_is_then_like_a_new_one(older: Path, tmp_path: Path) -> None:
    Journal(older).close()
    Journal(tmp_path / "new.sqlite").close()
    shapes = []
    for file in (older, tmp_path / "new.sqlite"):
        with opened(file) as database:
            kinds = "SELECT type, name FROM sqlite_master WHERE tbl_name NOT IN ('checkpoints', 'writes')"
            names = {row for row in database.execute(kinds) if not row[1].startswith("sqlite_")}
            columns = {
                (name, column[1], column[2])
                for kind, name in names
                if kind in ("table", "view")
                for column in database.execute(f"PRAGMA table_info({name})")
            }
            version = database.execute("PRAGMA user_version").fetchone()
            shapes.append((names, columns, version))
    assert shapes[0] == shapes[1]


def test_costs_add_up_exactly_in_every_older_file(older: Path) -> None:
    with opened(older) as database:
        costs = database.execute("SELECT cost_usd FROM calls WHERE cost_usd IS NOT NULL").fetchall()
    wanted = sum((round(Decimal(str(cost)), 12) for (cost,) in costs), Decimal(0))
    with Session(older) as session:
        query = session.journal.query
        (row,) = query("SELECT sum(cost_picos) AS picos, sum(cost_usd IS NULL) AS unknown FROM calls")
        assert Decimal(row["picos"] or 0) / 10**12 == wanted
        (nulls,) = query("SELECT count(*) AS n FROM calls WHERE cost_picos IS NULL")
        assert nulls["n"] == row["unknown"]
        threads = query("SELECT known_cost_usd AS usd FROM run_costs")
        assert sum(Decimal(str(thread["usd"])) for thread in threads) == wanted


def test_what_a_silent_server_was_charged_stays(tmp_path: Path) -> None:
    """Format 5 kept it only as what was reserved for the call."""
    with Session(made(next(path for path in OLDER if path.stem == "5-silent-server"), tmp_path)) as session:
        spent = session.spent("silent")
        assert spent == Cost(3, 6, 14, 0.0000196, 1, estimated_tokens=1107, estimated_usd=0.0011845)
        assert spent.charged_usd == 0.0012041
        assert session.spent("done").estimated_tokens == 0


async def test_its_runs_are_read_resumed_and_added_up(older: Path) -> None:
    with Session(older) as session:
        costs = session.journal.query("SELECT * FROM run_costs WHERE thread_id = 'done'")
        assert [(row["calls"], row["shared"], row["unknown_costs"]) for row in costs] == [(2, 0, 0)]
        assert session.spent("done").calls == 2
        spans = read_spans(session.journal.query, "resumed")
        assert next(span.source for span in spans if span.kind == "call") == "model"
        app = chain(plan, approve, write).compile()
        with using(ScriptedModel(["the draft"])):
            result = await app.ainvoke(Command(resume="yes"), session.config("paused"))
        assert (result["plan"], result["draft"]) == ("a plan", "the draft")


def test_calls_that_were_shared_or_set_by_a_fork_keep_their_meaning(newest: Path) -> None:
    with Session(newest) as session:
        rows = session.journal.query("SELECT DISTINCT source FROM calls ORDER BY source")
        assert [row["source"] for row in rows] == ["coalesced", "copied", "model", "override"]
        (effect,) = session.undecided_effects()
        assert (effect.key, effect.status) == ("send:mail:1", "started")
        session.decide_effect(effect.key, happened=True)
        assert session.undecided_effects() == []


def test_shared_budgets_stand_as_before(tmp_path: Path) -> None:
    """Format 9 kept what was set aside in the account too; a process died there during a call."""
    file = made(next(path for path in OLDER if path.stem == "9-shared-budgets"), tmp_path)
    with Session(file) as session:
        (account,) = accounts(session.journal, "user:ada", past=True)
        assert (account.spent["calls"], account.spent["tokens"]) == (5, 22)
        assert (account.unsettled["calls"], account.unsettled["tokens"]) == (1, 1100)
        assert (account.left["calls"], account.left["tokens"]) == (4, 10_000 - 22 - 1100)
        seen = session.journal.query("SELECT resource, spent, reserved, remaining FROM shared_budgets")
        assert [tuple(row.values()) for row in seen] == [("calls", 5, 1, 4), ("tokens", 22, 1100, 8878)]


@pytest.mark.parametrize(
    "own",
    [
        "CREATE VIEW mine AS SELECT * FROM a_table_that_is_gone",
        "CREATE VIEW mine AS SELECT held_calls FROM budget_accounts",
    ],
    ids=["broken", "reads-it"],
)
def test_a_view_of_the_users_own_keeps_no_file_from_opening_and_no_older_process_going(
    tmp_path: Path, own: str
) -> None:
    file = made(next(path for path in OLDER if path.stem == "9-shared-budgets"), tmp_path)
    with opened(file) as database:
        database.execute(own)
    for _ in range(2):
        with Session(file) as session:
            (account,) = accounts(session.journal, "user:ada", past=True)
            assert (account.spent["calls"], account.unsettled["calls"]) == (5, 1)
    with Session(file) as session:
        lasting = session.shared_ledger(Budget(calls=9, scope="user:ada", per="day"))
        asyncio.run(lasting.reserve(Cost(calls=1)))
    columns = "(scope, per, starts_at, held_calls) VALUES ('user:bo', '', 0, 1)"
    for write in (
        "UPDATE budget_accounts SET held_calls = held_calls + 1",
        "UPDATE budget_accounts SET held_calls = held_calls - 1",
        f"INSERT INTO budget_accounts {columns}",
    ):
        with opened(file) as database, pytest.raises(sqlite3.Error, match=r"newer stepgraph|held_calls"):
            database.execute(write)


def test_an_older_stepgraph_that_still_runs_fails_where_it_would_overspend(tmp_path: Path) -> None:
    file = made(next(path for path in OLDER if path.stem == "9-shared-budgets"), tmp_path)
    Journal(file).close()
    with opened(file) as database, pytest.raises(sqlite3.OperationalError, match="held_calls"):
        database.execute("UPDATE budget_accounts SET held_calls = held_calls + 1")


def test_the_ids_of_sent_spans_stay(newest: Path) -> None:
    """Else what was sent before would be sent again, under other ids."""
    with Session(newest) as session:
        ids = {span.id for span in read_spans(session.journal.query, "resumed")}
    assert ids == {
        "35b087da23003e55",
        "7f626118eb7330be",
        "9de9cf1f3aba55c5",
        "a5a38038a4e7c2e9",
        "d5fcb7f415997373",
        "e26bcaf146c05306",
    }


def test_a_view_of_the_users_own_follows(newest: Path) -> None:
    with opened(newest) as database:
        database.execute(
            "CREATE VIEW mine AS SELECT v.asked, s.calls FROM visits v JOIN steps s USING (task)"
        )
    Journal(newest).close()
    with opened(newest) as database:
        assert database.execute("SELECT * FROM mine WHERE interrupts IS NOT NULL").fetchall()


def test_many_processes_open_one_older_file_at_once(newest: Path) -> None:
    before = contents(newest)
    children = [started(newest, "together") for _ in range(PROCESSES)]
    time.sleep(0.5)
    Path(f"{newest}.go").touch()
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES
    count = f"{len(before['node_runs'])} node runs\n"
    assert sorted(outputs) == [count] * (PROCESSES - 1) + [f"migrated\n{count}"]
    assert contents(newest)["checkpoints"] == before["checkpoints"]


def test_a_kill_in_the_middle_leaves_the_older_file_whole(newest: Path) -> None:
    before = contents(newest)
    child = started(newest, "killed")
    assert child.communicate(timeout=60)[0] == "migrated\n"
    assert child.returncode < 0
    assert contents(newest) == before
    with opened(newest) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM visits").fetchone()[0] > 0
    Journal(newest).close()
    assert contents(newest)["node_runs"] == before["node_runs"]


def test_what_an_error_cuts_short_is_undone(newest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(newest)
    with monkeypatch.context() as patch:
        patch.setattr(
            "stepgraph.state.journal.migration.TABLES", TABLES.replace("runs_listed ON", "x ON no_")
        )
        with pytest.raises(StoreError):
            Journal(newest)
    assert contents(newest) == before


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite"
    Session(file).close()
    with opened(file) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StoreError, match="written by a newer stepgraph"):
        Session(file)


def test_a_query_says_what_renews_the_tables(newest: Path) -> None:
    with pytest.raises(InputError, match=r"tables of an older stepgraph; `stepgraph threads --db .*` renews"):
        select(newest, "SELECT * FROM node_runs")
    select(newest, "SELECT * FROM visits")


@pytest.mark.sqlite_file("indexes of a file")
def test_a_file_of_this_format_gets_the_indexes_that_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    Session(file).close()
    with opened(file) as database:
        database.executescript(
            "DROP INDEX runs_listed; DROP INDEX node_runs_times; "
            "CREATE INDEX runs_updated ON runs (updated_at)"
        )
    Session(file).close()
    with opened(file) as database:
        found = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"runs_listed", "node_runs_times"} <= found
    assert "runs_updated" not in found
