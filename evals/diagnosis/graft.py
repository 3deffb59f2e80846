"""Grafts: B's nodes run from the states that A's runs recorded.

A node alone, on the very inputs that A's node had: what it does worse there is its own fault. Or all of
B from a state of A on: the step between two such states is what the node between them makes worse.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from langgraph.types import Send
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ...providers.stack.roles import Bindable
from ...runners.bindings import using_named
from ...state.budget import Ledger
from ...state.errors import BudgetExceeded, InputError
from ...state.event_loops import in_thread
from ...state.run_context import checkpoint_at
from ...state.schema import fields_of, parse_input
from ...state.session.session import Session
from ...tracing.forks.fork import fork_before
from ...tracing.record.history import TASKS
from ...tracing.record.lineage import Lineage, Point, levels
from ...tracing.record.plain_checkpoints import fields_in
from ...tracing.record.reads import read_node_runs
from ...tracing.record.threads import is_known
from ...tracing.record.values import cut_text
from ..files.results import Trial
from ..running.runner import spread
from ..running.trial import run_trial
from ..scoring.judge import judged_on
from ..scoring.score import TrialOutcome, score_trial
from ..scoring.trial_record import Record, read_record
from ..suite.model import Case, Suite, digest
from ..suite.targets import Target, target_of
from ..suite.topology import Compiled
from .places import Place
from .screen import ENDED, Key

T = TypeVar("T")


@dataclass
class Grafting:
    """Runs grafts of a version; `left_out` says which it could not, `ended` that the budget did.

    `models` binds what the graph asks, `judging` the judges. `kind` stands in the threads' names.
    """

    session: Session
    graph: Compiled
    suite: Suite
    run: str
    shape: str = ""
    ledgers: Sequence[Ledger] = ()
    models: Mapping[str, Bindable] = field(default_factory=dict)
    judging: Mapping[str, Bindable] = field(default_factory=dict)
    kind: str = "graft"
    left_out: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    async def node_alone(
        self, node: str, metric: str, trials: Sequence[Trial], number: int = 1
    ) -> dict[Key, float]:
        """Run a node on its recorded inputs in the other version's trials; return its scores by trial.

        `number` counts the times that the same inputs are run.
        """
        target = target_of(self.graph, node)
        cases = {case.id: case for case in self.suite.cases}
        scores: dict[Key, float] = {}

        async def one(trial: Trial) -> None:
            inputs = await in_thread(recorded_inputs, self.session, trial.thread, node, target.state)
            if isinstance(inputs, str):
                self.left_out[f"{node} in {trial.thread}"] = inputs
                return
            fitting = [_fitting(target.state, state) for state in inputs]
            endings, records = [], []
            for visit, state in enumerate(fitting):
                if state is None:
                    self.left_out[f"{node} in {trial.thread}"] = "its input does not fit this version's state"
                    return
                thread = f"eval/{self.run}/{self.kind}/{node}/{trial.case}/{trial.repeat}.{visit}-" + digest(
                    [trial.thread, self.shape, *_again(number)]
                )
                ran = await self._run(target, Case(trial.case, state), thread)
                if ran is None:
                    return
                endings.append(ran[0])
                records.append(_renamed(ran[1], node))
            value = await self._score_of_visits(cases[trial.case], endings, records, metric)
            if value is not None:
                scores[trial.key] = value

        await self._spread(trials, one)
        return scores

    async def from_places(
        self, points: Sequence[tuple[Trial, Place]], metric: str, number: int = 1
    ) -> dict[tuple[Key, str], float]:
        """Run the graph from places in recorded trials to the end; return the scores by trial and place."""
        target = target_of(self.graph)
        cases = {case.id: case for case in self.suite.cases}
        scores: dict[tuple[Key, str], float] = {}

        async def one(point: tuple[Trial, Place]) -> None:
            trial, place = point
            thread = f"eval/{self.run}/{self.kind}/from/{trial.case}/{trial.repeat}-" + digest(
                [trial.thread, place.key, self.shape, *_again(number)]
            )
            try:
                await in_thread(self._fork, trial.thread, place.tasks, thread)
            except InputError as error:
                self.left_out[f"{trial.thread} at {place.key}"] = str(error)
                return
            ran = await self._run(target, cases[trial.case], thread)
            if ran is None:
                return
            value = await self._score(cases[trial.case], *ran, metric)
            if value is not None:
                scores[trial.key, place.key] = value

        await self._spread(points, one)
        return scores

    def _fork(self, old: str, tasks: Sequence[str], new: str) -> None:
        if not is_known(self.session.journal, new):
            fork_before(self.session, old, tasks, new)

    async def _run(self, target: Target, case: Case, thread: str) -> tuple[TrialOutcome, Record] | None:
        with using_named(self.models):
            ending = await run_trial(self.session, target, self.suite, case, thread, self.ledgers)
        if ending is None:
            self.ended = True
            return None
        return ending, await in_thread(read_record, self.session.journal, thread)

    async def _score_of_visits(
        self, case: Case, endings: Sequence[TrialOutcome], records: Sequence[Record], metric: str
    ) -> float | None:
        good = all(ending.status == "done" for ending in endings)
        if metric == ENDED or not good:
            return float(good)
        whole = Record(
            passages=tuple(p for record in records for p in record.passages),
            routes=tuple(r for record in records for r in record.routes),
        )
        case = replace(case, expect=replace(case.expect, error=None))
        return await self._score(case, TrialOutcome("done", {}), whole, metric)

    async def _score(self, case: Case, ending: TrialOutcome, record: Record, metric: str) -> float | None:
        suite = replace(self.suite, evaluators=[e for e in self.suite.evaluators if e.name == metric])
        try:
            with using_named(self.judging):
                scores = await score_trial(suite, case, ending, record)
        except BudgetExceeded:
            self.ended = True
            return None
        return scores[metric].value if metric in scores else None

    async def _spread(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Do the work, as much at a time as the suite says, until the budget ends."""
        with judged_on(self.session, f"eval/{self.run}/judges", self.ledgers):
            await spread(items, work, self.suite.concurrency, lambda: self.ended)


