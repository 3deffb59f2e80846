"""Right-sizing: which models, step by step, keep the score at the lowest cost."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

from ...providers.stack.roles import Bindable
from ...state.budget import Ledger
from ...state.cost import NOTHING, Cost
from ...state.errors import InputError, did_you_mean
from ...state.event_loops import in_thread, sync_version
from ...state.names import DRAW_KEY
from ...state.session.session import Session
from ...state.statuses import Lane
from ...tracing.record.reads import threads_with_calls
from ..files.results import Results
from ..running.runner import Progress, Runner, begin, new_run
from ..running.trial import TrialSettings, ledgers_of
from ..scoring.judge import CACHE_S
from ..scoring.score import NODE
from ..scoring.trial_record import cost_of
from ..statistics.compare import means_by_case, ordered
from ..suite.check import check_suite, metrics_of
from ..suite.model import COMPLETED, MEASURES, Case, Suite, digest
from ..suite.targets import target_of
from ..suite.topology import Compiled
from .assignment import Assignment, Axis, assigned, check_axes, check_axes_lane, own_cost
from .frontier import Keeps, Option, Sweep, compared, frontier, shown, verdict_of

MARGIN = 0.05
Starting = Callable[[Mapping[str, str]], None]


async def asweep(
    suite: Suite,
    graph: Compiled,
    session: Session,
    axes: Sequence[Axis],
    *,
    models: Mapping[str, Bindable] | None = None,
    run: str | None = None,
    folder: Path | None = None,
    metrics: Sequence[str] = (),
    margin: float = MARGIN,
    level: float | None = None,
    starting: Starting | None = None,
    progress: Progress | None = None,
    lane: Lane = "live",
) -> Sweep:
    """Find the cheapest assignment of models that keeps the scores of the reference.

    Each axis' first model makes the reference. First one axis at a time takes another model, the dearest
    axis first; then what was not worse and is cheaper is combined, by predicted cost, until nothing
    cheaper is left. An assignment keeps the scores if a loss of more than `margin` is ruled out in each
    of `metrics` (by default those of the gates, else of whole runs). `suite.budget` limits the sweep; the
    same `run` goes on. `models` says what the axes' names stand for, where they are no specs.

    Equal requests of one trial to one model are asked once in the whole sweep.
    """
    check_suite(suite, target_of(graph, suite.node))
    check_axes(axes, graph, models or {})
    check_axes_lane(axes, models or {}, suite, graph, lane)
    if margin <= 0:
        raise InputError(f"margin = {margin:g}; expected more than 0: no number of cases rules out any loss.")
    work = _SweepRun(suite, graph, session, tuple(axes), models or {}, run or new_run(suite), folder)
    work.metrics = _metrics(suite, metrics)
    work.margin, work.level = margin, suite.level if level is None else level
    work.starting, work.progress, work.lane = starting, progress, lane
    return await work.search()


sweep = sync_version(asweep)


def _metrics(suite: Suite, wanted: Sequence[str]) -> tuple[str, ...]:
    known = [name for name in metrics_of(suite) if name not in MEASURES]
    for name in wanted:
        if name not in known:
            raise InputError(f"The suite does not measure {name!r}. {did_you_mean(name, known)}")
    gated = tuple(dict.fromkeys(gate.metric for gate in suite.gates if gate.metric in known))
    inner = {e.name for e in suite.evaluators if e.node is not None}
    whole = tuple(n for n in known if n != COMPLETED and n not in inner and not n.startswith(NODE))
    return tuple(dict.fromkeys(wanted)) or gated or whole or (COMPLETED,)


class _SweepRun:
    metrics: tuple[str, ...]
    margin: float
    level: float
    starting: Starting | None
    progress: Progress | None
    lane: Lane

    def __init__(
        self,
        suite: Suite,
        graph: Compiled,
        session: Session,
        axes: tuple[Axis, ...],
        models: Mapping[str, Bindable],
        run: str,
        folder: Path | None,
    ) -> None:
        self._suite, self._graph, self._session = suite, graph, session
        self._axes, self._models = axes, models
        self._run, self._folder = run, folder
        self._reference: Assignment = tuple(axis.models[0] for axis in axes)
        self._results: dict[Assignment, Results] = {}
        self._costs: dict[Assignment, dict[Axis | None, Cost]] = {}
        self._options: dict[Assignment, Option] = {}
        self._skipped: dict[Assignment, str] = {}
        self._ended = False
        self._total = prod(len(axis.models) for axis in axes)
        self._ledgers: tuple[Ledger, ...] = ()

    async def search(self) -> Sweep:
        self._ledgers = ledgers_of(self._session, self._suite.budget, self._paid)
        await self._measure(self._reference)
        for assignment in self._one_by_one():
            await self._measure(assignment)
        await self._combine()
        for assignment in product(*(axis.models for axis in self._axes)):
            if assignment not in self._options:
                self._skipped.setdefault(assignment, "the budget ended")
        marked = frontier(list(self._options.values()))
        return Sweep(
            run=self._run,
            suite=self._suite.name,
            metrics=self.metrics,
            margin=self.margin,
            level=self.level,
            assignments=self._total,
            options=tuple(replace(o, on_frontier=o.run in marked) for o in self._options.values()),
            skipped={shown(self._named(a)): why for a, why in self._skipped.items()},
            paid=self._paid(),
            complete=not self._ended,
        )

    async def _measure(self, assignment: Assignment) -> None:
        """Run the suite under an assignment, unless the budget has ended, and compare it."""
        if self._ended:
            return
        named = self._named(assignment)
        if self.starting is not None:
            self.starting(named)
        name = f"{self._run}.{digest(named)[:8]}"
        path = None if self._folder is None else self._folder / f"{name}.jsonl"
        target = target_of(self._graph, self._suite.node)
        results = begin(self._suite, target, name, path, named)
        runner = Runner(
            self._suite,
            target,
            self._session,
            results,
            self.progress,
            ledgers=self._ledgers,
            settings=self._draw,
            lane=self.lane,
        )
        with assigned(self._axes, assignment, self._models):
            await runner.run_all()
        if not results.complete:
            self._ended = True
            return
        self._results[assignment] = results
        self._costs[assignment] = await in_thread(self._cost, results)
        self._options[assignment] = self._compare(assignment, name)

    def _draw(self, case: Case, repeat: int) -> TrialSettings:
        """Have equal requests of one trial share an answer in all assignments, and no others."""
        draw = zlib.crc32(f"{self._run}/{case.id}/{repeat}".encode())
        return {"cache_s": CACHE_S, "extra": {DRAW_KEY: (draw,)}}

    def _compare(self, assignment: Assignment, name: str) -> Option:
        from ..statistics.intervals import unbounded_interval

        reference, results = self._results[self._reference], self._results[assignment]
        scores = compared(reference, results, self.metrics, self.margin, self.level / max(1, self._total - 1))
        is_reference = assignment == self._reference
        verdict: Keeps = "reference" if is_reference else verdict_of(scores, self.metrics)
        usd = self._usd_of(assignment)
        change = None
        if usd is not None and not is_reference and self._usd_of(self._reference) is not None:
            before, after = self._by_case(reference), self._by_case(results)
            change = unbounded_interval([after[case] - before[case] for case in after if case in before])
        cases = len({trial.case for trial in results.trials.values()})
        return Option(self._named(assignment), name, verdict, scores, cases, usd, change)

    def _one_by_one(self) -> Iterator[Assignment]:
        """Yield the reference with one model exchanged, the axis that costs most first."""
        costs = self._costs.get(self._reference, {})
        numbers = sorted(
            range(len(self._axes)),
            key=lambda n: -costs[self._axes[n]].known_usd if self._axes[n] in costs else 0.0,
        )
        for number in numbers:
            for model in self._axes[number].models[1:]:
                yield self._with(number, model)

    async def _combine(self) -> None:
        """Run combinations of what is worth it, from the cheapest on, until none can be cheaper."""
        if self._ended:
            return
        waiting: list[tuple[float, Assignment]] = []
        for assignment in product(*(axis.models for axis in self._axes)):
            if assignment in self._options:
                continue
            why = self._why_not(assignment)
            predicted = None if why else self._predicted(assignment)
            if why or predicted is None:
                self._skipped[assignment] = why or "its price is not known"
            else:
                waiting.append((predicted, assignment))
        for predicted, assignment in sorted(waiting):
            best = self._best()
            if best is not None and predicted >= best:
                self._skipped[assignment] = f"would cost about ${predicted:.4g}, more than one that keeps it"
                continue
            await self._measure(assignment)

    def _why_not(self, assignment: Assignment) -> str | None:
        """Say which single exchange in a combination makes it pointless."""
        reference = self._options[self._reference]
        for number, model in enumerate(assignment):
            single = self._with(number, model)
            if single == self._reference or single not in self._options:
                continue
            option = self._options[single]
            what = f"{self._axes[number]}={model}"
            if option.verdict == "loses":
                return f"{what} alone loses too much"
            if option.usd is not None and reference.usd is not None and option.usd >= reference.usd:
                return f"{what} alone is not cheaper"
        return None

    def _predicted(self, assignment: Assignment) -> float | None:
        """Return what a trial will cost if each axis costs what it did in its single exchange."""
        parts = [self._costs[self._reference][None]]
        for number, model in enumerate(assignment):
            costs = self._costs.get(self._with(number, model))
            if costs is None:
                return None
            parts.append(costs[self._axes[number]])
        usd = sum(parts, NOTHING).usd
        return None if usd is None else usd / max(1, len(self._results[self._reference].trials))

    def _best(self) -> float | None:
        good = [o.usd for o in self._options.values() if o.verdict in ("keeps", "reference")]
        return min((usd for usd in good if usd is not None), default=None)

    def _with(self, number: int, model: str) -> Assignment:
        return (*self._reference[:number], model, *self._reference[number + 1 :])

    def _named(self, assignment: Assignment) -> dict[str, str]:
        return {str(axis): model for axis, model in zip(self._axes, assignment, strict=True)}

    def _cost(self, results: Results) -> dict[Axis | None, Cost]:
        threads = [trial.thread for trial in results.trials.values()]
        return own_cost(self._session.journal, threads, self._axes)

    def _usd_of(self, assignment: Assignment) -> float | None:
        usd = sum(self._costs[assignment].values(), NOTHING).usd
        return None if usd is None else usd / max(1, len(self._results[assignment].trials))

    def _by_case(self, results: Results) -> dict[str, float]:
        journal = self._session.journal
        trials = ordered(results)
        return means_by_case((t.case, own_cost(journal, [t.thread])[None].known_usd) for t in trials)

    def _paid(self) -> Cost:
        journal = self._session.journal
        return cost_of(journal, threads_with_calls(journal, f"eval/{self._run}."))
