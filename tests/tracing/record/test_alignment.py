"""Runs in pairs of steps, threads by search, and fields that the record cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.json_text import json_text
from stepgraph.tracing.record.diff import paired
from stepgraph.tracing.record.listing import page_of_threads
from stepgraph.tracing.record.search import Search
from stepgraph.tracing.record.spans import Span, Trace
from stepgraph.tracing.record.threads import count_threads, find_thread, list_threads
from stepgraph.tracing.record.values import changed_fields, cut_text

TRACE = Trace("0" * 32, "t", 0, "run")


def step(path: str, output: Any, task: str = "") -> Span:
    row = {"output": json.dumps(output), "input": "{}"}
    return Span(TRACE, "node", path + task, None, path, path, path + task, "done", 0, 1, row)


def test_steps_are_paired_by_path_and_occurrence() -> None:
    a = [step("draft", 1), step("draft", 2, "2"), step("mail", 3)]
    b = [step("draft", 1), step("draft", 9, "2"), step("check", 4)]
    found = [(pair.path, pair.what) for pair in paired(a, b)]
    assert found == [
        ("draft", ()),
        ("draft", ("output",)),
        ("mail", ("only in a",)),
        ("check", ("only in b",)),
    ]
    assert [pair.number for pair in paired(a, b)] == [0, 1, 2, 3]
    assert not any(pair.what for pair in paired(a, a))


def test_a_field_that_was_only_cut_has_not_changed() -> None:
    long = "é and so on " * 300
    text = json.dumps(long, ensure_ascii=False)
    cut = {"cut": len(text), "start": text[:1500]}
    row = {"input": json.dumps({"draft": cut, "n": 1}), "output": json.dumps({"draft": long, "n": 2})}
    assert changed_fields(row) == ["n"]
    row["output"] = json.dumps({"draft": long + "!", "n": 1})
    assert changed_fields(row) == ["draft"]
    row["output"] = json.dumps({"cut": 30_000, "start": "{"})
    assert changed_fields(row) is None
    assert cut_text({"cut": 3, "start": "a", "more": 1}) is None


@pytest.mark.parametrize(
    ("text", "found"), [("B-2", 1), ("b", 2), ("%", 1), ("_", 0), ("\\", 1), ("nothing", 0)]
)
def test_threads_are_searched_by_their_words(session: Session, text: str, found: int) -> None:
    sql = "INSERT INTO runs (thread_id, status, error, started_at, updated_at) VALUES (?, ?, ?, ?, ?)"
    rows = [("a-1", "done", "100 %", 1, 9), ("b-2", "failed", "c:\\x", 1, 2), ("bb-3", "done", None, 1, 3)]
    session.journal.write([(sql, row) for row in rows])
    search = Search(text)
    assert count_threads(session.journal, search) == found
    assert len(list_threads(session.journal, search=search)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada", 1),
        ("Ada", 0),
        ("beta", 1),
        ("Beta", 0),
        ("bet", 0),
        ('say "hi"', 1),
        ("hi", 0),
        ("größe, ok", 1),
    ],
)
def test_threads_are_searched_by_user_and_whole_tags(session: Session, text: str, found: int) -> None:
    run = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES ('t', 'done', 1, 2)"
    tags = json_text(["beta", 'say "hi"', "größe, ok"])
    row = (
        'INSERT INTO invocations (thread_id, trace, status, "user", tags, started_at) '
        "VALUES ('t', 0, 'done', 'ada', ?, 1)"
    )
    session.journal.write([(run, ()), (row, (tags,))])
    assert count_threads(session.journal, Search(text)) == found


def test_threads_are_ordered_and_paged(session: Session) -> None:
    sql = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', ?, ?)"
    session.journal.write([(sql, row) for row in (("old", 1, 9), ("new", 9, 10), ("mid", 5, 9.5))])
    listed = list_threads(session.journal, 2)
    assert [thread.thread_id for thread in listed] == ["new", "mid"]
    assert [t.thread_id for t in list_threads(session.journal, 2, offset=2)] == ["old"]
    longest = list_threads(session.journal, order="longest")
    assert [thread.thread_id for thread in longest] == ["old", "mid", "new"]


def test_a_thread_took_the_time_in_which_its_nodes_ran(session: Session) -> None:
    """What it waited in a queue, for a person or for a resume is no time that it took."""
    run = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', ?, ?)"
    node = (
        "INSERT INTO node_runs (thread_id, task, path, node, superstep, status, started_at, ended_at) "
        "VALUES (?, ?, 'n', 'n', 1, 'done', ?, ?)"
    )
    session.journal.write([(run, ("waited", 0, 100)), (run, ("worked", 0, 50)), (run, ("queued", 0, 0))])
    spans = [("waited", 10, 12), ("waited", 11, 13), ("waited", 90, 92), ("worked", 0, 50)]
    session.journal.write([(node, (thread, f"n:{at}", at, end)) for thread, at, end in spans])
    threads = list_threads(session.journal, order="longest")
    shown = [(thread.thread_id, thread.seconds, thread.waited_s) for thread in threads]
    assert shown == [("worked", 50, 0), ("waited", 5, 95), ("queued", 0, 0)]
    assert find_thread(session.journal, "waited").seconds == 5
    for most in (1, 2, 3):
        some = list_threads(session.journal, most, order="longest")
        assert [thread.thread_id for thread in some] == ["worked", "waited", "queued"][:most]
        page = page_of_threads(session.journal, Search(), "longest", most)
        assert [thread.thread_id for thread in page.threads] == [thread.thread_id for thread in some]
        assert (page.after is None) is (most == 3)
    assert list_threads(session.journal, 1, order="longest", search=Search(min_seconds=60)) == []
