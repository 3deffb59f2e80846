"""Whether a node is worse alone: B's node runs on A's inputs, again and again until that is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from ..files.results import Trial
from ..statistics.grouping import grouped
from .findings import Graft, GraftKind
from .graft import Grafting
from .screen import Healthy, Key, ScreenedNode

# A wrong name costs days, so blame is stricter than a comparison: all nodes and all looks together name a
# node that did not change in this share of `level` at most.
STRICT = 0.3
# How much of that each round may use up, and from which p-value on it is not worth going on.
LOOKS = (0.1, 0.1, 0.15, 0.2, 0.45)
HOPELESS = (0.3, 0.15, 0.1, 0.05, 0.0)
# The screen only says where to look: a node is tried when its own scores fell by more than chance alone would
# make them fall in every fourth suite, and only the likeliest ones.
UNSURE = 0.25
MOST_NODES = 6


def worth_trying(screened: Sequence[ScreenedNode]) -> list[ScreenedNode]:
    """Return the scores to try grafts on, the likeliest first."""
    fallen = [s for s in screened if s.suspect or (s.p < UNSURE and s.change < 0)]
    likely = sorted(fallen, key=lambda s: (not s.suspect, s.p))
    nodes = list(dict.fromkeys(s.node for s in likely))
    kept = {s.node for s in likely if s.suspect} | set(nodes[:MOST_NODES])
    return [s for s in likely if s.node in kept]


async def worse_alone(
    grafting: Grafting,
    score: ScreenedNode,
    before: Healthy,
    trials: Sequence[Trial],
    *,
    level: float,
    tests: int,
) -> Graft | None:
    """Run B's node on A's healthy inputs until it is surely worse, or hardly can be.

    `tests` is how many scores might be blamed. None if no input could be run.
    """
    new: dict[Key, list[float]] = {}
    graft = None
    for number, (share, hopeless) in enumerate(zip(LOOKS, HOPELESS, strict=True), 1):
        found = await grafting.node_alone(score.node, score.metric, trials, number)
        if grafting.ended:
            return graft
        for key, value in found.items():
            new.setdefault(key, []).append(value)
        old = {key: [before.values[key]] for key in new}
        graft = compared(
            score.node, score.metric, "alone", old, new, level=level, tests=tests, share=share, rounds=number
        )
        if graft is None or graft.worse or graft.p > hopeless:
            return graft
    return graft


def compared(
    node: str,
    metric: str,
    kind: GraftKind,
    old: Mapping[Key, Sequence[float]],
    new: Mapping[Key, Sequence[float]],
    *,
    level: float,
    tests: int,
    share: float = 1.0,
    rounds: int = 1,
) -> Graft | None:
    """Compare the scores by trial, each case a block; None without anything to compare.

    It is worse if no such loss comes by chance on these very cases, nor by the choice of the cases: a
    node that does better on as many as it does worse on is not to blame.
    """
    from ..statistics.blocks import worse_p
    from ..statistics.intervals import difference_interval, difference_p

    a, b = _by_case(old), _by_case(new)
    both = [case for case in a if case in b]
    if not both:
        return None
    changes = [fmean(b[case]) - fmean(a[case]) for case in both]
    p = worse_p([(a[case], b[case]) for case in both])
    sure = p * tests < level * STRICT * share and difference_p(changes, only_worse=True) < level
    return Graft(
        node=node,
        metric=metric,
        kind=kind,
        cases=len(both),
        a=fmean(fmean(a[case]) for case in both),
        b=fmean(fmean(b[case]) for case in both),
        change=fmean(changes),
        interval=difference_interval(changes, level),
        p=p,
        corrected=min(1.0, p * tests),
        worse=sure and fmean(changes) < 0,
        rounds=rounds,
    )


def _by_case(scores: Mapping[Key, Sequence[float]]) -> dict[str, list[float]]:
    return grouped((case, value) for (case, _), values in scores.items() for value in values)
