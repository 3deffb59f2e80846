"""What the trials of a suite say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from ...state.cost import NOTHING, Cost
from ..files.results import Header, Results, Trial
from ..statistics.compare import Comparison, case_means, compare, ordered
from ..statistics.confusion import Confusion, confusion
from ..statistics.grouping import grouped
from ..statistics.survival import RoundStatistics, rounds_of
from ..suite.model import COMPLETED
from .gates import GateResult, rule_on

NO_ROUTE = "(none)"
Outcome = Literal["passed", "failed", "partial"]


@dataclass(frozen=True)
class Metric:
    """One metric over all trials: the mean of the cases' means, with a 95 % interval over cases."""

    name: str
    mean: float | None
    interval: tuple[float, float] | None
    cases: int
    scored: int
    unscored: int
    failed: int


@dataclass(frozen=True)
class Votes:
    """What the votes of one node say: the mean share that agreed, and how often it was uncertain."""

    path: str
    votes: int
    agreement: float | None
    uncertain: int


@dataclass(frozen=True)
class BudgetCut:
    """What one limit of the trials' budgets cut: how many trials, and the nodes that did not run."""

    limit: str
    trials: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a report shows; `cost` is without the judges', which is in `judged`."""

    header: Header
    wanted: int
    trials: Sequence[Trial]
    statuses: dict[str, int]
    metrics: tuple[Metric, ...]
    confusions: dict[str, Confusion]
    rounds: tuple[RoundStatistics, ...]
    votes: tuple[Votes, ...]
    cuts: tuple[BudgetCut, ...]
    cost: Cost
    roles: dict[str, Cost]
    judged: Cost
    seconds: tuple[float, float]
    notes: tuple[str, ...]
    gates: tuple[GateResult, ...]
    comparison: Comparison | None = None

    @property
    def complete(self) -> bool:
        return len(self.trials) >= self.wanted

    @property
    def failed_gates(self) -> tuple[GateResult, ...]:
        return tuple(ruling for ruling in self.gates if ruling.status == "failed")

    @property
    def bad(self) -> tuple[Trial, ...]:
        """The trials in which something failed."""
        return tuple(trial for trial in self.trials if not trial.passed)

    @property
    def outcome(self) -> Outcome:
        """Whether the gates passed; without gates, whether every trial did."""
        if not self.complete:
            return "partial"
        return "failed" if (self.failed_gates if self.gates else self.bad) else "passed"


def summarise(results: Results, baseline: Results | None = None, *, skip_baseline: bool = False) -> Report:
    """Return the report of a run's results, compared with a baseline if there is one."""
    trials = ordered(results)
    slow = sorted(trial.seconds for trial in trials if trial.path)
    late = slow[min(len(slow) - 1, int(0.95 * len(slow)))] if slow else 0.0
    return Report(
        header=results.header,
        wanted=results.wanted,
        trials=trials,
        statuses=dict(Counter(trial.status for trial in trials)),
        metrics=tuple(_metric(results, name, trials) for name in _names(trials)),
        confusions=_confusions(trials),
        rounds=tuple(_rounds(trials)),
        votes=tuple(_votes(trials)),
        cuts=tuple(_cuts(trials)),
        cost=sum((trial.cost for trial in trials), NOTHING),
        roles=_roles(trials),
        judged=results.judged,
        seconds=(median(slow) if slow else 0.0, late),
        notes=tuple(results.notes),
        gates=rule_on(results, baseline, skip=skip_baseline),
        comparison=None if baseline is None else compare(baseline, results),
    )


def _roles(trials: Sequence[Trial]) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    for trial in trials:
        for role, cost in trial.roles.items():
            costs[role] = costs.get(role, NOTHING) + cost
    return costs


def _names(trials: Sequence[Trial]) -> list[str]:
    names = dict.fromkeys(name for trial in trials for name in trial.scores)
    return [*(n for n in names if n == COMPLETED), *(n for n in names if n != COMPLETED)]


def _metric(results: Results, name: str, trials: Sequence[Trial]) -> Metric:
    from ..statistics.intervals import mean_interval

    scores = [trial.scores[name] for trial in trials if name in trial.scores]
    means = list(case_means(results, name).values())
    return Metric(
        name=name,
        mean=fmean(means) if means else None,
        interval=mean_interval(means) if means else None,
        cases=len(means),
        scored=sum(score.value is not None for score in scores),
        unscored=sum(score.value is None for score in scores),
        failed=sum(score.passed is False for score in scores),
    )


def _confusions(trials: Sequence[Trial]) -> dict[str, Confusion]:
    """Return a table for each route that cases expect something of, by its path."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for trial in trials:
        for path, expected in trial.expected_routes.items():
            took = next((r for r in trial.routes if not path or r.path == path), None)
            name = took.path if took is not None else path
            pairs.setdefault(name, []).append((expected, took.choice if took else NO_ROUTE))
    if "" in pairs and len(pairs) == 2:  # no route was taken, but it is clear which one was meant
        (other,) = (path for path in pairs if path)
        pairs[other] += pairs.pop("")
    return {path: confusion(choices) for path, choices in pairs.items()}


def _rounds(trials: Sequence[Trial]) -> list[RoundStatistics]:
    by_path = grouped((loop.path, loop) for trial in trials for loop in trial.loops)
    return [rounds_of(path, loops) for path, loops in by_path.items()]


def _votes(trials: Sequence[Trial]) -> list[Votes]:
    by_path = grouped((vote.path, vote) for trial in trials for vote in trial.votes)
    return [
        Votes(
            path,
            len(votes),
            fmean(known) if (known := [v.agreement for v in votes if v.agreement is not None]) else None,
            sum(vote.decided is False for vote in votes),
        )
        for path, votes in by_path.items()
    ]


def _cuts(trials: Sequence[Trial]) -> list[BudgetCut]:
    by_limit = grouped((trial.limit or "", trial) for trial in trials if trial.status == "cut")
    return [
        BudgetCut(limit, len(cut), tuple(dict.fromkeys(node for trial in cut for node in trial.missing)))
        for limit, cut in by_limit.items()
    ]
