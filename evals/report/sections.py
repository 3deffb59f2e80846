"""A report as sections of text and tables, for whatever shows them: terminal, Markdown, HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...state.cost import NOTHING, Cost
from ...state.money import shown
from ..files.results import Trial
from ..statistics.compare import Comparison, Difference
from ..statistics.confusion import Confusion
from ..statistics.grouping import grouped
from ..statistics.survival import RoundStatistics
from .summary import Metric, Report

MAX_BAD = 50
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first column is text, `numbers` says that the others are figures."""

    head: Row
    rows: tuple[Row, ...]
    numbers: bool = True


@dataclass(frozen=True)
class Section:
    """A title, lines of text, then a table."""

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


def sections(report: Report) -> list[Section]:
    """Return all that a report has to say, the verdict first."""
    result = [_head(report)]
    if report.gates:
        rows = tuple((r.status, str(r.gate), r.measured, r.why) for r in report.gates)
        result.append(
            Section("Gates", table=Table(("gate", "bound", "measured", "why"), rows, numbers=False))
        )
    result.append(_metrics(report.metrics))
    if report.comparison is not None:
        result += comparison_sections(report.comparison)
    result += _bad(report)
    result += [_confusion(path, table) for path, table in report.confusions.items()]
    if report.rounds:
        result.append(_rounds(report.rounds))
    if report.votes:
        votes = tuple(
            (v.path, str(v.votes), "-" if v.agreement is None else f"{v.agreement:.2f}", str(v.uncertain))
            for v in report.votes
        )
        result.append(Section("Votes", table=Table(("vote", "votes", "agreement", "uncertain"), votes)))
    if report.cuts:
        cuts = tuple((c.limit, str(c.trials), ", ".join(c.missing) or "-") for c in report.cuts)
        head = ("limit", "trials cut", "not run")
        result.append(Section("What budgets cut", table=Table(head, cuts, numbers=False)))
    if len(report.roles) > 1:
        result.append(_roles(report))
    if report.notes:
        result.append(Section("Judges", report.notes))
    return result


def _head(report: Report) -> Section:
    header = report.header
    what = header.graph or "a graph given in Python"
    if header.node:
        what = f"{header.node} of {what}"
    done = f"{report.wanted} trials" if report.complete else f"{len(report.trials)} of {report.wanted} trials"
    states = ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items()))
    lines = [f"{what}: {done} of {len(header.cases)} cases x {header.repeats} ({states or 'none'})"]
    if not report.complete:
        lines.append(
            "PARTIAL: the budget ended or the run was stopped. The figures are of the trials so far."
        )
    if header.models:
        lines.append("models: " + ", ".join(f"{role}={spec}" for role, spec in header.models.items()))
    middle, late = report.seconds
    lines.append(f"cost {money(report.cost)}; judges {money(report.judged)}")
    lines.append(f"time of a trial: median {middle:.3g} s, 95th percentile {late:.3g} s")
    return Section(f"{header.suite}: {report.outcome} (run {header.run})", tuple(lines))


def money(cost: Cost) -> str:
    """Return a cost for a reader; what is unknown is said, never counted as nothing."""
    if not cost.calls:
        return "nothing"
    unknown = f" + {cost.unknown} calls of unknown cost" if cost.unknown else ""
    unknown += f" (estimated at most ${shown(cost.estimated_usd)})" if cost.estimated_usd else ""
    counted = f"{cost.tokens} + estimated {cost.estimated_tokens}" if cost.estimated_tokens else cost.tokens
    return f"${shown(cost.known_usd)}{unknown} for {cost.calls} calls, {counted} tokens"


def between(interval: tuple[float, float] | None, sign: str = "") -> str:
    return "-" if interval is None else f"[{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def _metrics(metrics: Sequence[Metric]) -> Section:
    rows = tuple(
        (
            metric.name,
            "-" if metric.mean is None else f"{metric.mean:.3f}",
            between(metric.interval),
            str(metric.cases),
            str(metric.failed),
            str(metric.unscored),
        )
        for metric in metrics
    )
    head = ("metric", "mean", "95 % interval", "cases", "failed trials", "unscored")
    return Section("Metrics", table=Table(head, rows))


