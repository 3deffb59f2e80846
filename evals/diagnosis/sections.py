"""What blame says, as sections for terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..report.sections import Section, Table, between, comparison_sections, money
from ..statistics.grouping import grouped
from .findings import Blame, Graft
from .locate import RunDiagnosis

KINDS = {"alone": "the node alone", "onward": "all of B from there", "back": "B with the old node"}


def blame_sections(blame: Blame) -> list[Section]:
    """Return who is to blame, and what speaks for it."""
    compared = comparison_sections(blame.comparison) if blame.comparison.differences else []
    return [_head(blame), *_screened(blame), *_grafts(blame), *compared]


def _head(blame: Blame) -> Section:
    lines = [f"A is {blame.a}, B is {blame.b}."]
    if blame.verdict == "blamed":
        title = f"{blame.node} got worse, confirmed by graft"
        lines.append(f"It is the first one: {blame.why}.")
    elif blame.verdict == "suspected":
        title = f"{blame.node} is suspected, not confirmed"
        lines.append(f"Why: {blame.why}.")
    else:
        title = "Undecided: no node can be blamed"
        lines.append(f"Why: {blame.why}.")
        lines.append("That does not mean that nothing got worse; see what these cases could see.")
    if blame.also:
        lines.append(f"Also worse on A's inputs, confirmed by graft: {', '.join(blame.also)}.")
    if blame.repaired is not None:
        lines.append(_repair(blame))
    if blame.among:
        lines.append(f"Grafts point to {_one_of(blame.among)}, but such a loss may still be chance.")
    lines += [f"Not grafted: {count} runs: {reason}." for reason, count in blame.left_out.items()]
    if not blame.complete:
        lines.append("PARTIAL: the budget of the grafts ended. The same command goes on under a larger one.")
    lines.append(f"the grafts cost {money(blame.cost)}")
    return Section(title, tuple(lines))


def _repair(blame: Blame) -> str:
    graft = next(graft for graft in reversed(blame.grafts) if graft.kind == "back")
    means = f"{graft.metric} {graft.b:.3f} with B's node, {graft.a:.3f} with A's, from the same states"
    if blame.repaired:
        return f"Putting the old node back repairs it: {means}."
    return f"Putting the old node back does not repair it beyond chance: {means}."


def _one_of(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"one of {', '.join(nodes)}"


def _screened(blame: Blame) -> Iterator[Section]:
    if not blame.screened:
        return
    head = ("node", "score", "A", "B", "change", "interval", "p (Holm)", "could see", "cases", "verdict")
    rows = tuple(
        (
            s.node,
            s.metric,
            f"{s.a:.3f}",
            f"{s.b:.3f}",
            f"{s.change:+.3f}",
            between(s.interval, "+"),
            f"{s.corrected:.3g}",
            "-" if s.smallest is None else f"{s.smallest:.3f}",
            str(s.cases),
            "worse" if s.suspect else "undecided",
        )
        for s in blame.screened
    )
    lines = ("Each node's scores in the trials in which nothing before it was bad.",)
    yield Section("Nodes on healthy inputs", lines, Table(head, rows))


def _grafts(blame: Blame) -> Iterator[Section]:
    if not blame.grafts:
        return
    head = (
        "node",
        "score",
        "graft",
        "A",
        "B",
        "change",
        "interval",
        "p (all)",
        "cases",
        "times",
        "verdict",
    )
    lines = ("B's nodes from recorded states, beside what A did from there.",)
    yield Section("Grafts", lines, Table(head, tuple(map(_graft_row, blame.grafts))))


def _graft_row(graft: Graft) -> tuple[str, ...]:
    return (
        graft.node,
        graft.metric,
        KINDS[graft.kind],
        f"{graft.a:.3f}",
        f"{graft.b:.3f}",
        f"{graft.change:+.3f}",
        between(graft.interval, "+"),
        f"{graft.corrected:.3g}",
        str(graft.cases),
        str(graft.rounds),
        "worse" if graft.worse else "undecided",
    )


def located_sections(result: RunDiagnosis) -> list[Section]:
    """Return where a run went wrong."""
    lines = [f"{result.thread}, measured by the case {result.case}."]
    first = result.first
    if first is None:
        title = "It went as expected"
        lines.append("Nothing that the case expects is amiss.")
    else:
        title = f"It went wrong at {first.node}"
        lines.append(str(first))
    if result.judged:
        lines.append(f"Judges were not asked: {', '.join(result.judged)}.")
    by_place = grouped((divergence.place, str(divergence)) for divergence in result.divergences)
    rows = tuple(
        (str(place + 1), node, "; ".join(by_place.get(place, ())) or "as expected, or not checked")
        for place, node in enumerate(result.path)
    )
    late = tuple(
        ("-", divergence.node, str(divergence))
        for divergence in result.divergences
        if divergence.place >= len(result.path)
    )
    return [Section(title, tuple(lines), Table(("#", "node", "what"), (*rows, *late), numbers=False))]
