"""What a run read from the providers' caches, and where that collapsed since the run before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import Ask, Session, chain, fan_out, run, step, using
from stepgraph.cli.support.show import show_run
from stepgraph.providers.stack.stack import forget_endpoints
from stepgraph.tracing.record import caching as module
from stepgraph.tracing.record.caching import cache_use, collapses
from stepgraph.tracing.record.run import read_run

from ...caching_server import CachingServer

DOCUMENT = "".join(f"Clause {number}: nobody owes anything. " for number in range(400))


@dataclass
class Question:
    number: int
    day: str
    text: str = ""


@dataclass
class Talk:
    day: str = ""
    count: int = 4
    questions: list[Question] = field(default_factory=list)
    summary: str = ""


def split(talk: Talk) -> list[Question]:
    return [Question(number, talk.day) for number in range(talk.count)]


@step("text")
def answer(question: Question) -> Ask[str]:
    return Ask(f"Question {question.number}?", prefix=f"{question.day}{DOCUMENT}")


@step("text")
def dated(question: Question) -> Ask[str]:
    """What many write: a time in front of all, and in each branch another one."""
    stamp = f"It is {question.day} {question.number}. " if question.day else ""
    return Ask(f"{stamp}{DOCUMENT} Question {question.number}?")


@step("summary")
def sum_up(talk: Talk) -> Ask[str]:
    return Ask("Summary?", prefix=f"{talk.day}{DOCUMENT}")


good = chain(fan_out(split, answer, into="questions"), name="good").compile()
stamped = chain(fan_out(split, dated, into="questions"), name="stamped").compile()
single = chain(sum_up, name="single").compile()


@pytest.fixture
def caching() -> Iterator[CachingServer]:
    with CachingServer(0.0) as server:
        yield server


def go(app: Any, talk: Any, session: Session, thread: str, server: CachingServer) -> None:
    with using(
        server.spec(max_concurrency=1)
    ):  # one after the other, so that even those without a prefix read
        assert run(app, talk, session, thread).status == "done"


def fallen(session: Session, thread: str) -> list[str]:
    return [str(found) for found in collapses(session.journal.query, read_run(session, thread))]


def test_the_record_says_what_share_was_read(session: Session, caching: CachingServer) -> None:
    go(good, Talk(), session, "t", caching)
    (use,) = cache_use(read_run(session, "t"))
    assert (use.step, use.calls) == ("answer", 4)
    assert (use.input_tokens, use.cached_tokens) == (caching.input, caching.cached)
    assert read_run(session, "t").cached_share == pytest.approx(caching.share)
    (row,) = session.journal.query("SELECT * FROM prompt_caching")
    assert (row["thread_id"], row["step"], row["calls"]) == ("t", "answer", 4)
    assert row["cached_share"] == pytest.approx(caching.share)


def test_a_collapse_is_told_with_the_place_where_the_prompts_differ(
    session: Session, caching: CachingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    go(stamped, Talk(), session, "before", caching)
    go(stamped, Talk(day="Friday"), session, "after", caching)
    (told,) = fallen(session, "after")
    assert "step 'dated' read 0% of its input from the provider's cache, " in told
    assert "in the run before (before)" in told
    assert "differ from character 1 on" in told
    assert "It is Friday 0" in told
    assert fallen(session, "before") == []

    session.journal.flush()
    path = session.journal.database
    show_run("after", step=None, waterfall=False, full=False, database=path, as_json=False)
    assert f"warning  {told}" in capsys.readouterr().out
    show_run("before", step=None, waterfall=False, full=False, database=path, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["cached_share"] == pytest.approx(shown["cache"][0]["share"])
    assert shown["cache_warnings"] == []


@pytest.mark.parametrize("app", [good, single], ids=["several calls", "one call"])
def test_a_share_that_stays_is_not_told(app: Any, session: Session, caching: CachingServer) -> None:
    for number in range(3):
        go(app, Talk(), session, f"t{number}", caching)
    assert [fallen(session, f"t{number}") for number in range(3)] == [[], [], []]


def test_one_call_a_run_is_compared_while_the_cache_keeps_it(
    session: Session, caching: CachingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        go(single, Talk(), session, f"t{number}", caching)
    go(single, Talk(day="Friday. "), session, "soon", caching)
    (told,) = fallen(session, "soon")
    assert "'sum_up'" in told
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    assert fallen(session, "soon") == []


def test_runs_of_one_thread_are_compared_with_each_other(session: Session, caching: CachingServer) -> None:
    for day in ("", "", "Friday. "):
        go(single, {"day": day}, session, "t", caching)
    (told,) = fallen(session, "t")
    assert "in the run before (t)" in told


def test_calls_that_came_all_at_once_are_told_as_that(session: Session, caching: CachingServer) -> None:
    go(stamped, Talk(), session, "before", caching)
    caching._kept.clear()
    caching.first_token_s = 0.3
    forget_endpoints()
    with using(caching.spec()):
        run(stamped, Talk(), session, "after")
    (told,) = fallen(session, "after")
    assert "begin with the same" in told
    assert "Ask(prefix=…)" in told
