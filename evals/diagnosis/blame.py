"""Which node made B worse than A: screened by scores on healthy inputs, confirmed by graft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

from ...state.cost import NOTHING, Cost
from ...state.errors import InputError
from ...state.event_loops import in_thread, sync_version
from ...state.session.session import Session
from ...tracing.record.reads import read_node_runs, threads_with_calls
from ..files.results import Results, Trial
from ..running.trial import ledgers_of
from ..scoring.trial_record import cost_of
from ..statistics.compare import Comparison, Difference, compare, ordered
from ..suite.check import check_suite
from ..suite.model import COMPLETED, Suite
from ..suite.targets import shape_digest, target_of
from ..suite.topology import Compiled
from .graft import Grafting, Stage, stages_of
from .screen import Healthy, Key, ScreenedNode, healthy, in_order, owners, screen

Verdict = Literal["blamed", "suspected", "undecided"]


@dataclass(frozen=True)
class Graft:
    """What B's part does on A's recorded states, beside what A's did from there; `change` is B minus A.

    alone: the node by itself, by its own score. onward: all of B from the state before the node,
    beside all of B from the state after it, by a score of the whole run.
    """

    node: str
    metric: str
    kind: Literal["alone", "onward"]
    cases: int
    a: float
    b: float
    change: float
    interval: tuple[float, float]
    p: float
    worse: bool


@dataclass(frozen=True)
class Blame:
    """The first node that got worse from A to B.

    blamed: a graft reproduces the loss. suspected: the scores say so, but no graft was run, or the
    budget ended before. undecided: nobody can tell. `also` names nodes behind the first one of which a
    graft says the same. `left_out` counts what could not be grafted, by reason.
    """

    a: str
    b: str
    level: float
    verdict: Verdict
    node: str | None
    why: str
    comparison: Comparison
    screened: tuple[ScreenedNode, ...]
    grafts: tuple[Graft, ...]
    also: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    cost: Cost = NOTHING
    complete: bool = True


async def ablame(
    a: Results,
    b: Results,
    suite: Suite,
    graph: Compiled,
    session: Session,
    *,
    graft: bool = True,
    level: float | None = None,
) -> Blame:
    """Say which node made B worse than A.

    `graph` is B's, with B's models bound, and the session's file holds A's runs. Nodes that have
    scores of their own are compared where all before them went well; those that got worse run alone on
    the states that A recorded. Where that tells nothing but the runs got worse as a whole, B goes on
    from A's states before and after each node of the outer graph. `suite.budget` limits the grafts; a
    call with the same runs goes on with them.
    """
    if suite.node is not None:
        raise InputError(
            f"The suite {suite.name!r} runs {suite.node} alone, so there is no other node to blame."
        )
    check_suite(suite, target_of(graph))
    work = _BlameRun(a, b, suite, graph, session, b.header.level if level is None else level)
    await in_thread(work.prepare)
    return await work.decide(graft=graft)


blame = sync_version(ablame)


class _BlameRun:
    def __init__(
        self, a: Results, b: Results, suite: Suite, graph: Compiled, session: Session, level: float
    ) -> None:
        self._a, self._b = a, b
        self._suite, self._session, self._level = suite, session, level
        shape = shape_digest(graph)
        if b.header.shape and b.header.shape != shape:
            raise InputError(
                f"The run {b.header.run!r} is of a graph with other nodes or edges than {graph.name!r} has "
                "now. Blame needs the version B at hand: check it out, or name it with --graph."
            )
        self._same_shape = a.header.shape == shape
        self._graph = graph
        self._topology = target_of(graph).topology
        self._run = f"{b.header.run}.{a.header.run}"
        self._grafts: list[Graft] = []
        self._healthy: dict[tuple[str, str], Healthy] = {}
        self._screened: list[ScreenedNode] = []

    def prepare(self) -> None:
        """Compare the versions and screen the nodes: nothing is asked."""
        self._comparison = compare(self._a, self._b, self._level)
        old = self._a.header.cases
        ours = {case.id: case.digest for case in self._suite.cases}
        self._cases = [
            case
            for case, content in self._b.header.cases.items()
            if old.get(case) == content and ours.get(case) == content
        ]
        self._owned = owners(self._suite, [self._a, self._b])
        self._healthy = healthy(self._a, self._owned, self._topology, self._failing)
        theirs = healthy(self._b, self._owned, self._topology, self._failing)
        self._screened = screen(self._healthy, theirs, self._cases, self._level)
        ledgers = ledgers_of(self._session, self._suite.budget, self._paid)
        self._grafting = Grafting(
            self._session, self._graph, self._suite, self._run, shape=self._b.header.shape, ledgers=ledgers
        )

    async def decide(self, *, graft: bool) -> Blame:
        # Scores alone only make a suspect: a node may score worse by chance, or because of what came before
        # it in a way that no score tells. A graft runs B's node on A's inputs, so that nothing else differs.
        suspects = in_order(list(dict.fromkeys(s.node for s in self._screened if s.suspect)), self._b)
        if suspects and not graft:
            return self._blame("suspected", suspects[0], "its scores on healthy inputs; no graft was run")
        confirmed = [node for node in suspects if await self._is_worse_alone(node)]
        untold = [node for node in suspects if not any(graft.node == node for graft in self._grafts)]
        if confirmed:
            why = "B's node does worse on the inputs that A recorded"
            if before := [node for node in untold if suspects.index(node) < suspects.index(confirmed[0])]:
                why += f"; {', '.join(before)} before it could not be grafted"
            return self._blame("blamed", confirmed[0], why, confirmed[1:])
        if self._grafting.ended and suspects:
            node = (untold or suspects)[0]
            return self._blame("suspected", node, "the budget ended before a graft could tell")
        if untold:
            why = "its scores on healthy inputs; A's states of it are not on record, so no graft could tell"
            return self._blame("suspected", untold[0], why)
        # No node has scores of its own that tell, so the whole run's score must: B goes on from A's states.
        lost = self._lost()
        why = "no score got worse beyond chance"
        if suspects:
            why = f"{', '.join(suspects)} scored worse, but not on the inputs that A recorded"
        if lost is None:
            return self._blame("undecided", None, why)
        why = f"{lost.metric} got worse, but no single node could be told"
        if not graft:
            return self._blame("undecided", None, f"{why}; no graft was run")
        if not self._same_shape:
            return self._blame("undecided", None, f"{why}: A's graph had other nodes or edges")
        first = await self._first_worse_onward(lost.metric)
        if self._grafting.ended:
            return self._blame("undecided", None, f"{why} before the budget ended")
        if first is None:
            return self._blame("undecided", None, why)
        told = f"B does worse in {lost.metric} from A's state before it than from the one after it"
        return self._blame("blamed", first, told)

    def _blame(self, verdict: Verdict, node: str | None, why: str, also: Sequence[str] = ()) -> Blame:
        return Blame(
            a=self._a.header.run,
            b=self._b.header.run,
            level=self._level,
            verdict=verdict,
            node=node,
            why=why,
            comparison=self._comparison,
            screened=tuple(self._screened),
            grafts=tuple(self._grafts),
            also=tuple(also),
            left_out=Counter(self._grafting.left_out.values()),
            cost=self._paid(),
            complete=not self._grafting.ended,
        )

    def _paid(self) -> Cost:
        """Return what the grafts have cost so far, in earlier calls and by judges too."""
        prefix = f"eval/{self._run}/"
        journal = self._session.journal
        return cost_of(journal, threads_with_calls(journal, prefix))

    def _failing(self, trial: Trial) -> str | None:
        """Return the innermost node that raised the error which ended a trial."""
        rows = read_node_runs(self._session.journal, trial.thread)
        failed = [row for row in rows if row["status"] == "failed"]
        return max(failed, key=lambda row: row["task"].count("|"))["path"] if failed else None

    def _lost(self) -> Difference | None:
        """Return the score of whole runs that most surely got worse."""
        ends = [d for d in self._comparison.differences if d.metric not in self._owned]
        worse = [d for d in ends if d.verdict == "worse"]
        return min(worse, key=lambda d: (d.corrected, d.metric == COMPLETED), default=None)

    async def _is_worse_alone(self, node: str) -> bool:
        """Run B's node on A's healthy inputs; any of the scores that got worse may tell."""
        found = False
        for screened in [s for s in self._screened if s.node == node and s.suspect]:
            before = self._healthy[node, screened.metric]
            trials = [t for t in ordered(self._a) if t.key in before.values and t.case in self._cases]
            after = await self._grafting.node_alone(node, screened.metric, trials)
            if self._grafting.ended:
                return found
            both = [key for key in after if key in before.values]
            old, new = ({key: values[key] for key in both} for values in (before.values, after))
            graft = _graft(node, screened.metric, "alone", old, new, self._level)
            if graft is not None:
                self._grafts.append(graft)
                found = found or graft.worse
        return found

    async def _first_worse_onward(self, metric: str) -> str | None:
        """Let B go on from A's states before and after each node; the first step down is the node's."""
        from ..statistics.intervals import holm

        trials = [t for t in ordered(self._a) if t.case in self._cases]
        stages = {t.key: await in_thread(stages_of, self._session, t.thread) for t in trials}
        points = [
            (trial, point)
            for trial in trials
            for point in dict.fromkeys(
                point
                for stage in stages[trial.key]
                for point in ([] if stage.first else [stage.before]) + ([stage.after] if stage.after else [])
            )
        ]
        # B from before a node beside B from after it: they differ by that node alone, as all behind is B.
        onward = await self._grafting.from_states(points, metric)
        if self._grafting.ended:
            return None
        a, b = _values(self._a, metric), _values(self._b, metric)
        found: dict[str, Graft] = {}
        for label in _labels(stages):
            before: dict[Key, float] = {}
            after: dict[Key, float] = {}
            for key, path in stages.items():
                stage = next((s for s in path if " + ".join(s.nodes) == label), None)
                if stage is None:
                    continue
                # B from the very beginning is B's own run; past the last node there is only A's result.
                worse = b.get(key) if stage.first else onward.get((key, stage.before.id))
                better = a.get(key) if stage.after is None else onward.get((key, stage.after.id))
                if worse is not None and better is not None:
                    after[key], before[key] = worse, better
            graft = _graft(label, metric, "onward", before, after, self._level)
            if graft is not None:
                found[label] = graft
        # Of many nodes one looks worse by chance, so p-values are corrected for their number. Those of nodes
        # alone are not among them: such a graft runs only for a node that is suspected already.
        corrected = holm({label: graft.p for label, graft in found.items()})
        for label, graft in found.items():
            worse_now = corrected[label] < self._level and graft.change < 0
            self._grafts.append(replace(graft, p=corrected[label], worse=worse_now))
        worse_nodes = [graft.node for graft in self._grafts if graft.kind == "onward" and graft.worse]
        return worse_nodes[0] if worse_nodes else None


def _labels(stages: Mapping[Key, Sequence[Stage]]) -> list[str]:
    """Return the nodes, those of one superstep together, in the order in which they usually run."""
    places: dict[str, list[int]] = {}
    for path in stages.values():
        for number, stage in enumerate(path):
            places.setdefault(" + ".join(stage.nodes), []).append(number)
    return sorted(places, key=lambda label: fmean(places[label]))


def _values(results: Results, metric: str) -> dict[Key, float]:
    scores = {trial.key: trial.scores.get(metric) for trial in ordered(results)}
    return {key: s.value for key, s in scores.items() if s is not None and s.value is not None}


def _graft(
    node: str,
    metric: str,
    kind: Literal["alone", "onward"],
    before: Mapping[Key, float],
    after: Mapping[Key, float],
    level: float,
) -> Graft | None:
    """Compare by case; None without anything to compare."""
    from ..statistics.intervals import difference_interval, difference_p

    a, b = Healthy(node, metric, before).means(), Healthy(node, metric, after).means()
    both = [case for case in a if case in b]
    if not both:
        return None
    changes = [b[case] - a[case] for case in both]
    p = difference_p(changes, only_worse=kind == "alone")
    return Graft(
        node=node,
        metric=metric,
        kind=kind,
        cases=len(both),
        a=fmean(a[case] for case in both),
        b=fmean(b[case] for case in both),
        change=fmean(changes),
        interval=difference_interval(changes, level),
        p=p,
        worse=p < level and fmean(changes) < 0,
    )
