"""Charts over HTTP: their figures are those of the record, and each can be read without seeing it."""

from __future__ import annotations

import random
import re
from datetime import datetime

import pytest

from stepgraph import Session
from stepgraph.state.money import dollars
from stepgraph.tracing.record.search import Search
from stepgraph.tracing.record.trends import percentile, trends_of, width_for
from stepgraph.ui.charts import charts_of, count, usd, width_words
from stepgraph.ui.records import Reader

from .conftest import Served
from .runs import EVIL
from .test_lists import Made, made, put


def test_the_figures_are_those_of_the_runs(session: Session) -> None:
    dice = random.Random(3)
    runs = [made(number, dice) for number in range(80)]
    for number, run in enumerate(runs):
        put(session, run, loaded=number % 2 == 0)
    trends = Reader(session).trends(Search(), 12)
    assert len(trends.begins) <= 12
    for graph, moments in trends.graphs.items():
        for begin, moment in zip(trends.begins, moments, strict=True):
            own = [run for run in runs if run.graph == graph and begin <= run.began < begin + trends.width]
            assert moment.count == len(own)
            assert moment.errors == sum(run.status == "failed" for run in own)
            assert moment.picos == sum(run.picos for run in own)
            took = sorted(run.took * max(1, len(run.users)) for run in own)
            assert moment.latency(0.5) == pytest.approx(percentile(took, 0.5))
    assert sum(moment.count for moments in trends.graphs.values() for moment in moments) == 80
    (steps,) = trends.steps.values()
    assert sum(moment.picos for moment in steps) == sum(run.picos for run in runs)
    assert datetime.fromtimestamp(trends.begins[0]).astimezone().hour % 12 == 0


def test_a_chart_draws_what_its_table_says(served: Served) -> None:
    dice = random.Random(3)
    runs = [made(number, dice) for number in range(30)]
    for run in runs:
        put(served.session, run, loaded=True)
    page = served.get("/charts").text
    assert "<script" not in page.replace('<script src="/static/ui.js" defer></script>', "")
    assert " style=" not in page
    drawn = page.count('<svg class="plot"')
    assert drawn == page.count("<summary>As a table</summary>") == page.count('role="img"') > 5
    cost = page[page.index('id="c-cost"') : page.index('id="c-cost-steps"')]
    whole = {graph: sum(run.picos for run in runs if run.graph == graph) for graph in ("desk", "blog")}
    for graph, picos in whole.items():
        assert re.search(rf"{graph} <span class=\"quiet\">{re.escape(usd(dollars(picos)))}<", cost)
    plot = cost[cost.index('class="plot"') :]
    bars = re.findall(r'<rect class="s\d" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)', plot)
    assert bars
    for bar in bars:
        x, y, width, height = map(float, bar)
        assert x >= 84
        assert x + width <= 631
        assert y >= 14
        assert y + height <= 165


def test_charts_take_the_filters_of_the_list(served: Served) -> None:
    for number in range(10):
        put(served.session, made(number, random.Random(number)), loaded=True)
    assert "No run fits" in served.get("/charts", user="nobody").text
    assert "No run fits" in served.get("/charts", q="no such words").text
    assert 'href="/?status=done"' in served.get("/charts", status="done").text
    assert "expected a day" in served.get("/charts", since="soon").text


def test_an_empty_record_has_no_charts(served: Served) -> None:
    assert "No run fits" in served.get("/charts").text


def test_names_from_elsewhere_stay_text(served: Served) -> None:
    run = made(0, random.Random(1))
    put(served.session, Made(**{**run.__dict__, "graph": EVIL, "took": 2.0}), loaded=True)
    page = served.get("/charts").text
    assert "&lt;script&gt;" in page
    assert "<script>window" not in page
    assert "\u202e" not in page


def test_many_graphs_share_five_colours_and_a_rest(session: Session) -> None:
    dice = random.Random(1)
    for number in range(40):
        run = made(number, dice)
        put(session, Made(**{**run.__dict__, "graph": f"g{number % 9}"}), loaded=True)
    runs = next(chart for chart in charts_of(trends_of(session.journal, Search(), 10)) if chart.id == "runs")
    assert [each.name for each in runs.series] == ["g0", "g1", "g2", "g3", "g4", "all others"]
    assert sum(int(each.whole) for each in runs.series) == 40


@pytest.mark.parametrize("seconds", [0.0, 59.0, 3600.0, 86_400.0, 90 * 86_400.0, 5000 * 86_400.0])
@pytest.mark.parametrize("buckets", [1, 2, 48])
def test_stretches_are_as_many_as_asked_for_and_have_names(seconds: float, buckets: int) -> None:
    width = width_for(seconds, buckets)
    assert seconds / width <= max(1, buckets - 1)
    assert re.fullmatch(r"[\d.]+ (minute|hour|day|week)s?", width_words(width))


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (usd(0), "$0"),
        (usd(0.000123), "$0.000123"),
        (usd(12.5), "$12.5"),
        (usd(60.0), "$60"),
        (usd(1234.5), "$1,234"),
        (usd(100.0), "$100"),
        (count(1_500_000), "1,500,000"),
        (count(2.5), "2.5"),
    ],
)
def test_figures_are_short(shown: str, told: str) -> None:
    assert shown == told


def test_the_newest_are_drawn_and_the_rest_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepgraph.tracing.record.trends.MOST_THREADS", 4)
    for number in range(10):
        put(served.session, made(number, random.Random(number)), loaded=True)
    page = served.get("/charts").text
    assert "6 older runs are left out" in page
