"""Which node makes the whole run worse: B goes on from A's states before and after each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ...state.event_loops import in_thread
from ..files.results import Trial
from ..statistics.grouping import grouped
from .alone import STRICT
from .findings import Announce, Graft, GraftPlan
from .graft import Grafting
from .places import Place, Stage, places_of
from .screen import Key
from .turning import Going, indistinct, likelihoods, losses

LOOKS = (0.2, 0.3, 0.5)
HOPELESS = 0.3
SURE = 0.95
"""In so many of the resampled suites the same node must explain the loss best."""
POSSIBLE = 0.05


@dataclass
class Onward:
    """B goes on from A's states; `among` says what came of it.

    `trials` are A's, `ends` what a score of the whole run said of them.
    """

    grafting: Grafting
    trials: Sequence[Trial]
    ends: Mapping[Key, float]
    metric: str
    level: float
    announce: Announce
    grafts: list[Graft] = field(default_factory=list)
    among: tuple[str, ...] = ()
    _scores: dict[tuple[Key, str], list[float]] = field(default_factory=dict)
    _stages: dict[Key, list[Stage]] = field(default_factory=dict)

    async def run(self) -> str | None:
        """Return the node whose work in B makes the result worse, None if nobody can tell."""
        for trial in self.trials:
            if trial.key in self.ends:
                stages = await in_thread(places_of, self.grafting.session, trial.thread)
                self._stages[trial.key] = stages
        nodes = self._nodes()
        self.announce(GraftPlan("onward", tuple(nodes), len(LOOKS) * len(self._points(nodes))))
        candidates: Sequence[str] = nodes
        for number, share in enumerate(LOOKS, 1):
            scores = await self.grafting.from_places(self._points(candidates), self.metric, number)
            if self.grafting.ended:
                return None
            for place, score in scores.items():
                self._scores.setdefault(place, []).append(score)
            chosen = self._judged(nodes, share, number)
            if chosen is not None or not self.among:
                return chosen
            candidates = [node for label in self.among for node in label.split(" + ")]
        return None

    def _nodes(self) -> list[str]:
        """Return the innermost nodes in the order in which they usually run."""
        ranks = grouped((s.node, n) for own in self._stages.values() for n, s in enumerate(own))
        return sorted(ranks, key=lambda node: fmean(ranks[node]))

    def _points(self, nodes: Sequence[str]) -> list[tuple[Trial, Place]]:
        """Return the states before and after nodes, each once."""
        return [
            (trial, place)
            for trial in self.trials
            for place in dict.fromkeys(
                place
                for stage in self._stages.get(trial.key, ())
                if stage.node in nodes
                for place in (stage.before, stage.after)
                if place is not None
            )
        ]

    def _judged(self, nodes: Sequence[str], share: float, rounds: int) -> str | None:
        """Say who it is, or set the nodes among which it must be."""
        from ..statistics.intervals import difference_p

        goings = self._goings()
        groups = indistinct(goings, nodes)
        labels = {group[0]: " + ".join(group) for group in groups}
        self.grafts = [
            graft
            for node, label in labels.items()
            if (graft := self._beside(node, label, len(nodes), rounds))
        ]
        if not goings or not self.grafts:
            return None
        likely = likelihoods(goings, list(labels))
        best = max(likely, key=lambda node: likely[node])
        p = difference_p(list(losses(goings, best).values()), only_worse=True)
        self.among = tuple(labels[node] for node in labels if likely[node] > POSSIBLE)
        if p > HOPELESS:
            self.among = ()
        chosen = next((graft for graft in self.grafts if graft.node == labels[best]), None)
        strict = p * len(nodes) < self.level * STRICT * share and likely[best] >= SURE
        if not strict or chosen is None or chosen.p >= self.level or chosen.change >= 0:
            return None
        self.grafts = [graft.as_worse() if graft is chosen else graft for graft in self.grafts]
        return labels[best]

    def _goings(self) -> dict[Key, list[Going]]:
        goings = {}
        for key, stages in self._stages.items():
            places = dict.fromkeys(p for s in stages for p in (s.before, s.after) if p is not None)
            own = [Going(p.anew, tuple(self._scores.get((key, p.key), ()))) for p in places]
            goings[key] = [going for going in own if going.scores]
            goings[key].append(Going(frozenset(), (self.ends[key],)))  # A's own result: B ran nothing
        return goings

    def _beside(self, node: str, label: str, tests: int, rounds: int) -> Graft | None:
        """Compare B from before a node with B from after it: they differ by that node alone."""
        from ..statistics.intervals import difference_interval, difference_p

        before: list[tuple[str, float]] = []
        after: list[tuple[str, float]] = []
        for key, stages in self._stages.items():
            stage = next((stage for stage in stages if stage.node == node), None)
            if stage is None:
                continue
            worse = self._scores.get((key, stage.before.key), ())
            better = [self.ends[key]] if stage.after is None else self._scores.get((key, stage.after.key), ())
            if worse and better:
                before.append((key[0], fmean(worse)))
                after.append((key[0], fmean(better)))
        a, b = ({case: fmean(own) for case, own in grouped(side).items()} for side in (after, before))
        if not a:
            return None
        changes = [b[case] - a[case] for case in a]
        p = difference_p(changes, only_worse=True)
        return Graft(
            node=label,
            metric=self.metric,
            kind="onward",
            cases=len(a),
            a=fmean(a.values()),
            b=fmean(b.values()),
            change=fmean(changes),
            interval=difference_interval(changes, self.level),
            p=p,
            corrected=min(1.0, p * tests),
            worse=False,
            rounds=rounds,
        )
