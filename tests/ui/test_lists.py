"""The list of runs over HTTP: each filter shows exactly the runs that a predicate in Python picks."""

from __future__ import annotations

import html
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from stepgraph import Session
from stepgraph.state.json_text import json_text
from stepgraph.state.money import dollars
from stepgraph.tracing.record import finding
from stepgraph.ui import records

from .conftest import Served

DAY = 86_400.0
FIRST = datetime.fromisoformat("2026-03-01T00:00").timestamp()
WORDS = ("Parcel", "größe", 'say "hi"', "100%_^", "back\\slash", "line\nbreak", "refund")


@dataclass(frozen=True)
class Made:
    """A run as it was put on record."""

    thread: str
    graph: str
    status: str
    users: tuple[str, ...]
    tags: tuple[str, ...]
    began: float
    took: float
    waited: float
    picos: int
    prompt: str
    answer: str
    given: str
    returned: str
    error: str | None

    @property
    def texts(self) -> Iterator[str]:
        yield from (self.thread, self.graph, *self.users, *self.tags, self.error or "")
        yield from (self.prompt, self.answer, self.given, self.returned)


def made(number: int, dice: random.Random) -> Made:
    def some(names: tuple[str, ...], most: int) -> tuple[str, ...]:
        return tuple(dice.sample(names, dice.randint(0, most)))

    status = dice.choice(("done", "done", "failed", "partial", "interrupted", "queued"))
    return Made(
        thread=f"run-{number:03}",
        graph=dice.choice(("desk", "blog", 'it\'s "a" graph')),
        status=status,
        users=some(("ada", "Ada", "bob's"), 2),
        tags=some(("beta", "bet", 'say "hi"', "größe, ok"), 3),
        began=FIRST + number * DAY / 7,
        took=dice.choice((0.0, 0.5, 2.0, 30.0)),
        waited=dice.choice((0.0, 5.0, 4000.0)),
        picos=dice.choice((0, 1, 250_000_000_000, 3_000_000_000_000)),
        prompt=dice.choice(WORDS),
        answer=dice.choice(WORDS),
        given=dice.choice(WORDS),
        returned=dice.choice(WORDS),
        error="EndpointError: 100% down" if status == "failed" else None,
    )


