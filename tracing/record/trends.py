"""How threads did over time: cost, tokens, errors and latency, by graph and by step."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...state.journal.journal import Journal
from ...state.money import dollars
from .search import Search

MOST_THREADS = 100_000
_WIDTHS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 28 * 86_400)
NO_GRAPH = "(no name)"


@dataclass(slots=True)
class Moment:
    """What a graph or a step did in one stretch of time."""

    count: int = 0
    errors: int = 0
    picos: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def usd(self) -> float:
        return dollars(self.picos)

    def spend(self, other: Moment) -> None:
        """Count what another one cost."""
        self.picos += other.picos
        self.unknown += other.unknown
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens

    def add(self, other: Moment) -> None:
        """Count all of another one."""
        self.spend(other)
        self.count += other.count
        self.errors += other.errors
        self.seconds += other.seconds

    def latency(self, share: float) -> float | None:
        """Return how long this share of them took at most; None where nothing ended."""
        return percentile(self.seconds, share)


@dataclass(frozen=True)
class Trends:
    """Stretches of time of one width, and for each name what it did in each of them.

    A run, and each of its calls, counts where the run began. `left_out` runs are older than those counted.
    """

    begins: Sequence[float]
    width: float
    graphs: Mapping[str, Sequence[Moment]]
    steps: Mapping[str, Sequence[Moment]]
    left_out: int = 0


def trends_of(journal: Journal, search: Search, buckets: int) -> Trends:
    """Return how the threads that a search finds did, in at most so many stretches of time."""
    where, values = search.where(journal)
    (ends,) = journal.query(
        "SELECT min(r.started_at) AS first, max(r.started_at) AS last, count(*) AS n "
        f"FROM runs r WHERE {where}",
        values,
    )
    if not ends["n"]:
        return Trends([], 60, {}, {})
    chosen = (
        f"r.rowid IN (SELECT r.rowid FROM runs r WHERE {where} "
        "ORDER BY r.updated_at DESC, r.rowid DESC LIMIT ?)"
        if ends["n"] > MOST_THREADS
        else f"({where}) AND ? > 0"
    )
    values = [*values, MOST_THREADS]
    journal.flush()
    runs = journal.rows(
        f"SELECT r.thread_id, r.graph, r.status, r.started_at FROM runs r WHERE {chosen}", values
    )
    first = ends["first"] if ends["n"] <= MOST_THREADS else min(row[3] for row in runs)
    width = width_for(ends["last"] - first, buckets)
    # A stretch begins where the clock of this machine says so, days at its midnight.
    begin = first - (first - offset_at(first)) % width
    count = int((ends["last"] - begin) // width) + 1
    names, took = _invoked(journal, chosen, values)
    # What runs of one graph and stretch did, by step: each call is looked at once.
    parts: dict[tuple[str, int], dict[str, Moment]] = defaultdict(dict)
    graphs: dict[str, list[Moment]] = defaultdict(lambda: [Moment() for _ in range(count)])
    of_run: dict[str, dict[str, Moment]] = {}
    for thread_id, named, status, at in runs:
        graph = named or names.get(thread_id) or NO_GRAPH
        place = min(max(0, int((at - begin) // width)), count - 1)
        of_run[thread_id] = parts[graph, place]
        moment = graphs[graph][place]
        moment.count += 1
        moment.errors += status == "failed"
        if thread_id in took:
            moment.seconds.append(took[thread_id])
    _add_calls(journal, chosen, values, of_run)
    steps: dict[str, list[Moment]] = defaultdict(lambda: [Moment() for _ in range(count)])
    for (graph, place), by_step in parts.items():
        for step, part in by_step.items():
            graphs[graph][place].spend(part)
            steps[step][place].add(part)
    for moments in (*graphs.values(), *steps.values()):
        for moment in moments:
            moment.seconds.sort()
    begins = [begin + number * width for number in range(count)]
    return Trends(begins, width, dict(graphs), dict(steps), max(0, ends["n"] - MOST_THREADS))


def _add_calls(
    journal: Journal, chosen: str, values: Sequence[object], of_run: Mapping[str, dict[str, Moment]]
) -> None:
    for thread_id, step, status, source, picos, input_tokens, output_tokens, latency in journal.rows(
        "SELECT c.thread_id, c.step, c.status, c.source, c.cost_picos, c.input_tokens, c.output_tokens, "
        f"c.latency_s FROM runs r JOIN calls c ON c.thread_id = r.thread_id WHERE {chosen}",
        [*values],
    ):
        moments = of_run.get(thread_id)
        if moments is None:  # it began meanwhile
            continue
        part = moments.get(step)
        if part is None:
            part = moments[step] = Moment()
        part.count += 1
        if status == "failed":
            part.errors += 1
        else:
            if source == "model":
                part.seconds.append(latency)
            if picos is None:
                part.unknown += 1
        if picos:
            part.picos += picos
        if input_tokens:
            part.input_tokens += input_tokens
        if output_tokens:
            part.output_tokens += output_tokens


def _invoked(
    journal: Journal, chosen: str, values: Sequence[object]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return each thread's last graph, and how long its invocations took, waits between them left out."""
    names: dict[str, str] = {}
    took: dict[str, float] = defaultdict(float)
    for thread_id, graph, began, ended in journal.rows(
        "SELECT i.thread_id, i.graph, i.started_at, i.ended_at FROM runs r "
        f"JOIN invocations i ON i.thread_id = r.thread_id WHERE {chosen} ORDER BY i.id",
        [*values],
    ):
        if graph:
            names[thread_id] = graph
        if ended is not None:
            took[thread_id] += ended - began
    return names, took


def width_for(seconds: float, buckets: int) -> float:
    """Return how long each of at most so many stretches is, in a unit that a reader knows."""
    least = seconds / max(1, buckets - 1)
    return next(
        (float(width) for width in _WIDTHS if width >= least), math.ceil(least / _WIDTHS[-1]) * _WIDTHS[-1]
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the least of sorted values that at least this share of them do not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None


def joined(moments: Iterable[Moment]) -> Moment:
    """Return what several stretches come to."""
    whole = Moment()
    for each in moments:
        whole.add(each)
    whole.seconds.sort()
    return whole


def offset_at(at: float) -> float:
    """Return the time at which a day of this machine's clock began, as a place to count stretches from."""
    day = time.localtime(at)
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1))