def comparison_sections(comparison: Comparison, title: str = "Compared with the baseline") -> list[Section]:
    """Return what a comparison says."""
    rows = tuple(
        (
            d.metric,
            f"{d.a:.3f}",
            f"{d.b:.3f}",
            f"{d.change:+.3f}",
            between(d.interval, "+"),
            f"{d.corrected:.3g}",
            "-" if d.smallest is None else f"{d.smallest:.3f}",
            f"+{d.gained} -{d.lost} of {d.cases}",
            d.verdict,
        )
        for d in comparison.differences
    )
    sure = round((1 - comparison.level) * 100, 3)
    head = ("metric", "A", "B", "change", f"{sure:g} % interval", "p (Holm)", "could see", "cases", "verdict")
    decided = [d for d in comparison.differences if d.verdict != "undecided"]
    lines = [f"A is {comparison.a}, B is {comparison.b}.", *map(sentence, decided)]
    if len(decided) < len(comparison.differences):
        rest = ", ".join(d.metric for d in comparison.differences if d.verdict == "undecided")
        lines.append(f"Undecided, so perhaps equal, perhaps not: {rest}.")
    if comparison.left_out:
        shown = "; ".join(comparison.left_out[:10]) + (" …" if len(comparison.left_out) > 10 else "")
        lines.append(f"Not compared: {len(comparison.left_out)} ({shown})")
    sections = [Section(title, tuple(lines), Table(head, rows))] if rows else []
    if not comparison.changes:
        return sections
    measures = tuple(
        (
            c.measure,
            f"{c.a:.6g}",
            f"{c.b:.6g}",
            f"{c.change:+.6g}",
            "-" if c.interval is None else f"[{c.interval[0]:+.6g}, {c.interval[1]:+.6g}]",
            str(c.unknown),
        )
        for c in comparison.changes
    )
    columns = ("a trial's", "A", "B", "change", "95 % interval", "cases unknown")
    return [*sections, Section("Cost and time", table=Table(columns, measures))]


def sentence(difference: Difference) -> str:
    """Return a difference in words."""
    moved = f"{difference.a:.3f} -> {difference.b:.3f} on {difference.cases} cases"
    if difference.verdict != "undecided":
        how = f"p = {difference.corrected:.2g}, {difference.test}"
        return f"{difference.metric} got {difference.verdict}: {moved} ({how})."
    note = (
        ""
        if difference.smallest is None
        else f"; these cases would show a change of {difference.smallest:.2f} or more"
    )
    return f"{difference.metric} is undecided: {moved}{note}."


def _bad(report: Report) -> Iterator[Section]:
    if not report.bad:
        return
    rows = tuple((t.case, str(t.repeat), problem_of(t), t.thread) for t in report.bad[:MAX_BAD])
    more = len(report.bad) - MAX_BAD
    lines = (f"{more} more are in the results' file.",) if more > 0 else ()
    head = ("case", "repeat", "what failed", "thread")
    yield Section(f"Trials that failed: {len(report.bad)}", lines, Table(head, rows, numbers=False))


def problem_of(trial: Trial) -> str:
    """Return what failed in a trial, in one text."""
    failed = ((name, score) for name, score in trial.scores.items() if score.passed is False)
    reasons = grouped((score.reason, name) for name, score in failed)
    return "; ".join(
        f"{', '.join(names)}: {why}" if why else ", ".join(names) for why, names in reasons.items()
    )


def _confusion(path: str, table: Confusion) -> Section:
    rows = tuple(
        (expected, *(str(table.counts[expected, actual] or "·") for actual in table.labels))
        for expected in table.labels
    )
    head = ("expected \\ taken", *table.labels)
    title = f"Route {path}: {table.right} of {table.total} right" if path else "Routes"
    return Section(title, table=Table(head, rows))


def _roles(report: Report) -> Section:
    """Say what each model role used, and what the main agent's roles and all of them used together."""
    costs = dict(sorted(report.roles.items()))
    own = [cost for role, cost in costs.items() if role in report.header.main]
    if own:
        costs["main agent"] = sum(own, NOTHING)
    costs["all agents"] = sum(report.roles.values(), NOTHING)
    rows = tuple(
        (role, str(c.calls), str(c.input_tokens), str(c.output_tokens), str(c.tokens))
        for role, c in costs.items()
    )
    lines = (f"main agent: {', '.join(report.header.main)}",) if own else ()
    return Section("Tokens by role", lines, Table(("role", "calls", "input", "output", "tokens"), rows))


def _rounds(statistics: Sequence[RoundStatistics]) -> Section:
    most = min(max(rounds.last for rounds in statistics), 12)
    rows = tuple(
        (
            rounds.path or "(the graph)",
            *(_round(rounds, number) for number in range(1, most + 1)),
            str(rounds.hopeless),
            str(rounds.suggested or "-"),
        )
        for rounds in statistics
    )
    head = ("loop", *(f"round {n}" for n in range(1, most + 1)), "unchanged", "suggested limit")
    lines = (
        "approved + stopped without approval in each round, and the estimated share approved by then "
        "(Kaplan-Meier)",
    )
    return Section("Rounds of loops", lines, Table(head, rows))


def _round(rounds: RoundStatistics, number: int) -> str:
    share = f" {rounds.share[number]:.0%}" if number in rounds.share else ""
    return f"{rounds.approved.get(number, 0)}+{rounds.stopped.get(number, 0)}{share}"
