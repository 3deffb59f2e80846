"""Runs a suite: many trials at a time, under one budget, and from where it was after a crash."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ...state.budget import Ledger
from ...state.cost import Cost
from ...state.errors import BudgetExceeded, InputError, SettingsError, ThreadBusy
from ...state.event_loops import in_thread, sync_version
from ...state.json_text import as_json
from ...state.session.session import Session
from ...state.statuses import Lane
from ..files.located import INSTALL_HELP
from ..files.results import Header, Results, Trial, open_results
from ..scoring.agreement import Agreement
from ..scoring.judge import Judge, calibrate, judged_on, read_labels
from ..scoring.score import score_trial
from ..scoring.trial_record import cost_of, read_record
from ..suite.check import check_suite
from ..suite.model import Case, Suite, digest
from ..suite.targets import Target, shape_digest, target_of
from ..suite.topology import Compiled
from .lanes import check_suite_lane
from .trial import TrialSettings, ledgers_of, run_trial

BUSY_S = 0.2
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")

T = TypeVar("T")
Progress = Callable[[Results, Trial], None]


Settings = Callable[[Case, int], TrialSettings]


def new_run(suite: Suite) -> str:
    """Return a name for a run that nobody else has."""
    name = "".join(c if c.isalnum() else "-" for c in suite.name.lower()).strip("-") or "suite"
    return f"{name[:60]}-{secrets.token_hex(6)}"


async def arun_suite(
    suite: Suite,
    graph: Compiled,
    session: Session,
    *,
    run: str | None = None,
    results: Path | None = None,
    models: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    lane: Lane = "live",
) -> Results:
    """Run a suite's trials against a compiled graph and return their results.

    A `run` that was begun before goes on: trials that are in the file `results` are not run again, those
    that were under way go on from their last checkpoint. Where the suite's budget ends, the results
    lack trials (`complete` is False). `models` only goes on record. In the `lane` "batch" all trials run at
    once, so that their calls meet in few batches, and judges ask there too. Raises InputError for a suite
    that does not fit the graph, before anything is paid.
    """
    target = target_of(graph, suite.node)
    check_suite(suite, target)
    check_suite_lane(suite, target.graph, lane)
    runner = Runner(suite, target, session, begin(suite, target, run, results, models), progress, lane=lane)
    await runner.run_all()
    return runner.results


run_suite = sync_version(arun_suite)


def begin(
    suite: Suite,
    target: Target,
    run: str | None,
    path: Path | None,
    models: Mapping[str, str] | None,
) -> Results:
    """Return the results of a run, those that its file has included."""
    name = run or new_run(suite)
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a run. Take letters, digits, dots, - and _.")
    header = Header.of(suite, name, models or {}, shape_digest(target.graph))
    return Results(None, header) if path is None else open_results(path, header)


class Runner:
    """The trials of one run of a suite, as far as this process runs them.

    `ledgers` that several runs share take the place of the suite's budget; `settings` says what each
    trial's run gets beside its state.
    """

    def __init__(
        self,
        suite: Suite,
        target: Target,
        session: Session,
        results: Results,
        progress: Progress | None = None,
        *,
        ledgers: Sequence[Ledger] | None = None,
        settings: Settings | None = None,
        lane: Lane = "live",
    ) -> None:
        if find_spec("scipy") is None:  # told before anything is paid
            raise SettingsError(f"The statistics of a run need scipy. {INSTALL_HELP}")
        self.suite = suite
        self.results = results
        self.ended = False
        self._target = target
        self._session = session
        self._progress = progress
        self._judge_thread = f"eval/{results.header.run}/judges"
        self._settings = settings
        self._lane = lane
        self._ledgers = ledgers_of(session, suite.budget, self._spent) if ledgers is None else ledgers

    def thread(self, case: Case, repeat: int) -> str:
        """Return a trial's thread: the same whenever the run goes on, another for another case or graph."""
        header = self.results.header
        return f"eval/{header.run}/{case.id}/{repeat}-{digest([case.digest, header.shape])[:6]}"

    async def run_all(self) -> None:
        """Run every trial that is missing, as many at a time as the suite says."""
        missing = [trial for trial in self.suite.trials if (trial[0].id, trial[1]) not in self.results.trials]
        await self.calibrate()
        at_once = len(missing) if self._lane == "batch" else self.suite.concurrency
        with self._judged():
            await spread(missing, lambda trial: self._one(*trial), at_once, lambda: self.ended)
        self.note()

    async def run_case(self, case: Case) -> list[Trial]:
        """Run the missing trials of one case and return all that it has."""
        with self._judged():
            for repeat in range(1, self.suite.repeats + 1):
                if not self.ended and (case.id, repeat) not in self.results.trials:
                    await self._one(case, repeat)
        trials = self.results.trials
        return [trials[key] for key in trials if key[0] == case.id]

    async def calibrate(self) -> None:
        """Compare each judge that has labels with the people who gave them."""
        notes: list[str] = []
        trusted: dict[str, bool] = {}
        agreements: list[Agreement] = []
        try:
            with self._judged():
                for evaluator in self.suite.evaluators:
                    if isinstance(evaluator, Judge):
                        trusted[evaluator.name] = False
                        if evaluator.labels is not None and not self.ended:
                            agreement = await calibrate(evaluator, read_labels(evaluator.labels))
                            trusted[evaluator.name] = agreement.trusted
                            notes.append(str(agreement))
                            agreements.append(agreement)
        except BudgetExceeded:
            self.ended = True
        self.results.notes, self.results.trusted, self.results.agreements = notes, trusted, agreements

    def note(self) -> None:
        """Put what the judges cost on record."""
        judged = cost_of(self._session.journal, [self._judge_thread])
        if self.results.trusted or judged.calls:
            self.results.note(judged, self.results.notes, self.results.trusted)

    def _judged(self) -> AbstractContextManager[None]:
        return judged_on(self._session, self._judge_thread, self._ledgers, self._lane)

    def _spent(self) -> Cost:
        """Return what the run has cost before, its judges included."""
        threads = [self.thread(case, repeat) for case, repeat in self.suite.trials]
        return cost_of(self._session.journal, [*threads, self._judge_thread])

    async def _one(self, case: Case, repeat: int) -> None:
        thread = self.thread(case, repeat)
        settings = self._settings(case, repeat) if self._settings is not None else TrialSettings()
        settings["lane"] = self._lane
        while True:
            try:
                outcome = await run_trial(
                    self._session, self._target, self.suite, case, thread, self._ledgers, **settings
                )
                break
            except ThreadBusy:
                # Another process has it, or has just finished it.
                await asyncio.sleep(BUSY_S)
                self.results.refresh()
                if (case.id, repeat) in self.results.trials:
                    return
        if outcome is None:
            self.ended = True
            return
        record = await in_thread(read_record, self._session.journal, thread)
        try:
            scores = await score_trial(self.suite, case, outcome, record)
        except BudgetExceeded:
            self.ended = True
            return
        trial = Trial(
            case=case.id,
            repeat=repeat,
            thread=thread,
            status=outcome.status,
            error=outcome.error,
            scores=scores,
            expected_routes=case.expect.branches,
            path=record.path,
            routes=record.routes,
            loops=record.loops,
            votes=record.votes,
            limit=outcome.limit,
            missing=outcome.missing,
            cost=record.cost,
            roles=record.roles,
            seconds=record.seconds,
            output=as_json(outcome.values),
        )
        self.results.add(trial)
        if self._progress is not None:
            self._progress(self.results, trial)


async def spread(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int, ended: Callable[[], bool]
) -> None:
    """Do the work, so much of it at a time, until the items or the budget end; the first error is raised."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            if ended():
                return
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, at_once)):
                group.create_task(worker())
    except* Exception as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