def _fitting(state: type[Any], values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return values that a version's state can take; those of the other one's own types as plain data."""
    for plain in (lambda: values, lambda: to_jsonable_python(values)):
        try:
            parse_input(state, fitting := plain())
        except (InputError, PydanticSerializationError):
            continue
        return fitting
    return None


def _again(number: int) -> list[int]:
    """Return what tells the threads of a repetition from those of the first time."""
    return [number] if number > 1 else []


def _renamed(record: Record, node: str) -> Record:
    """Return the record of a node that ran alone with the paths that it has in its graph."""
    outer = node.rpartition("/")[0]

    def at(path: str) -> str:
        return f"{outer}/{path}" if outer else path

    return replace(
        record,
        passages=tuple(replace(p, path=at(p.path)) for p in record.passages),
        routes=tuple(replace(r, path=at(r.path)) for r in record.routes),
    )


def recorded_inputs(
    session: Session, thread: str, node: str, state: type[Any]
) -> list[Mapping[str, Any]] | str:
    """Return the whole state that each execution of a node was given, or why that is not known."""
    rows = [row for row in read_node_runs(session.journal, thread) if row["path"] == node]
    inputs = {row["task"]: row["input"] for row in sorted(rows, key=lambda row: row["started_at"])}
    if not inputs:
        return "the file does not hold that run, or the node was not visited in it"
    lineage = Lineage(session.journal, thread)
    known = set(fields_of(state))
    states: list[Mapping[str, Any]] = []
    for task, text in inputs.items():
        point = lineage.before(list(levels(task))[-1])
        if point is None:
            return "the checkpoint before the node was pruned"
        values = _state_at(session, thread, point, node.rpartition("/")[2], text)
        if values is None:
            return "its input was sent to it, and is too long for the record"
        states.append({name: value for name, value in values.items() if name in known})
    return states


def _state_at(
    session: Session, thread: str, point: Point, name: str, text: str | None
) -> Mapping[str, Any] | None:
    saved = session.checkpointer.get_tuple(checkpoint_at(thread, point.ns, point.id))
    if saved is None:
        return None
    tasks = saved.checkpoint["channel_values"].get(TASKS) or []
    if not any(isinstance(send, Send) and send.node == name for send in tasks):
        return fields_in(saved)
    sent = json.loads(text or "null")
    if not isinstance(sent, Mapping) or cut_text(sent) or any(map(cut_text, sent.values())):
        return None
    return sent
