"""Is B better than A: case by case, with intervals, and "undecided" where nobody can tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ..files.filed import Chosen
from ..files.results import Results, Trial
from ..suite.model import MEASURES
from .grouping import grouped

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Difference:
    """One metric in A and B over the same cases.

    `change` is B minus A with its interval, `p` the chance of such a change if there were none,
    `corrected` the same after Holm's correction for all metrics. `smallest` is the smallest true change
    that these cases would have shown in four of five runs. `gained` and `lost` count cases.
    """

    metric: str
    cases: int
    a: float
    b: float
    change: float
    interval: tuple[float, float]
    p: float
    corrected: float
    test: str
    smallest: float | None
    gained: int
    lost: int
    verdict: Verdict


@dataclass(frozen=True)
class Change:
    """A measure of one trial in A and B, and the mean change with its interval."""

    measure: str
    a: float
    b: float
    change: float
    interval: tuple[float, float] | None
    unknown: int = 0


@dataclass(frozen=True)
class Comparison:
    """B compared with A. `left_out` says which cases were not compared, and why."""

    a: str
    b: str
    level: float
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    left_out: tuple[str, ...] = ()

    def of(self, metric: str) -> Difference | None:
        """Return the difference in one metric, None if it was not compared."""
        return next((difference for difference in self.differences if difference.metric == metric), None)


def compare(a: Results, b: Results, level: float | None = None) -> Comparison:
    """Compare the results of two versions of a workflow on the cases that both ran.

    Repeats of a case are averaged first. Yes-or-no metrics without repeats are tested by McNemar's
    exact test, all others by sign flips; intervals are Agresti and Min's, and the bootstrap over cases.
    """
    level = b.header.level if level is None else level
    shared, left_out = _shared(a, b)
    rows = {name: paired(a, b, name, shared) for name in _metrics(a, b)}
    rows = {name: pairs for name, pairs in rows.items() if pairs}
    return Comparison(
        a.header.run,
        b.header.run,
        level,
        tuple(differences(rows, level)),
        tuple(change for name in MEASURES if (change := _change(a, b, name, shared))),
        tuple(left_out),
    )


def paired(a: Results, b: Results, metric: str, cases: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return each case's mean score in A and in B, where both have one."""
    one, other = case_means(a, metric), case_means(b, metric)
    return {case: (one[case], other[case]) for case in cases if case in one and case in other}


def case_means(results: Results, metric: str) -> dict[str, float]:
    """Return each case's mean score over its repeats; a case without any score is left out."""
    scored = [(trial.case, trial.scores[metric]) for trial in ordered(results) if metric in trial.scores]
    return means_by_case((case, score.value) for case, score in scored)


def means_by_case(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Return each case's mean; what is None does not count."""
    by_case = grouped((case, value) for case, value in values if value is not None)
    return {case: fmean(own) for case, own in by_case.items()}


def ordered(results: Results) -> Sequence[Trial]:
    """Return the trials in the order of the suite, whatever order they ended in; each is read when needed."""
    rank = {case: number for number, case in enumerate(results.header.cases)}
    return Chosen(
        results.trials, sorted(results.trials, key=lambda key: (rank.get(key[0], len(rank)), key[1]))
    )


def _shared(a: Results, b: Results) -> tuple[list[str], list[str]]:
    shared, left_out = [], []
    for case, content in b.header.cases.items():
        if case not in a.header.cases:
            left_out.append(f"{case}: only in {b.header.run}")
        elif a.header.cases[case] != content:
            left_out.append(f"{case}: the case was changed")
        else:
            shared.append(case)
    left_out += [f"{case}: only in {a.header.run}" for case in a.header.cases if case not in b.header.cases]
    ran = [{case for case, _ in results.trials} for results in (a, b)]
    left_out += [f"{case}: not run in both" for case in shared if not all(case in cases for cases in ran)]
    return shared, left_out


def _metrics(a: Results, b: Results) -> list[str]:
    names = [dict.fromkeys(n for trial in ordered(r) for n in trial.scores) for r in (a, b)]
    return [name for name in names[0] if name in names[1]]


def differences(rows: dict[str, dict[str, tuple[float, float]]], level: float) -> Iterator[Difference]:
    """Yield the difference in each metric, given each case's scores before and after."""
    from .intervals import difference_interval, difference_p, holm, smallest_effect

    changes = {name: [after - before for before, after in pairs.values()] for name, pairs in rows.items()}
    ps = {name: difference_p(values) for name, values in changes.items()}
    corrected = holm(ps)
    for name, pairs in rows.items():
        values = changes[name]
        mean = fmean(values)
        sure = corrected[name] < level
        verdict: Verdict = "undecided" if not sure else "better" if mean > 0 else "worse"
        yield Difference(
            metric=name,
            cases=len(values),
            a=fmean(before for before, _ in pairs.values()),
            b=fmean(after for _, after in pairs.values()),
            change=mean,
            interval=difference_interval(values, level),
            p=ps[name],
            corrected=corrected[name],
            test="McNemar" if all(value in (-1, 0, 1) for value in values) else "sign flips",
            smallest=smallest_effect(values, level),
            gained=sum(value > 0 for value in values),
            lost=sum(value < 0 for value in values),
            verdict=verdict,
        )


def measure_of(trial: Trial, name: str) -> float | None:
    """Return a measure of a trial; a cost that is not known is None."""
    if name == "cost_usd":
        return trial.cost.usd
    if name == "seconds":
        return trial.seconds
    return float(trial.cost.tokens if name == "tokens" else trial.cost.calls)


def _change(a: Results, b: Results, name: str, cases: Sequence[str]) -> Change | None:
    one, other = (
        means_by_case((t.case, measure_of(t, name)) for t in ordered(results)) for results in (a, b)
    )
    both = [(one[case], other[case]) for case in cases if case in one and case in other]
    return change_of(name, both, len(cases) - len(both)) if both else None


def change_of(measure: str, pairs: Sequence[tuple[float, float]], unknown: int) -> Change:
    """Return how a measure changed, given each case's values before and after."""
    from .intervals import unbounded_interval

    values = [after - before for before, after in pairs]
    before, after = fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)
    return Change(measure, before, after, fmean(values), unbounded_interval(values), unknown)
