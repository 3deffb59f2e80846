"""A replay: recorded runs through a changed graph, and what that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...runners.bindings import check_roles
from ...state.cost import NOTHING, Cost
from ...state.errors import InputError
from ...state.event_loops import in_thread, sync_version
from ...state.schema import check_known
from ...state.session.session import Session
from ..scoring.judge import judged_on
from ..scoring.trial_record import cost_of
from ..statistics.compare import Change, Comparison, change_of, differences
from ..suite.model import Evaluator, EvaluatorInput
from ..suite.topology import Compiled
from .cases import CaseDifference, read_cases
from .pairs import PairJudge, decided_by_people, score_of
from .plan import Plan, check_allowed, plan_of
from .running import Progress, ReplayRunner

LEVEL = 0.05
COMPLETED = "completed"
Rows = dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class ReplayReport:
    """What a change did to recorded runs, case by case and in all.

    `comparison` has the paired statistics: `A` is what is on record, `B` the change. Its costs are those of
    all calls of a run, as if none had been answered from the record; `paid` is what the replay paid.
    """

    plan: Plan
    cases: tuple[CaseDifference, ...]
    comparison: Comparison
    paid: Cost
    judged: Cost = NOTHING
    dry_run: bool = False
    departures: dict[str, int] = field(default_factory=dict)
    scores: Rows = field(default_factory=dict)
    all_judged: bool = True

    @property
    def complete(self) -> bool:
        """Whether every run was replayed, as far as it goes without a person, and judged."""
        return self.dry_run or (self.all_judged and not any(case.cut for case in self.cases))

    @property
    def differing(self) -> list[CaseDifference]:
        """The cases whose status, route or values differ."""
        return [case for case in self.cases if case.ran and case.what]


async def areplay(
    graph: Compiled,
    session: Session,
    runs: str = "",
    *,
    threads: Sequence[str] | None = None,
    run: str | None = None,
    seed: int = 0,
    allow_effects: Sequence[str] = (),
    allow_tools: bool = False,
    usd: float | None = None,
    dry_run: bool = False,
    judge: str | None = None,
    fields: Sequence[str] = (),
    evaluators: Sequence[Evaluator] = (),
    jobs: int = 8,
    reference: str | None = None,
    models: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Send the inputs of recorded runs through a changed graph, and return what differs.

    `runs` selects them: "graph=support-desk since 7d limit 200"; with a limit they are drawn by `seed`. A
    call that a run made is answered from its record, so only what the change makes different is paid for.
    Effects and tools are answered from the record; one that it does not know is not done, and the case says
    so.
    `allow_effects` names effects that may happen, `allow_tools` lets tools run. Reviews are answered as the
    person answered, where nothing changed before them; else the case waits.

    With `threads`, the runs are these, or those of them that fit. Each replay runs on a thread of its own,
    the recorded ones stay as they are. `run` names it: a replay that was begun under this name goes on, and
    pays nothing twice. `usd` limits what it pays in all; `dry_run` makes no new call, and says where it
    would. `judge` is a question by which a model decides between the results, without knowing which is
    which; `fields` are those that it sees, by default the ones that differ. `evaluators` score both sides.
    Raises InputError before anything is paid for runs that there are none of, or that do not fit the graph.
    """
    check_allowed(graph, allow_effects)
    _check_fields(graph, fields)
    check_roles(models or {}, graph)
    plan = await in_thread(
        lambda: plan_of(
            session, graph, runs, name=run, seed=seed, threads=threads, reference=reference, models=models
        )
    )
    runner = ReplayRunner(
        session,
        graph,
        plan,
        effects=allow_effects,
        tools=allow_tools,
        usd=usd,
        dry_run=dry_run,
        jobs=jobs,
        progress=progress,
    )
    await runner.run_all()
    cases = await in_thread(read_cases, session, graph, plan, runner.problems)
    cases = await in_thread(decided_by_people, session, cases)
    undecided: list[str] = []
    if judge is not None and not dry_run:
        with judged_on(session, plan.thread, runner.ledgers):
            judging = PairJudge(judge, plan.seed, fields)
            cases, undecided = await judging.decide(cases, jobs), judging.left
    rows = await _scores(cases, evaluators)
    return await in_thread(
        lambda: report_of(session, plan, cases, rows, dry_run=dry_run, judged=not undecided)
    )


