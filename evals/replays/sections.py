"""The report of a replay as sections, for a terminal, Markdown or an HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from ...state.json_text import json_text
from ..report.sections import Section, Table, comparison_sections, money, sentence
from .cases import CaseDifference
from .replay import ReplayReport

MOST_CASES = 200
SHOWN = 60


def replay_sections(report: ReplayReport, everything: bool = False) -> list[Section]:
    """Return all that a replay has to say: the sum first, then the cases that differ, or all."""
    sections = [_head(report)]
    sections += comparison_sections(report.comparison, "Compared with what is on record")
    if report.departures:
        rows = tuple(
            (node, str(number))
            for node, number in sorted(report.departures.items(), key=lambda item: -item[1])
        )
        sections.append(
            Section("Where they departed from the record first", table=Table(("node", "cases"), rows))
        )
    cases = [case for case in report.cases if everything or case.what or case.stopped or case.departure]
    if cases:
        sections.append(_cases(cases))
    if report.plan.left_out:
        sections.append(Section("Left out", report.plan.left_out[:MOST_CASES]))
    return sections


def _head(report: ReplayReport) -> Section:
    plan, ran = report.plan, [case for case in report.cases if case.ran]
    differ = report.differing
    stopped = [case for case in ran if case.stopped]
    lines = [
        f"{plan.graph or 'a graph given in Python'}: {len(ran)} of {len(plan.cases)} runs replayed, of "
        f"{plan.found} that fit {plan.runs!r} (seed {plan.seed})",
        f"{len(differ)} differ: {_counted(differ)}" if differ else "None differs.",
    ]
    if report.dry_run:
        lines.append("DRY RUN: no new call was made. Each case goes as far as the record does.")
    elif not report.complete:
        lines.append("PARTIAL: the budget ended or the replay was stopped. The same command goes on.")
    if stopped:
        lines.append(f"{len(stopped)} did not get to their end: the cases say why.")
    lines.append(f"paid {money(report.paid)}; judge {money(report.judged)}")
    preferred = report.comparison.of("preferred")
    if preferred is not None:
        chosen = [case.preferred for case in ran if case.preferred]
        counts = ", ".join(f"{chosen.count(name)} {name}" for name in ("change", "recorded", "tie"))
        lines.append(f"chosen as better: {counts}. {sentence(preferred)}")
    return Section(f"Replay {plan.name}", tuple(lines))


def _counted(cases: list[CaseDifference]) -> str:
    names = ("status", "route", "values")
    return ", ".join(f"{sum(name in case.what for case in cases)} in {name}" for name in names)


def _cases(cases: list[CaseDifference]) -> Section:
    rows = tuple(
        (
            case.origin,
            case.thread,
            "-" if case.departure is None else f"{case.departure.node}: {case.departure.why}",
            "; ".join(_differences(case)) or "the same",
            "-" if case.preferred is None else case.preferred,
        )
        for case in cases[:MOST_CASES]
    )
    lines = (f"The first {MOST_CASES} of {len(cases)}.",) if len(cases) > MOST_CASES else ()
    head = ("recorded", "replayed", "first departs", "what differs", "better")
    return Section("Cases", lines, Table(head, rows, numbers=False))


def _differences(case: CaseDifference) -> Iterator[str]:
    if case.stopped:
        yield case.stopped
    if "status" in case.what:
        yield f"status: {case.recorded.status} -> {case.replayed.status}"
    if "route" in case.what:
        before, after = (
            ", ".join(choice for _, choice in side.routes) or "none"
            for side in (case.recorded, case.replayed)
        )
        yield f"route: {before} -> {after}"
    for name, (before, after) in case.differs.items():
        yield f"{name}: {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json_text(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