def put(session: Session, run: Made, *, loaded: bool) -> None:
    """Put a run on record, with an invocation for each user."""
    given, returned = json_text({"topic": run.given}), json_text({"topic": run.given, "draft": run.returned})
    messages = json_text([{"role": "user", "content": run.prompt}])
    ended = run.began + run.took
    statements: list[tuple[str, tuple[Any, ...]]] = [
        (
            "INSERT INTO runs (thread_id, graph, status, error, started_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                run.thread,
                run.graph if loaded else None,
                run.status,
                run.error,
                run.began,
                ended + run.waited,
            ),
        ),
        (
            "INSERT INTO node_runs (thread_id, task, path, node, superstep, status, started_at, ended_at) "
            "VALUES (?, 'draft:1', 'draft', 'draft', 1, 'done', ?, ?)",
            (run.thread, run.began, ended),
        ),
        (
            "INSERT INTO calls (id, thread_id, task, path, step, request_hash, occurrence, attempt, status, "
            "model_asked, messages, params, answer, cost_usd, cost_picos, latency_s, started_at) "
            "VALUES (?, ?, 'draft:1', 'draft', 'draft', 'h', 0, 1, 'answered', 'm', ?, '{}', ?, ?, ?, ?, ?)",
            (
                run.thread,
                run.thread,
                messages,
                run.answer,
                dollars(run.picos),
                run.picos,
                run.took,
                run.began,
            ),
        ),
    ]
    invoked = (
        'INSERT INTO invocations (thread_id, trace, graph, input, output, status, "user", tags, started_at, '
        "ended_at) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    given_to = [run.thread, run.graph, given, returned, run.status]
    statements += [
        (invoked, (*given_to, user, json_text(run.tags), run.began, ended)) for user in run.users or (None,)
    ]
    session.journal.write(statements)


@pytest.fixture
def runs(session: Session) -> list[Made]:
    dice = random.Random(11)
    found = [made(number, dice) for number in range(60)]
    for number, run in enumerate(found):
        put(session, run, loaded=number % 2 == 0)
    return found


def listed(served: Served, query: dict[str, str], most: int = 40) -> list[str]:
    """Return the threads on all pages, from the first to the last."""
    found: list[str] = []
    address = dict(query)
    for _ in range(most):
        page = served.get("/", **address)
        assert page.status == 200, page.text
        found += re.findall(r'<input type="checkbox" name="thread" value="([^"]*)"', page.text)
        link = re.search(r'rel="next" href="([^"]*)"', page.text)
        if link is None:
            return found
        address = dict(parse_qsl(urlsplit(html.unescape(link[1])).query))
        assert {**address, **query} == address, "a page forgets its filters"
    raise AssertionError("the pages do not end")


def day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


Test = Callable[[Made, str], bool]
FILTERS: dict[str, tuple[Test, tuple[str, ...]]] = {
    "status": (lambda run, value: run.status == value, ("done", "failed", "queued", "interrupted")),
    "user": (lambda run, value: value in run.users, ("ada", "Ada", "bob's", "nobody", "%")),
    "tag": (lambda run, value: value in run.tags, ("beta", "bet", 'say "hi"', "größe, ok", "hi")),
    "graph": (lambda run, value: run.graph == value, ("desk", 'it\'s "a" graph', "des")),
    "since": (lambda run, value: day(run.began) >= value, ("2026-03-04", "2020-01-01", "2030-01-01")),
    "until": (lambda run, value: day(run.began) <= value, ("2026-03-04", "2026-03-01", "2020-01-01")),
    "min_cost": (lambda run, value: dollars(run.picos) >= float(value), ("0", "0.25", "3", "3.1")),
    "max_cost": (lambda run, value: dollars(run.picos) <= float(value), ("0", "0.25", "0.000000000001")),
    "min_seconds": (lambda run, value: run.took >= float(value) - 1e-6, ("0", "0.25", "2", "29", "31")),
    "max_seconds": (lambda run, value: run.took <= float(value) + 1e-6, ("0", "0.75", "29.5", "31")),
    "q": (
        lambda run, value: any(value.lower() in text.lower() for text in run.texts),
        (
            "parcel",
            "PARCEL",
            "größe",
            'say "hi"',
            "100%",
            "%",
            "_",
            "back\\slash",
            "line\nbreak",
            "run-01",
            "role",
        ),
    ),
}


def test_a_filter_shows_exactly_the_runs_that_fit(
    served: Served, runs: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 17)
    monkeypatch.setattr(finding, "AT_ONCE", 23)
    dice = random.Random(5)
    asked = [{name: value} for name, (_, values) in FILTERS.items() for value in values]
    for _ in range(40):
        names = dice.sample(sorted(FILTERS), dice.randint(2, 4))
        asked.append({name: dice.choice(FILTERS[name][1]) for name in names})
    for query in asked:
        fits = [run for run in runs if all(FILTERS[name][0](run, value) for name, value in query.items())]
        latest = sorted(fits, key=lambda run: run.began + run.took + run.waited, reverse=True)
        assert listed(served, query) == [run.thread for run in latest], query


@pytest.mark.parametrize("order", ["costliest", "longest"])
def test_an_order_holds_over_all_pages(
    served: Served, runs: list[Made], order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 7)
    by = {run.thread: float(run.picos) if order == "costliest" else run.took for run in runs}
    found = listed(served, {"order": order})
    values = [round(by[thread], 6) for thread in found]
    assert values == sorted(values, reverse=True)
    assert sorted(found) == sorted(by)


def test_pages_lead_back_the_way_they_came(
    served: Served, runs: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 20)

    def follow(page: str, rel: str) -> str:
        (link,) = re.findall(rf'rel="{rel}" href="([^"]*)"', page)
        return served.get(html.unescape(link)).text

    def threads(page: str) -> list[str]:
        return re.findall(r'name="thread" value="([^"]*)"', page)

    first = served.get("/").text
    second = follow(first, "next")
    third = follow(second, "next")
    assert threads(follow(third, "prev")) == threads(second)
    assert threads(follow(follow(third, "prev"), "prev")) == threads(first)
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in third


def test_a_search_that_has_no_time_says_how_far_it_came(
    served: Served, runs: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FIND_S", 0.0)
    monkeypatch.setattr(finding, "AT_ONCE", 10)
    page = served.get("/", q="no such words").text
    assert "10 of 60 runs" in page
    assert "Not all were looked at" in page
    assert "Search on in older runs" in page
    assert listed(served, {"q": "run-000"}) == ["run-000"]


def test_what_is_found_is_shown_where_it_stands(served: Served, session: Session) -> None:
    run = made(0, random.Random(1))
    long = "before " * 30 + "the <b>Needle</b> itself" + " after" * 30
    put(session, Made(**{**run.__dict__, "answer": long}), loaded=True)
    page = served.get("/", q="<B>needle").text
    assert "answer of draft" in page
    assert "<mark>&lt;b&gt;Needle</mark>" in page
    assert "<b>Needle" not in page


def test_the_totals_are_those_of_all_that_fit(
    served: Served, runs: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", 3)
    fits = [run for run in runs if run.graph == "blog"]
    page = served.get("/", graph="blog").text
    assert f"{len(fits)} runs" in page
    assert f"<dt>Model calls</dt><dd>{len(fits)}</dd>" in page
    assert f"${dollars(sum(run.picos for run in fits)):.4f}"[:6] in page


def test_a_run_says_what_it_was_given_and_what_it_returned(served: Served, session: Session) -> None:
    run = made(0, random.Random(1))
    put(session, Made(**{**run.__dict__, "given": "a <i>topic</i>", "returned": "a\ndraft"}), loaded=True)
    page = served.get("/").text
    assert "topic: a &lt;i&gt;topic&lt;/i&gt;" in page
    assert "draft: a draft" in page
    assert page.count("topic: a") == 1, "what was given is not shown as a result"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"since": "yesterday"}, "since=yesterday: expected a day, such as 2026-03-01"),
        ({"until": "9999-12-31"}, "until=9999-12-31: expected a day"),
        ({"min_cost": "-1"}, "min_cost=-1: expected a number"),
        ({"max_seconds": "nan"}, "max_seconds=nan: expected a number"),
        ({"status": "<b>gone"}, "status=&lt;b&gt;gone: expected one of done"),
        ({"q": "run", "order": "costliest"}, "order=costliest: a search shows the newest runs first"),
        ({"q": "\0", "user": "\0"}, "60 runs"),
    ],
)
def test_a_filter_that_makes_no_sense_is_told_and_left_out(
    served: Served, runs: list[Made], query: dict[str, str], told: str
) -> None:
    page = served.get("/", **query).text
    assert told in page
    assert "60 runs" in page


