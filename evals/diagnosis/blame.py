"""Which node made B worse than A: screened by scores on healthy inputs, confirmed by graft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...providers.stack.roles import Bindable
from ...state.cost import Cost
from ...state.errors import InputError
from ...state.event_loops import in_thread, sync_version
from ...state.session.session import Session
from ...tracing.record.reads import read_node_runs, threads_with_calls
from ..files.results import Results, Trial
from ..running.trial import ledgers_of
from ..scoring.trial_record import cost_of
from ..statistics.compare import Difference, compare, ordered
from ..suite.check import check_suite
from ..suite.model import COMPLETED, Suite
from ..suite.targets import shape_digest, target_of
from ..suite.topology import Compiled, node_in
from .alone import LOOKS, GraftSide, worse_alone, worth_trying
from .findings import Announce, Blame, Graft, GraftPlan, Verdict
from .graft import Grafting
from .onward import Onward
from .putting_back import OldVersion, put_back, with_old_node
from .screen import ENDED, Healthy, ScreenedNode, healthy, in_order, owners, screen


async def ablame(
    a: Results,
    b: Results,
    suite: Suite,
    graph: Compiled,
    session: Session,
    *,
    graft: bool = True,
    level: float | None = None,
    announce: Announce | None = None,
    models: Mapping[str, Bindable] | None = None,
    old: Compiled | None = None,
    old_models: Mapping[str, Bindable] | None = None,
) -> Blame:
    """Say which node made B worse than A.

    `graph` is B's, `models` binds B's over what is bound here, and the session's file holds both runs.
    Nodes that have scores of their own are compared where all before them went well; those that may have got
    worse run alone on the states that A recorded, up to five times, until it is clear. Where that tells
    nothing but the runs got worse as a whole, B goes on from A's states before and after each node.
    `announce` is told, before each kind of grafts, how many there will be at most. `suite.budget` limits the
    grafts; a call with the same runs goes on with them. By its own scores, a node that did not change is
    blamed in at most three tenths of `level` (1.5 % of all suites), all nodes together.

    With `old`, A's graph, and `old_models`, nodes are also compared on B's inputs; and the old node is put
    back: B goes on from its own states before the node that was named, with A's node in its place and with
    its own, and `repaired` says whether that makes up for the loss. Raises InputError for a graph that is
    not the run's.
    """
    if suite.node is not None:
        raise InputError(
            f"The suite {suite.name!r} runs {suite.node} alone, so there is no other node to blame."
        )
    check_suite(suite, target_of(graph))
    before = None if old is None else OldVersion(old, old_models or {})
    work = _BlameRun(
        a,
        b,
        suite,
        graph,
        session,
        b.header.level if level is None else level,
        announce,
        models or {},
        before,
    )
    await in_thread(work.prepare)
    decision = await work.decide(graft=graft)
    return await work.put_back(decision) if graft and before is not None else decision


blame = sync_version(ablame)


def _silent(plan: GraftPlan) -> None:
    """Tell nobody what the grafts may cost."""


class _BlameRun:
    def __init__(
        self,
        a: Results,
        b: Results,
        suite: Suite,
        graph: Compiled,
        session: Session,
        level: float,
        announce: Announce | None,
        models: Mapping[str, Bindable],
        old: OldVersion | None,
    ) -> None:
        self._announce = announce or _silent
        self._a, self._b = a, b
        self._suite, self._session, self._level = suite, session, level
        shape = shape_digest(graph)
        if b.header.shape and b.header.shape != shape:
            raise InputError(
                f"The run {b.header.run!r} is of a graph with other nodes or edges than {graph.name!r} has "
                "now. Blame needs the version B at hand: check it out, or name it with --graph."
            )
        self._same_shape = a.header.shape == shape
        if old is not None and a.header.shape and a.header.shape != shape_digest(old.graph):
            raise InputError(
                f"The run {a.header.run!r} is of a graph with other nodes or edges than the old version that "
                "was given has. Check out the commit that it is a run of, and name its graph with --old."
            )
        self._models, self._old = models, old
        self._graph = graph
        self._topology = target_of(graph).topology
        self._run = f"{b.header.run}.{a.header.run}"
        self._grafts: list[Graft] = []
        self._among: tuple[str, ...] = ()
        self._healthy: dict[tuple[str, str], Healthy] = {}
        self._theirs: dict[tuple[str, str], Healthy] = {}
        self._back: Grafting | None = None
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
        self._theirs = healthy(self._b, self._owned, self._topology, self._failing)
        self._screened = screen(self._healthy, self._theirs, self._cases, self._level)
        self._ledgers = ledgers_of(self._session, self._suite.budget, self._paid)
        self._grafting = self._version(self._graph, "graft", self._models, self._b)
        if self._old is not None:
            self._back = self._version(self._old.graph, "old", self._old.models, self._a)

    def _version(
        self, graph: Compiled, kind: str, models: Mapping[str, Bindable], results: Results
    ) -> Grafting:
        return Grafting(
            self._session,
            graph,
            self._suite,
            self._run,
            shape=results.header.shape,
            ledgers=self._ledgers,
            models=models,
            judging=self._models,
            kind=kind,
        )

    def _grafting_ended(self) -> bool:
        return self._grafting.ended or (self._back is not None and self._back.ended)

    async def decide(self, *, graft: bool) -> Blame:
        # Scores alone only make a suspect: a node may score worse by chance, or because of what came before
        # it in a way that no score tells. A graft runs B's node on A's inputs, so that nothing else differs.
        suspects = in_order(list(dict.fromkeys(s.node for s in self._screened if s.suspect)), self._b)
        if suspects and not graft:
            return self._blame("suspected", suspects[0], "its scores on healthy inputs; no graft was run")
        confirmed = await self._tried_alone(suspects) if graft else []
        untold = [node for node in suspects if not any(graft.node == node for graft in self._grafts)]
        if confirmed:
            why = "B's node does worse on the inputs that A recorded"
            if self._old is not None:
                why = "B's node does worse than A's on the inputs that both recorded"
            places = in_order([*untold, confirmed[0]], self._b)
            if before := places[: places.index(confirmed[0])]:
                why += f"; {', '.join(before)} before it could not be grafted"
            return self._blame("blamed", confirmed[0], why, confirmed[1:])
        if self._grafting_ended() and suspects:
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
        trials = [trial for trial in ordered(self._a) if trial.case in self._cases]
        scores = {t.key: t.scores[lost.metric].value for t in trials if lost.metric in t.scores}
        ends = {key: value for key, value in scores.items() if value is not None}
        onward = Onward(self._grafting, trials, ends, lost.metric, self._level, self._announce)
        first = await onward.run()
        self._grafts += onward.grafts
        self._among = onward.among
        if self._grafting.ended:
            return self._blame("undecided", None, f"{why} before the budget ended")
        if first is None:
            return self._blame("undecided", None, why)
        reason = f"B does worse in {lost.metric} from A's state before it than from the one after it"
        return self._blame("blamed", first, reason)

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
            among=() if verdict == "blamed" else self._among or tuple(self._leaning()),
            left_out=self._left_out(),
            cost=self._paid(),
            complete=not self._grafting_ended(),
        )

    def _left_out(self) -> Counter[str]:
        own = Counter(self._grafting.left_out.values())
        return own if self._back is None else own + Counter(self._back.left_out.values())

    def _leaning(self) -> list[str]:
        """Return the nodes that grafts point to, in their order."""
        last = {(graft.node, graft.metric): graft for graft in self._grafts}
        nodes = [g.node for g in last.values() if g.p < self._level and g.change < 0]
        return in_order(list(dict.fromkeys(nodes)), self._b)

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

    async def _tried_alone(self, suspects: Sequence[str]) -> list[str]:
        """Run nodes of B on A's healthy inputs, the first ones first; return those that are worse."""
        tried = worth_trying(self._screened)
        nodes = in_order(list(dict.fromkeys(score.node for score in tried)), self._b)
        sides = {(s.node, s.metric): self._sides(s) for s in tried}
        if tried:
            runs = sum(len(side.trials) for own in sides.values() for side in own)
            self._announce(GraftPlan("alone", tuple(nodes), len(LOOKS) * runs))
        confirmed: list[str] = []
        for node in nodes:
            if confirmed and node not in suspects:
                continue  # the first one is found: only what got worse for sure is worth telling beside it
            for score in [s for s in tried if s.node == node]:
                graft = await worse_alone(
                    score, *sides[node, score.metric], level=self._level, tests=len(self._screened)
                )
                if graft is not None:
                    self._grafts.append(graft)
                    if graft.worse:
                        confirmed.append(node)
                        break
                if self._grafting_ended():
                    return confirmed
        return confirmed

    def _sides(self, score: ScreenedNode) -> list[GraftSide]:
        """Return where a node can run: B's on A's healthy inputs, and A's on B's."""
        key = score.node, score.metric
        sides = [GraftSide(self._grafting, self._healthy[key], self._trials_of(self._a, self._healthy[key]))]
        if self._old is not None and self._back is not None and node_in(self._old.graph, score.node):
            sides.append(
                GraftSide(self._back, self._theirs[key], self._trials_of(self._b, self._theirs[key]))
            )
        return sides

    def _trials_of(self, results: Results, before: Healthy) -> list[Trial]:
        return [t for t in ordered(results) if t.key in before.values and t.case in self._cases]

    async def put_back(self, decision: Blame) -> Blame:
        """Say whether the old node in the new graph makes up for the loss."""
        if decision.node is None or self._old is None or not decision.complete:
            return decision
        graph = with_old_node(self._graph, self._old.graph, decision.node, self._old.scope())
        if graph is None:
            return decision
        with_old = self._version(graph, "back", self._models, self._b)
        lost = self._lost()
        own = [s.metric for s in self._screened if s.node == decision.node]
        metric = lost.metric if lost is not None else own[0] if own and own[0] != ENDED else COMPLETED
        trials = [t for t in ordered(self._b) if t.case in self._cases]
        graft = await put_back(
            self._grafting,
            with_old,
            decision.node,
            metric,
            trials,
            level=self._level,
            announce=self._announce,
        )
        ended = self._grafting.ended or with_old.ended
        repaired = None if graft is None else graft.worse or (None if ended else False)
        return replace(
            decision,
            grafts=(*decision.grafts, *([graft] if graft is not None else [])),
            repaired=repaired,
            left_out=self._left_out() + Counter(with_old.left_out.values()),
            cost=self._paid(),
            complete=not ended,
        )
