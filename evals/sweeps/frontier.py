"""Which assignments of models keep the score, what they cost, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ...state.cost import NOTHING, Cost
from ..files.results import Results
from ..report.sections import Section, Table, between, money
from ..statistics.compare import paired

Keeps = Literal["reference", "keeps", "loses", "undecided"]


@dataclass(frozen=True)
class Kept:
    """One score under an assignment, and how it differs from the reference's on the same cases."""

    metric: str
    mean: float
    change: float
    interval: tuple[float, float]
    verdict: Literal["keeps", "loses", "undecided"]


@dataclass(frozen=True)
class Option:
    """One assignment that was run: its scores, and what a trial costs on its own in US dollars.

    `usd` is None while unknown, `usd_change` the interval of the difference from the reference.
    """

    models: Mapping[str, str]
    run: str
    verdict: Keeps
    scores: tuple[Kept, ...]
    cases: int
    usd: float | None
    usd_change: tuple[float, float] | None
    on_frontier: bool = False


@dataclass(frozen=True)
class Sweep:
    """What a sweep found. `level` bounds the chance of any wrong "keeps" among all assignments.

    `skipped` are the assignments that were not run, and why; `paid` is what the sweep cost, its judges
    included.
    """

    run: str
    suite: str
    metrics: tuple[str, ...]
    margin: float
    level: float
    assignments: int
    options: tuple[Option, ...]
    skipped: Mapping[str, str]
    paid: Cost = NOTHING
    complete: bool = True

    @property
    def cheapest(self) -> Option | None:
        """The cheapest assignment that keeps the score; None if the cost of none of them is known."""
        good = [o for o in self.options if o.verdict in ("reference", "keeps") and o.usd is not None]
        return min(good, key=lambda option: option.usd or 0.0, default=None)


def compared(
    reference: Results, results: Results, metrics: Sequence[str], margin: float, level: float
) -> tuple[Kept, ...]:
    """Compare scores with the reference's, case by case: is a loss of more than the margin ruled out?"""
    from ..statistics.intervals import difference_interval

    rows = []
    for metric in metrics:
        pairs = paired(reference, results, metric, list(reference.header.cases))
        if not pairs:
            continue
        changes = [after - before for before, after in pairs.values()]
        low, high = difference_interval(changes, level)
        rows.append(
            Kept(
                metric=metric,
                mean=fmean(after for _, after in pairs.values()),
                change=fmean(changes),
                interval=(low, high),
                verdict="keeps" if low > -margin else "loses" if high < -margin else "undecided",
            )
        )
    return tuple(rows)


def verdict_of(scores: Sequence[Kept], metrics: Sequence[str]) -> Literal["keeps", "loses", "undecided"]:
    """Every score must be kept; one that is lost is enough to lose."""
    verdicts = [score.verdict for score in scores]
    if "loses" in verdicts:
        return "loses"
    return "keeps" if len(verdicts) == len(metrics) and set(verdicts) == {"keeps"} else "undecided"


def frontier(options: Sequence[Option]) -> set[str]:
    """Return the runs that no other beats in cost without a worse first score."""
    known = [o for o in options if o.usd is not None and o.scores]
    return {
        o.run
        for o in known
        if not any(
            (p.usd or 0) <= (o.usd or 0)
            and p.scores[0].mean >= o.scores[0].mean
            and ((p.usd or 0) < (o.usd or 0) or p.scores[0].mean > o.scores[0].mean)
            for p in known
        )
    }


def shown(models: Mapping[str, str]) -> str:
    return ", ".join(f"{axis}={model}" for axis, model in models.items())


def sweep_sections(sweep: Sweep) -> list[Section]:
    """Return the answer, the frontier, and what was not run."""
    sure = 100 - round(100 * sweep.level, 3)
    options = sorted(sweep.options, key=lambda o: (o.usd is None, o.usd or 0.0))
    rows = tuple(row for option in options for row in _rows(option))
    head = ("models", "$ a trial", "$ change", "score", "mean", "change", "interval", "verdict", "frontier")
    lines = (
        f"Change: from the reference, case by case, with {sure:g} % intervals for all {sweep.assignments} "
        "assignments together.",
        f"keeps: a loss of more than {sweep.margin:g} is ruled out. frontier: none is cheaper and as good.",
        "$ is what a trial costs by itself, answers that the sweep shared included.",
    )
    sections = [_head(sweep), Section("Assignments", lines, Table(head, rows))]
    if sweep.skipped:
        table = Table(("models", "why"), tuple(sweep.skipped.items()), numbers=False)
        sections.append(Section(f"Not run: {len(sweep.skipped)}", table=table))
    return sections


def _head(sweep: Sweep) -> Section:
    best = sweep.cheapest
    lines = [f"{sweep.suite}, run {sweep.run}, measured by {', '.join(sweep.metrics)}"]
    reference = next((o for o in sweep.options if o.verdict == "reference"), None)
    if not sweep.complete:
        lines.append("PARTIAL: the budget ended or the sweep was stopped. The same command goes on.")
    if best is None:
        title = "No cheapest assignment: what keeps the score has no known cost"
        lines.append("Set prices for the models; an unknown price is never the cheapest.")
    else:
        title = f"Cheapest that keeps the score: {shown(best.models)}"
        lines.append(f"${best.usd:.6g} a trial on {best.cases} cases")
        lines += [
            f"{k.metric} {k.mean:.3f}, change {k.change:+.3f} {between(k.interval, '+')}" for k in best.scores
        ]
        if best.verdict == "reference":
            lines.append("That is the reference: nothing that is cheaper was shown to keep the score.")
        elif reference is not None and reference.usd:
            lines.append(f"{1 - (best.usd or 0) / reference.usd:.0%} less than the reference")
            if best.usd_change is not None and best.usd_change[1] >= 0:
                lines.append("But chance alone may explain that difference in cost.")
    undecided = [o for o in sweep.options if o.verdict == "undecided"]
    if undecided:
        lines.append(
            f"Undecided: {'; '.join(shown(o.models) for o in undecided)}. More cases, or a wider margin, "
            "would tell."
        )
    unknown = [o for o in sweep.options if o.usd is None]
    if unknown:
        lines.append(f"Of unknown cost: {'; '.join(shown(o.models) for o in unknown)}.")
    lines.append(f"the sweep paid {money(sweep.paid)}")
    return Section(title, tuple(lines))


def _rows(option: Option) -> list[tuple[str, ...]]:
    usd = "unknown" if option.usd is None else f"{option.usd:.6g}"
    change = option.usd_change
    cost = "-" if change is None else f"[{change[0]:+.3g}, {change[1]:+.3g}]"
    mark = "yes" if option.on_frontier else ""
    rows: list[tuple[str, ...]] = []
    for number, score in enumerate(option.scores):
        own = (shown(option.models), usd, cost) if number == 0 else ("", "", "")
        moved: tuple[str, ...] = (f"{score.change:+.3f}", between(score.interval, "+"), score.verdict)
        if option.verdict == "reference":
            moved = ("", "", "reference")
        rows.append((*own, score.metric, f"{score.mean:.3f}", *moved, mark if number == 0 else ""))
    return rows or [(shown(option.models), usd, cost, "-", "-", "-", "-", option.verdict, mark)]
