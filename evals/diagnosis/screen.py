"""Which node seems to have got worse: its scores in A and B where all before it went well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..files.results import Results, Trial
from ..scoring.score import NODE
from ..statistics.compare import means_by_case, ordered
from ..suite.model import COMPLETED, Suite
from ..suite.topology import Topology

ROUTE = "route"
ENDED = "ended"
"""The score of a node that raised no error, beside its scores from the suite."""

Key = tuple[str, int]
Failing = Callable[[Trial], str | None]


@dataclass(frozen=True)
class ScreenedNode:
    """One score of one node over the cases in which, in both versions, its input was healthy.

    `change` is B minus A, `p` the p-value of "not worse", `corrected` the same after Holm's correction for
    all nodes and scores.
    `smallest` is the smallest change that these cases would have shown in four runs of five.
    """

    node: str
    metric: str
    cases: int
    a: float
    b: float
    change: float
    interval: tuple[float, float]
    p: float
    corrected: float
    smallest: float | None
    suspect: bool


@dataclass(frozen=True)
class Healthy:
    """The scores of one node's metric by trial, of the trials in which nothing before the node was bad."""

    node: str
    metric: str
    values: Mapping[Key, float]

    def means(self) -> dict[str, float]:
        """Return each case's mean over its trials."""
        return means_by_case((case, value) for (case, _), value in self.values.items())


def owners(suite: Suite, results: Sequence[Results]) -> dict[str, str]:
    """Return the node that each metric of a node speaks of: its expectations, evaluators and routes."""
    by_metric = {e.name: e.node for e in suite.evaluators if e.node is not None}
    trials = [trial for one in results for trial in ordered(one)]
    first = Counter(trial.routes[0].path for trial in trials if trial.routes)
    for name in dict.fromkeys(name for trial in trials for name in trial.scores):
        if name.startswith(NODE):
            by_metric.setdefault(name, name.removeprefix(NODE))
        elif name.startswith(f"{ROUTE}:"):
            by_metric.setdefault(name, name.removeprefix(f"{ROUTE}:"))
        elif name == ROUTE and first:
            by_metric.setdefault(name, first.most_common(1)[0][0])
    return by_metric


def healthy(
    results: Results, owned: Mapping[str, str], topology: Topology, failing: Failing
) -> dict[tuple[str, str], Healthy]:
    """Return the scores of every node where its input was healthy, by node and metric.

    A trial that an error ended tells only of the node that raised it: how good the others were is
    not on record.
    """
    scores: dict[tuple[str, str], dict[Key, float]] = {}
    for trial in ordered(results):
        for node, metric, value in _node_scores(trial, owned, topology, failing):
            scores.setdefault((node, metric), {})[trial.key] = value
    return {key: Healthy(*key, values) for key, values in scores.items()}


def _node_scores(
    trial: Trial, owned: Mapping[str, str], topology: Topology, failing: Failing
) -> Iterator[tuple[str, str, float]]:
    completed = trial.scores.get(COMPLETED)
    if completed is not None and completed.passed is False:
        node = failing(trial)
        if node is not None:
            yield node, ENDED, 0.0
        return
    scores = {name: trial.scores[name] for name in owned if name in trial.scores}
    bad = {owned[name] for name, score in scores.items() if score.passed is False}
    for name, score in scores.items():
        node = owned[name]
        if score.value is not None and not any(comes_before(m, node, trial, topology) for m in bad):
            yield node, name, score.value
    for node in dict.fromkeys(trial.path):
        if not any(comes_before(m, node, trial, topology) for m in bad):
            yield node, ENDED, 1.0


def comes_before(first: str, then: str, trial: Trial, topology: Topology) -> bool:
    """Tell whether what one node did may have harmed another one in a trial.

    A graph comes after what is in it. In a loop, where each node comes after the other, the one that
    began first counts.
    """
    if first == then or then.startswith(f"{first}/"):
        return False
    if first.startswith(f"{then}/"):
        return True
    if then not in topology.reachable(first):
        return False
    if first in trial.path and then in trial.path:
        return trial.path.index(first) < trial.path.index(then)
    return True


def screen(
    a: Mapping[tuple[str, str], Healthy],
    b: Mapping[tuple[str, str], Healthy],
    cases: Sequence[str],
    level: float,
) -> list[ScreenedNode]:
    """Compare each node's scores in B with A's, case by case, corrected for their number."""
    from ..statistics.intervals import difference_interval, difference_p, holm, smallest_effect

    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for key in dict.fromkeys([*a, *b]):
        if key not in a or key not in b:
            continue
        one, other = a[key].means(), b[key].means()
        both = [(one[case], other[case]) for case in cases if case in one and case in other]
        if both and (key[1] != ENDED or any(0.0 in h.values.values() for h in (a[key], b[key]))):
            pairs[key] = both
    changes = {key: [after - before for before, after in both] for key, both in pairs.items()}
    names = {key: "\n".join(key) for key in pairs}
    ps = {names[key]: difference_p(values, only_worse=True) for key, values in changes.items()}
    corrected = holm(ps)
    return [
        ScreenedNode(
            node=key[0],
            metric=key[1],
            cases=len(both),
            a=fmean(before for before, _ in both),
            b=fmean(after for _, after in both),
            change=fmean(changes[key]),
            interval=difference_interval(changes[key], level),
            p=ps[names[key]],
            corrected=corrected[names[key]],
            smallest=smallest_effect(changes[key], level),
            suspect=corrected[names[key]] < level and fmean(changes[key]) < 0,
        )
        for key, both in pairs.items()
    ]


def in_order(nodes: Sequence[str], results: Results) -> list[str]:
    """Return nodes in the order in which they usually end, graphs after what is in them."""
    places: dict[str, list[float]] = {node: [] for node in nodes}
    for trial in results.trials.values():
        for node, own in places.items():
            inside = [n for n, path in enumerate(trial.path) if path == node or path.startswith(f"{node}/")]
            if inside:
                own.append(max(inside))
    rank = {node: fmean(positions) if positions else float("inf") for node, positions in places.items()}
    return sorted(places, key=lambda node: (rank[node], -node.count("/"), nodes.index(node)))
