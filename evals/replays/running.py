"""Recorded runs through a changed graph: each on a thread of its own, from where it was after a crash."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...runners.result import RunResult
from ...runners.run import aresume, arun
from ...state import errors
from ...state.budget import Budget, Ledger
from ...state.errors import BudgetExceeded, StepgraphError, ThreadBusy
from ...state.event_loops import in_thread
from ...state.journal.records import Description
from ...state.json_text import object_in
from ...state.names import CALL, PRIVATE, RECORDED_KEY
from ...state.session.recorder import STOPPED
from ...state.session.session import Session
from ...tracing.forks.recorded import SCOPE, RecordedRun
from ...tracing.record.cohorts import last_trace
from ...tracing.record.pending import Waiting, read_waiting
from ...tracing.record.reads import read_calls, read_node_runs, read_rows
from ...tracing.record.recorded_run import Question, read_questions, without_waiting_again
from ...tracing.record.spans import Row
from ..running.runner import BUSY_S, spread
from ..running.trial import ENDS_SUITE
from ..scoring.trial_record import cost_of
from ..suite.topology import Compiled
from .plan import Plan, ReplayCase, inputs_of

# These say nothing about a run: a server was away, or a model, a key or a package was missing here.
PASSING = (errors.ModelError, errors.RetrievalFailed, errors.MCPServerFailed, *ENDS_SUITE)
MOST_ANSWERS = 1000  # of one run: more questions than that are a loop
Progress = Callable[[int, int], None]


@dataclass
class ReplayRunner:
    """The runs of one replay, as far as this process runs them.

    `effects` and `tools` are what may happen in the world. `ended` says that the budget did.
    """

    session: Session
    graph: Compiled
    plan: Plan
    effects: Collection[str] = ()
    tools: bool = False
    usd: float | None = None
    dry_run: bool = False
    jobs: int = 8
    progress: Progress | None = None
    ended: bool = False
    problems: dict[str, str] = field(default_factory=dict)  # by thread: what is not on its record
    _done: int = 0
    ledgers: tuple[Ledger, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if self.dry_run:
            self.ledgers = (Ledger(Budget(calls=0), scope=SCOPE),)
        elif self.usd is not None:
            threads = [*(case.thread for case in self.plan.cases), self.plan.thread]
            spent = cost_of(self.session.journal, threads)
            self.ledgers = (Ledger(Budget(usd=self.usd), spent, scope=SCOPE),)

    async def run_all(self) -> None:
        """Replay every run that has not ended yet."""
        await spread(self.plan.cases, self._one, self.jobs, lambda: self.ended)

    async def _one(self, case: ReplayCase) -> None:
        while True:
            try:
                await self._replay(case)
                break
            except ThreadBusy:  # another process has it
                await asyncio.sleep(BUSY_S)
        self._done += 1
        if self.progress is not None:
            self.progress(self._done, len(self.plan.cases))

    async def _replay(self, case: ReplayCase) -> None:
        if await in_thread(self._has_failed, case.thread):
            return
        try:
            inputs = await in_thread(inputs_of, self.session, self.graph, case.origin)
            begun, over = await in_thread(last_trace, self.session.journal, case.thread)
            for number in range(max(begun + over, 0), len(inputs)):
                result = await self._with_answers(case, number, inputs[number])
                if result.status != "done":
                    end = result.budget_end
                    # Where calls are only tried, each run goes as far as it can.
                    self.ended |= end is not None and not self.dry_run and _is_ours(end)
                    return
        except ENDS_SUITE:
            raise
        except BudgetExceeded as error:
            self.ended |= not self.dry_run and _is_ours(error)
        except Exception as error:
            if not await in_thread(self._is_noted, case.thread):
                if not isinstance(error, StepgraphError):
                    raise
                self.problems[case.thread] = str(error)

    def _has_failed(self, thread: str) -> bool:
        """Tell whether a replay has failed, and would again."""
        (run,) = read_rows(self.session.journal.query, "runs", thread)
        kind = getattr(errors, str(run["error"]).partition(":")[0], None)
        passes = isinstance(kind, type) and issubclass(kind, PASSING)
        return bool(run["status"] == "failed") and not passes and run["error"] != STOPPED

    def _is_noted(self, thread: str) -> bool:
        """Tell whether the error of a run is on its record, so that it is the run's and not ours."""
        return any(row["status"] == "failed" for row in read_node_runs(self.session.journal, thread))

    async def _with_answers(self, case: ReplayCase, number: int, run_input: Any) -> RunResult[Any]:
        """Run one input to its end, and answer what was asked before as it was answered."""
        recorded = RecordedRun(self.session, case.thread, case.origin, effects=self.effects, tools=self.tools)
        options: dict[str, Any] = {
            "budget": self.session.budget_of(case.origin),
            "ledgers": self.ledgers,
            "metadata": {"replay": self.plan.name, "replay_of": case.origin},
            "extra": {RECORDED_KEY: recorded},
        }
        if self.plan.graph is not None:
            options["description"] = Description(self.plan.graph, self.plan.models, None)
        if number:
            result = await arun(self.graph, run_input, self.session, case.thread, **options)
        else:
            result = await aresume(self.graph, self.session, case.thread, state=run_input, **options)
        for _ in range(MOST_ANSWERS):
            if result.status != "interrupted":
                break
            answers = await in_thread(self._answers, case)
            if not answers and (result.waiting or self._stops_for_good(case)):
                break
            result = await aresume(self.graph, self.session, case.thread, answers=answers or None, **options)
        return result

    def _stops_for_good(self, case: ReplayCase) -> bool:
        """Tell whether the recorded run stopped too: a breakpoint is no question."""
        return not last_trace(self.session.journal, case.origin)[1]

    def _answers(self, case: ReplayCase) -> dict[str, Any]:
        """Return the recorded answers to what waits, where nothing changed before the question."""
        self.session.journal.flush()
        waiting = read_waiting(self.session, case.thread)
        if not waiting:
            return {}
        questions = read_questions(self.session, case.origin)
        used = Counter(map(_key, read_questions(self.session, case.thread)))
        rows = read_node_runs(self.session.journal, case.thread)
        calls = read_calls(self.session.journal, case.thread)
        answers: dict[str, Any] = {}
        for item in waiting:
            key = _key(Question(item.path, item.value, (), None))
            same = [question for question in questions if _key(question) == key][used[key] :]
            if same and _unchanged(same[0], item, rows, calls):
                answers[item.id] = same[0].answers[-1]
                used[key] += 1
        return answers


def _is_ours(ended: Any) -> bool:
    return bool(ended.scope == SCOPE or ended.is_shared)


def _key(question: Question) -> tuple[str, str]:
    value = without_waiting_again(question.asked)
    return question.path, json.dumps(value, sort_keys=True, default=repr)


def _unchanged(question: Question, item: Waiting, rows: Sequence[Row], calls: Sequence[Row]) -> bool:
    """Tell whether a node asks in the state in which it asked before, as far as both states have fields."""
    now = next((row["input"] for row in reversed(rows) if row["task"] == item.task), None)
    mine, theirs = object_in(now), object_in(question.input)
    if CALL in mine:  # a tool of an agent: what it was told before is in the calls of the agent
        agent = item.task.rpartition("|")[0]
        return not any(row["source"] == "model" and row["task"].startswith(f"{agent}|") for row in calls)
    both = {name for name in mine.keys() & theirs.keys() if not name.startswith(PRIVATE)}
    return all(mine[name] == theirs[name] for name in both)
