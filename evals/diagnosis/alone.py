"""Whether a node is worse alone: B's node runs on A's inputs, again and again until that is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from ..files.results import Trial
from ..statistics.grouping import grouped
from .findings import Graft, GraftKind
from .graft import Grafting
from .screen import Healthy, Key, ScreenedNode

Scores = Mapping[Key, Sequence[float]]

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


@dataclass(frozen=True)
class GraftSide:
    """One version's node on the healthy inputs that the other one's trials recorded, with their scores."""

    grafting: Grafting
    recorded: Healthy
    trials: Sequence[Trial]


async def worse_alone(
    score: ScreenedNode, onto_a: GraftSide, onto_b: GraftSide | None = None, *, level: float, tests: int
) -> Graft | None:
    """Run B's node on A's healthy inputs until it is surely worse, or hardly can be.

    With `onto_b`, A's node runs on B's inputs as often, and both sides count. `tests` is how many scores
    might be blamed. None if no input could be run.
    """
    anew: dict[Key, list[float]] = {}
    old: dict[Key, list[float]] = {}
    graft = None
    for number, (share, hopeless) in enumerate(zip(LOOKS, HOPELESS, strict=True), 1):
        judged = partial(compared, score.node, score.metric, "alone", level=level, tests=tests, share=share)
        if not await _ran(onto_a, score, number, anew):
            return graft
        sides = [({key: [onto_a.recorded.values[key]] for key in anew}, anew)]
        graft = own = judged(sides, rounds=number)
        if onto_b is not None and own is not None:
            if not await _ran(onto_b, score, number, old):
                return own
            sides.append((old, {key: [onto_b.recorded.values[key]] for key in old}))
            graft = judged(sides, rounds=number)
            if graft is not None and own.p > UNSURE:
                # What B's run alone says may be a bad day of its model: it must show on A's inputs too.
                graft = replace(graft, worse=False)
        if graft is None or graft.worse or graft.p > hopeless:
            return graft
    return graft


async def _ran(side: GraftSide, score: ScreenedNode, number: int, scores: dict[Key, list[float]]) -> bool:
    """Run a node on a side's inputs once more; False if the budget ended."""
    by_key = await side.grafting.node_alone(score.node, score.metric, side.trials, number)
    for key, value in by_key.items() if not side.grafting.ended else ():
        scores.setdefault(key, []).append(value)
    return not side.grafting.ended


def compared(
    node: str,
    metric: str,
    kind: GraftKind,
    sides: Sequence[tuple[Scores, Scores]],
    *,
    level: float,
    tests: int,
    share: float = 1.0,
    rounds: int = 1,
) -> Graft | None:
    """Compare A's and B's scores by trial, each case a block on each side; None without anything to compare.

    It is worse if no such loss comes by chance on these very cases, nor by the choice of the cases: a
    node that does better on as many as it does worse on is not to blame.
    """
    from ..statistics.blocks import worse_p
    from ..statistics.intervals import difference_interval, difference_p

    blocks = [
        (case, a[case], b[case])
        for a, b in ((_by_case(old), _by_case(new)) for old, new in sides)
        for case in a
        if case in b
    ]
    if not blocks:
        return None
    before = grouped((case, fmean(a)) for case, a, _ in blocks)
    after = grouped((case, fmean(b)) for case, _, b in blocks)
    changes = [fmean(after[case]) - fmean(before[case]) for case in before]
    p = worse_p([(a, b) for _, a, b in blocks])
    sure = p * tests < level * STRICT * share and difference_p(changes, only_worse=True) < level
    return Graft(
        node=node,
        metric=metric,
        kind=kind,
        cases=len(before),
        a=fmean(map(fmean, before.values())),
        b=fmean(map(fmean, after.values())),
        change=fmean(changes),
        interval=difference_interval(changes, level),
        p=p,
        corrected=min(1.0, p * tests),
        worse=sure and fmean(changes) < 0,
        rounds=rounds,
    )


def _by_case(scores: Scores) -> dict[str, list[float]]:
    return grouped((case, value) for (case, _), values in scores.items() for value in values)
