"""Charts over time as SVG, made on the server: bars of what adds up, lines of what does not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..tracing.record.text import duration
from ..tracing.record.trends import Moment, Trends, joined

WIDTH, HEIGHT = 640.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 84.0, 10.0, 14.0, 26.0
MOST = 5  # series with a colour of their own
OTHERS = "all others"
Value = Callable[[Moment], float | None]


@dataclass(frozen=True)
class Series:
    """One name's values; None where there is none. `place` says which colour and mark it has."""

    name: str
    place: int
    values: Sequence[float | None]
    shown: Sequence[str]
    whole: str


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    place: int
    said: str


@dataclass(frozen=True)
class Line:
    place: int
    d: str
    dots: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """One chart: its drawing, and the same figures as a table."""

    id: str
    title: str
    series: Sequence[Series]
    whens: Sequence[str]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]
    marks: Sequence[tuple[float, str, str]]

    @property
    def is_empty(self) -> bool:
        return not any(value for each in self.series for value in each.values)


def charts_of(trends: Trends) -> list[Chart]:
    """Return the charts, none where no run fits."""
    if not trends.begins:
        return []
    graphs, steps = trends.graphs, trends.steps
    tokens = {
        "input tokens": [Moment(picos=each) for each in _sums(graphs, lambda m: m.input_tokens)],
        "output tokens": [Moment(picos=each) for each in _sums(graphs, lambda m: m.output_tokens)],
    }
    return [
        _chart(trends, "runs", "Runs, by graph", graphs, lambda m: m.count, count, stacked=True),
        _chart(trends, "cost", "Cost, by graph", graphs, lambda m: m.usd, usd, stacked=True),
        _chart(trends, "cost-steps", "Cost, by step", steps, lambda m: m.usd, usd, stacked=True),
        _chart(trends, "tokens", "Tokens", tokens, lambda m: m.picos, count, stacked=True),
        _chart(trends, "failed", "Failed runs, by graph", graphs, lambda m: m.errors, count, stacked=True),
        _chart(
            trends, "failed-calls", "Failed calls, by step", steps, lambda m: m.errors, count, stacked=True
        ),
        _chart(trends, "latency", "Time of a run, by graph: half took at most", graphs, _half, duration),
        _chart(
            trends, "latency-95", "Time of a run, by graph: 95 of 100 took at most", graphs, _most, duration
        ),
        _chart(trends, "call", "Time of a call, by step: half took at most", steps, _half, duration),
        _chart(trends, "call-95", "Time of a call, by step: 95 of 100 took at most", steps, _most, duration),
    ]


def _half(moment: Moment) -> float | None:
    return moment.latency(0.5)


def _most(moment: Moment) -> float | None:
    return moment.latency(0.95)


def _sums(named: Mapping[str, Sequence[Moment]], value: Callable[[Moment], int]) -> list[int]:
    return [sum(map(value, stretch)) for stretch in zip(*named.values(), strict=True)]


def _chart(
    trends: Trends,
    key: str,
    title: str,
    named: Mapping[str, Sequence[Moment]],
    value: Value,
    in_words: Callable[[float], str],
    *,
    stacked: bool = False,
) -> Chart:
    whole = {name: joined(moments) for name, moments in named.items()}
    # The same graph has the same colour in every chart: that with the most runs the first one.
    order = sorted(named, key=lambda name: (-whole[name].count, name))
    rows = {name: named[name] for name in order[: MOST if len(order) > MOST + 1 else MOST + 1]}
    if rest := [named[name] for name in order if name not in rows]:
        rows[OTHERS] = [joined(stretch) for stretch in zip(*rest, strict=True)]
        whole[OTHERS] = joined(rows[OTHERS])
    series = [
        Series(
            name,
            place,
            values := [value(moment) for moment in moments],
            ["" if each is None else in_words(each) for each in values],
            "" if (all_of := value(whole[name])) is None else in_words(all_of),
        )
        for place, (name, moments) in enumerate(rows.items())
    ]
    whens = [_when(at, trends.width) for at in trends.begins]
    tops = (
        [sum(each.values[n] or 0 for each in series) for n in range(len(whens))]
        if stacked
        else [value or 0.0 for each in series for value in each.values]
    )
    top, step = _scale(max(tops, default=0.0))
    return Chart(
        id=key,
        title=title,
        series=series,
        whens=whens,
        bars=list(_bars(series, whens, top)) if stacked else [],
        lines=[] if stacked else list(_lines(series, whens, top)),
        ticks=[(_y(step * n, top), in_words(step * n)) for n in range(round(top / step) + 1)],
        marks=list(_marks(whens)),
    )


def _bars(series: Sequence[Series], whens: Sequence[str], top: float) -> Iterator[Bar]:
    room = (WIDTH - LEFT - RIGHT) / len(whens)
    for number, when in enumerate(whens):
        below = 0.0
        for each in series:
            value = each.values[number]
            if value:
                y = _y(below + value, top)
                label = f"{when}, {each.name}: {each.shown[number]}"
                yield Bar(
                    LEFT + room * (number + 0.1),
                    y,
                    room * 0.8,
                    max(0.5, _y(below, top) - y),
                    each.place,
                    label,
                )
                below += value


def _lines(series: Sequence[Series], whens: Sequence[str], top: float) -> Iterator[Line]:
    room = (WIDTH - LEFT - RIGHT) / len(whens)
    for each in series:
        points = [
            (
                LEFT + room * (number + 0.5),
                _y(value, top),
                f"{when}, {each.name}: {each.shown[number]}",
                number,
            )
            for number, (when, value) in enumerate(zip(whens, each.values, strict=True))
            if value is not None
        ]
        d = "".join(
            f"{'M' if not n or points[n - 1][3] != point[3] - 1 else 'L'}{point[0]:.1f} {point[1]:.1f}"
            for n, point in enumerate(points)
        )
        yield Line(each.place, d, [point[:3] for point in points])


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)


def _scale(most: float) -> tuple[float, float]:
    """Return the top of an axis and the distance of its lines: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0, 1.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    step = next(power * n for n in (1, 2, 5, 10) if power * n * 4 >= most * 0.999)
    return step * max(1, math.ceil(most / step - 1e-9)), step


def _marks(whens: Sequence[str]) -> Iterator[tuple[float, str, str]]:
    """Yield where a time stands below the axis: as many as there is room for."""
    room = (WIDTH - LEFT - RIGHT) / len(whens)
    every = max(1, math.ceil(len(whens) / 6))
    for number in range(0, len(whens), every):
        x = LEFT + room * (number + 0.5)
        yield x, whens[number], "end" if x > WIDTH - 50 else "start" if x < LEFT + 20 else "middle"


def _when(at: float, width: float) -> str:
    form = "%Y-%m-%d" if width >= 86_400 else "%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))


def width_words(seconds: float) -> str:
    """Return the width of a stretch of time in words."""
    for unit, size in (("week", 7 * 86_400), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return f"1 {unit}" if seconds == size else f"{seconds / size:g} {unit}s"
    return duration(seconds)


def usd(value: float) -> str:
    """Return dollars for an axis or a table, with three figures."""
    if value == 0:
        return "$0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    whole, dot, part = f"{value:,.{min(places, 12)}f}".partition(".")
    return f"${whole}{dot}{part}".rstrip("0").rstrip(".") if dot else f"${whole}"


def count(value: float) -> str:
    """Return a number of things, with spaces between thousands."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
