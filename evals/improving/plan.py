"""What a search for a better prompt is going to do and cost: all of it known before anything is paid."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from random import Random

from ...nodes.costs import cost_of, least
from ...state.budget import Budget, Budgets, ThreadBudgets
from ...state.errors import InputError, did_you_mean
from ..scoring.score import NODE
from ..suite.check import metrics_of
from ..suite.model import COMPLETED, MEASURES, Suite
from ..suite.targets import Target


@dataclass(frozen=True)
class ImprovePlan:
    """What is going to happen, told before anything is paid."""

    run: str
    node: str
    metric: str
    searched: tuple[str, ...]
    held_out: tuple[str, ...]
    repeats: int
    seed: int
    rounds: int
    level: float
    budget: Budget
    least_calls: int


def planned(
    suite: Suite,
    target: Target,
    node: str,
    metric: str | None,
    run: str,
    seed: int,
    share: float,
    rounds: int,
    level: float | None,
    budgets: Budgets | None,
) -> ImprovePlan:
    level = suite.level if level is None else level
    if not 0 < share < 1:
        raise InputError(f"held_out = {share:g}; expected a share between 0 and 1, such as 0.5.")
    own = ThreadBudgets.of(budgets).own
    cases = sorted(case.id for case in suite.cases)
    Random(f"improve/{seed}").shuffle(cases)  # noqa: S311
    held = cases[: round(len(cases) * share)]
    fewest = least_decisive(level)
    if len(held) < fewest or len(cases) - len(held) < 2:
        raise InputError(
            f"{suite.name} has {len(cases)} cases, of which {len(held)} would be held out. The test at "
            f"level {level:g} can never say better with fewer than {fewest} of them, and the search needs 2: "
            f"take at least {ceil(max(fewest / share, 2 / (1 - share)))} cases. Nothing was paid."
        )
    per_trial = int(least(cost_of(target.graph)))
    calls = suite.repeats * (len(cases) * per_trial + len(held)) + 1
    if own is None or (own.usd is None and own.calls is None and own.tokens is None):
        raise InputError(
            "Say what it may cost, in calls or US dollars: --budget calls=N, --budget usd=N (in Python: "
            f"budget=Budget(calls=N)). The old prompt on all {len(cases)} cases and a new one on the "
            f"{len(held)} held-out ones take at least {calls} calls; the search comes on top. Nothing was "
            "paid."
        )
    if own.calls is not None and own.calls < calls:
        raise InputError(
            f"{own.calls} calls are too few: the old prompt on all {len(cases)} cases and a new one on the "
            f"{len(held)} held-out ones take at least {calls}; the search comes on top. Nothing was paid."
        )
    return ImprovePlan(
        run=run,
        node=node,
        metric=_metric(suite, node, metric),
        searched=tuple(case for case in cases if case not in held),
        held_out=tuple(held),
        repeats=suite.repeats,
        seed=seed,
        rounds=rounds,
        level=level,
        budget=own,
        least_calls=calls,
    )


def least_decisive(level: float) -> int:
    """Return how many cases must get better, with none worse, before the paired test says so."""
    count = 1
    while 2 * 0.5**count >= level:
        count += 1
    return count


def _metric(suite: Suite, node: str, wanted: str | None) -> str:
    known = [name for name in metrics_of(suite) if name not in MEASURES]
    if wanted is not None:
        if wanted not in known:
            raise InputError(f"The suite does not measure {wanted!r}. {did_you_mean(wanted, known)}")
        return wanted
    own = own_metrics(suite, node)
    gated = [gate.metric for gate in suite.gates if gate.metric in known]
    inner = {e.name for e in suite.evaluators if e.node is not None}
    whole = [n for n in known if n != COMPLETED and n not in inner and not n.startswith(NODE)]
    return next(iter([*own, *gated, *whole, COMPLETED]))


def own_metrics(suite: Suite, node: str) -> list[str]:
    """Return the scores that are of this node alone."""
    own = [e.name for e in suite.evaluators if e.node == node]
    known = metrics_of(suite)
    return own + [name for name in (f"{NODE}{node}", f"route:{node}") if name in known]