def test_each_filter_that_is_set_can_be_taken_away(served: Served, runs: list[Made]) -> None:
    page = served.get("/", status="done", user="ada", q="parcel").text
    links = [html.unescape(link) for link in re.findall(r'<a href="([^"]*)" aria-label="Remove', page)]
    assert [dict(parse_qsl(urlsplit(link).query)) for link in links] == [
        {"status": "done", "user": "ada"},
        {"q": "parcel", "user": "ada"},
        {"q": "parcel", "status": "done"},
    ]


def test_what_died_is_found_as_unfinished_and_what_runs_as_running(served: Served) -> None:
    journal = served.session.journal
    journal.start_run("dead")
    journal.flush()
    assert listed(served, {"status": "unfinished"}) == ["dead"]
    assert listed(served, {"status": "running"}) == []


def test_damaged_texts_do_no_harm(served: Served, runs: list[Made]) -> None:
    served.session.journal.write(
        [
            ("UPDATE invocations SET input = ?, output = ?, tags = ?", ("{", "[" * 5000, '{"a": 1}')),
            ("UPDATE calls SET messages = ?, tool_calls = ?", ("[{", "nothing")),
        ]
    )
    assert len(listed(served, {})) == 60
    assert len(listed(served, {"q": "[{"})) == 60
    assert json.loads(served.get("/version").text)