replay = sync_version(areplay)


def report_of(
    session: Session,
    plan: Plan,
    cases: Sequence[CaseDifference],
    rows: Rows | None = None,
    *,
    dry_run: bool = False,
    judged: bool = True,
) -> ReplayReport:
    """Return the report of a replay's cases; `rows` are scores before and after, by metric and run."""
    ran = [case for case in cases if case.ran]
    by_metric: Rows = dict(rows or {})
    if ran:
        by_metric[COMPLETED] = {
            case.origin: (float(case.recorded.status == "done"), float(case.replayed.status == "done"))
            for case in ran
            if case.ended
        }
    preferred = {case.origin: score_of(case.preferred) for case in ran if case.preferred}
    if preferred:
        by_metric = {"preferred": preferred, **by_metric}
    departures: dict[str, int] = {}
    for case in ran:
        if case.departure is not None:
            departures[case.departure.node] = departures.get(case.departure.node, 0) + 1
    return ReplayReport(
        plan,
        tuple(cases),
        Comparison(
            "what is on record",
            "the change",
            LEVEL,
            tuple(differences({name: pairs for name, pairs in by_metric.items() if pairs}, LEVEL)),
            tuple(_changes(ran)),
            tuple(f"{case.origin}: {case.stopped}" for case in cases if not case.ended),
        ),
        sum((case.replayed.spent.paid for case in cases), NOTHING),
        cost_of(session.journal, [plan.thread]),
        dry_run,
        departures,
        dict(rows or {}),
        judged,
    )


def _changes(ran: Sequence[CaseDifference]) -> list[Change]:
    """Return what a run costs and how long it waits for models, before and after; where both ended alike."""
    both = [
        case
        for case in ran
        if case.ended
        and case.recorded.status == case.replayed.status
        and (case.recorded.spent.cost.calls or not case.replayed.spent.cost.calls)  # else it was imported
    ]
    if not both:
        return []
    known = [
        case
        for case in both
        if case.recorded.spent.cost.usd is not None and case.replayed.spent.cost.usd is not None
    ]
    costs = [(c.recorded.spent.cost.known_usd, c.replayed.spent.cost.known_usd) for c in known]
    changes = [change_of("cost_usd", costs, len(both) - len(known))] if costs else []
    measures: dict[str, list[tuple[float, float]]] = {
        "tokens": [(c.recorded.spent.cost.tokens, c.replayed.spent.cost.tokens) for c in both],
        "calls": [(c.recorded.spent.cost.calls, c.replayed.spent.cost.calls) for c in both],
        "seconds": [(c.recorded.spent.seconds, c.replayed.spent.seconds) for c in both],
    }
    return [*changes, *(change_of(name, pairs, 0) for name, pairs in measures.items())]


async def _scores(cases: Sequence[CaseDifference], evaluators: Sequence[Evaluator]) -> Rows:
    rows: Rows = {}
    for evaluator in evaluators:
        if evaluator.needs_expected or evaluator.node is not None:
            needs = "an expected value" if evaluator.needs_expected else "a node"
            raise InputError(f"The evaluator {evaluator.name!r} needs {needs}; a replay scores final states.")
        for case in cases:
            if not case.ended:
                continue
            before, after = [
                await _score(evaluator, case, side.values) for side in (case.recorded, case.replayed)
            ]
            if before is not None and after is not None:
                rows.setdefault(evaluator.name, {})[case.origin] = (before, after)
    return rows


async def _score(evaluator: Evaluator, case: CaseDifference, values: Any) -> float | None:
    actual = values if evaluator.field is None else values.get(evaluator.field)
    score = await evaluator.score(EvaluatorInput(actual, None, case.origin, values, values))
    return score.value


def _check_fields(graph: Compiled, fields: Sequence[str]) -> None:
    check_known(graph.builder.state_schema, fields, "A replay compares")
