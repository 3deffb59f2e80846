"""Whether a suite fails: each gate against the results, and against a baseline where it asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ...state.errors import InputError
from ..files.results import Results
from ..statistics.compare import case_means, measure_of, ordered, paired
from ..suite.model import MEASURES, Gate


@dataclass(frozen=True)
class GateResult:
    """What a gate says: passed or failed, what was measured, and why."""

    gate: Gate
    status: Literal["passed", "failed", "skipped"]
    measured: str
    why: str = ""

    def __str__(self) -> str:
        text = f"{self.status}: {self.gate} ({self.measured})"
        return f"{text}: {self.why}" if self.why else text


def rule_on(
    results: Results, baseline: Results | None = None, *, skip: bool = False
) -> tuple[GateResult, ...]:
    """Return what each gate says.

    A gate that compares needs a baseline: without one InputError is raised, unless they are to `skip`.
    """
    return tuple(_rule(gate, results, baseline, skip=skip) for gate in results.header.gates)


def needs_baseline(gates: tuple[Gate, ...] | list[Gate]) -> bool:
    return any(gate.not_worse for gate in gates)


def _rule(gate: Gate, results: Results, baseline: Results | None, *, skip: bool) -> GateResult:
    if gate.metric in MEASURES:
        return _measure(gate, results)
    means = case_means(results, gate.metric)
    having = [trial for trial in ordered(results) if gate.metric in trial.scores]
    unscored = sum(trial.scores[gate.metric].value is None for trial in having)
    if not means:
        return GateResult(gate, "failed", "no scores", "nothing was scored, so nothing is known")
    mean = fmean(means.values())
    measured = f"{mean:.3f} over {len(means)} cases"
    if unscored > gate.unscored * len(having):
        why = (
            f"{unscored} of {len(having)} trials could not be scored; at most {gate.unscored:.0%} may lack it"
        )
        return GateResult(gate, "failed", measured, why)
    if results.trusted.get(gate.metric) is False:
        note = next((n for n in results.notes if n.startswith(f"{gate.metric} agrees")), "no labels")
        return GateResult(gate, "failed", measured, f"the judge is not to be trusted: {note}")
    if gate.not_worse:
        if baseline is None and skip:
            return GateResult(gate, "skipped", measured, "there is no baseline to compare with")
        if baseline is None:
            raise InputError(
                f"The gate {str(gate)!r} needs a baseline: --baseline RESULTS.jsonl, or --no-baseline for "
                "the first run."
            )
        return _against(gate, results, baseline)
    return _absolute(gate, list(means.values()), mean, measured)


def _measure(gate: Gate, results: Results) -> GateResult:
    values = [measure_of(trial, gate.metric) for trial in ordered(results)]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return GateResult(
            gate, "failed", "not known", f"{gate.metric} is not known for every trial: set prices"
        )
    mean = fmean(known)
    good = gate.at_most is not None and mean <= gate.at_most
    return GateResult(gate, "passed" if good else "failed", f"{mean:.6g} a trial")


def _absolute(gate: Gate, values: list[float], mean: float, measured: str) -> GateResult:
    if gate.level is None:
        good = (
            mean >= gate.at_least - 1e-12
            if gate.at_least is not None
            else mean <= (gate.at_most or 0) + 1e-12
        )
        return GateResult(gate, "passed" if good else "failed", measured)
    from ..statistics.intervals import below_p

    if gate.at_least is not None:
        p = below_p(values, gate.at_least)
    else:
        p = below_p([1 - value for value in values], 1 - (gate.at_most or 0))
    why = f"p = {p:.3g} for a bound that is kept"
    return GateResult(gate, "failed" if p < gate.level else "passed", measured, why)


def _against(gate: Gate, results: Results, baseline: Results) -> GateResult:
    from ..statistics.intervals import difference_interval, difference_p

    old = baseline.header.cases
    shared = [case for case, content in results.header.cases.items() if old.get(case) == content]
    pairs = paired(baseline, results, gate.metric, shared)
    if not pairs:
        return GateResult(
            gate, "failed", "nothing to compare", "the baseline has no such case with this metric"
        )
    level = gate.level or results.header.level
    changes = [after - before for before, after in pairs.values()]
    mean = fmean(changes)
    low, high = difference_interval(changes, 2 * level)
    lost = sum(change < 0 for change in changes)
    gained = sum(change > 0 for change in changes)
    before = fmean(value for value, _ in pairs.values())
    measured = (
        f"{before:.3f} -> {before + mean:.3f}, {mean:+.3f} [{low:+.3f}, {high:+.3f}] over {len(pairs)} "
        f"cases, {lost} lost, {gained} gained"
    )
    worse = high < -gate.margin and (gate.margin > 0 or difference_p(changes, only_worse=True) < level)
    return GateResult(gate, "failed" if worse else "passed", measured, _why(worse, mean, gate))


def _why(worse: bool, mean: float, gate: Gate) -> str:
    if worse:
        return "it got worse, by more than chance explains"
    return "a loss, but chance may explain it" if mean < -gate.margin else ""
