"""The orchestrator: a plan of subtasks, a worker for each, and one result of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, Opinion, check_of
from ...nodes.costs import All, Cost, Times, cost_of
from ...nodes.node import Decider, Node, record_decision
from ...nodes.plans import Subject, is_known, problem_with, subject_of, without_overlaps
from ...nodes.rules import as_rule
from ...state.errors import DefinitionError, InputError, InvalidAnswer
from ...state.json_text import json_text
from ...state.schema import StateType, extended, values_of
from ...state.serde import allow
from ..engine.options import check_counts, check_field
from ..engine.workers import (
    DONE,
    ITEMS,
    WorkerJob,
    WorkerResults,
    applied,
    check_items,
    check_limits,
    finished,
    send_items,
    worker_node,
)
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

W = TypeVar("W")
V = TypeVar("V")

CHANNEL = "stepgraph_effort"
MAX_PLAN = 2000


@dataclass(frozen=True)
class Effort:
    """The orchestrator's private record: which round it is, and what its subtasks are about.

    `planned` are the subtasks of this round, `finished` those of the rounds before that did not fail.
    """

    number: int = 0
    planned: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


allow(Effort)


class Efforts(TypedDict):
    """What the edge behind the synthesis reads."""

    stepgraph_effort: Effort


@dataclass(frozen=True)
class _Standards:
    """What a plan must be."""

    worker_state: StateType
    most: int
    subject: Subject
    alike: float
    drop: bool
    tries: int
    check: Check[Any] | None
    brief: Callable[[Any, Any], Any] | None


class _Plan(Node[Any]):
    """Makes a plan, or says what else is to be done, and has it repaired until it is sound."""

    def __init__(self, decider: Any, standards: _Standards, *, first: bool) -> None:
        self.name = decider.name
        self.state = decider.state
        self._decider = decider
        self._standards = standards
        self._first = first

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        past = Effort() if self._first else values_of(input)[CHANNEL]
        value, problems = await self._sound(input, config)
        tasks = [(task, self._standards.subject(task)) for task in value]
        known = partial(is_known, others=past.finished, alike=self._standards.alike)
        new = [(task, subject) for task, subject in tasks if not known(subject)]
        planned = [subject for _, subject in new]
        dropped = [subject for _, subject in tasks if known(subject)]
        notes = [f"round {past.number + 1}: {'; '.join(planned)}" if planned else f"{past.number} rounds"]
        notes += [f"done already: {'; '.join(dropped)}"] if dropped else []
        notes += [f"repaired: {problem}" for problem in problems]
        choice = f"{len(new)} subtasks" if new else "enough"
        record_decision(config, "orchestrate", choice, reason=" | ".join(notes))
        effort = replace(past, number=past.number + 1, planned=planned)
        items = [self._briefed(input, task) for task, _ in new]
        return {**self._decider.update(value), ITEMS: items, CHANNEL: effort}

    def _briefed(self, state: Any, task: Any) -> Any:
        brief = self._standards.brief
        if brief is None:
            return task
        return check_items("orchestrate(brief=…)", [brief(state, task)], self._standards.worker_state)[0]

    async def _sound(self, state: Any, config: RunnableConfig | None) -> tuple[list[Any], list[str]]:
        """Return a sound plan, and what was wrong with those before it."""
        value = await self._decider.answer(state, config)
        tries = self._standards.tries if hasattr(self._decider, "again") else 1
        plans: list[str] = []
        problems: list[str] = []
        while True:
            if self._standards.drop:
                value = without_overlaps(value, self._standards.subject, self._standards.alike)
            planned = applied(state, self._decider.update(value))
            problem = await self._problem(planned, value, config)
            if problem is None:
                return list(value), problems
            plans.append(json_text(value))
            problems.append(problem)
            if len(plans) == tries:
                break
            value = await self._decider.again(planned, problem, config)
        told = f"Last problem: {problems[-1]} Last plan: {plans[-1][:MAX_PLAN]}"
        if not hasattr(self._decider, "again"):
            raise InputError(f"{self.name!r} gave no sound plan. {told}")
        raise InvalidAnswer(
            f"Step {self.name!r} gave no sound plan in {tries} tries. {told}",
            step=self.name,
            answers=tuple(plans),
            problems=problems[-1],
        )

    async def _problem(self, state: Any, value: Any, config: RunnableConfig | None) -> str | None:
        rules = self._standards
        tasks = check_items(self.name, value, rules.worker_state)
        if not tasks and not self._first:
            return None
        problem = problem_with([rules.subject(task) for task in tasks], most=rules.most, alike=rules.alike)
        if problem is None and self._first and rules.check is not None:
            finding = await rules.check.answer(state, config)
            if not finding.passed:
                problem = finding.reason
        return problem


class _Collect(Node[Any]):
    """Adds what the workers of a round found to the user's field."""

    name = "collect"

    def __init__(self, into: str, missing: str | None) -> None:
        self._into = into
        self._missing = missing

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        values = values_of(input)
        effort: Effort = values[CHANNEL]
        results = finished(input)
        first = effort.number == 1
        done = [result.item for result in results if result.failure is None]
        if first and not done:
            raise InputError(f"Every one of {len(results)} subtasks failed. The first: {results[0].failure}")
        subjects = [effort.planned[result.index] for result in results if result.failure is None]
        update: dict[str, Any] = {self._into: [*([] if first else values[self._into]), *done], ITEMS: []}
        if self._missing is not None:
            before = {} if first else values[self._missing]
            reasons = {effort.planned[r.index]: r.failure for r in results if r.failure is not None}
            update[self._missing] = {**{k: v for k, v in before.items() if k not in subjects}, **reasons}
        return {**update, CHANNEL: replace(effort, finished=[*effort.finished, *subjects])}


def orchestrate(
    plan: Decider[StateT, list[W]],
    worker: NodeLike[W],  # type: ignore[type-var]
    synthesise: NodeLike[StateT],
    *,
    into: str,
    brief: Callable[[StateT, W], W] | None = None,
    most: int = 8,
    check: Decider[StateT, V] | Callable[[StateT], Opinion] | None = None,
    passes: Callable[[V], Opinion] | None = None,
    more: Decider[StateT, list[W]] | Callable[[StateT], Sequence[W]] | None = None,
    rounds: int = 2,
    tries: int = 3,
    subject: Callable[[W], str] = subject_of,
    alike: float = 0.8,
    overlapping: Literal["repair", "drop"] = "repair",
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Plan subtasks, run a worker on each at once, and make one result of what they found.

    `plan` is a step or rule that writes a list of subtasks: worker states, `most` of them at most. The
    worker is any part over that type. The field `into`, a list of it, takes the worker states as they
    are in the end; `synthesise` runs then. A worker sees its subtask alone: where it needs more than the
    plan says, `brief` makes its subtask from the state and the planned one. Subtasks cannot wait for
    each other: make those one subtask.

    A plan must have subtasks, not too many, and no two about the same thing: `alike` is the share of
    common words from which on two of them are, and `subject` says what a subtask is about, by default
    the text in its fields. `check` and `passes` can demand more, such as that nothing is left out: they
    are what `gate` takes, and see the state with the plan in it. A step is asked again with the reason,
    `tries` times in all; then InvalidAnswer holds its plans. With `overlapping="drop"`, a subtask about
    the same as one before it is dropped instead, which costs nothing.

    `more`, a step, a rule or a function, gives further subtasks once there is a synthesis; an empty list
    ends the work, and so does the last of `rounds`. Those that are done already are dropped.

    `timeout_s`, `failed` and `missing` are as in `fan_out`; `missing` takes what the subtasks are about.

    Costs 2 + N calls a round for N subtasks, and one more for each plan that is asked for again.

        orchestrate(plan, research, write_up, into="findings", most=5, more=what_is_missing)
    """
    check_limits("orchestrate", most, timeout_s, failed)
    check_counts("orchestrate", rounds=rounds, tries=tries)
    if not 0 < alike <= 1:
        raise DefinitionError(f"orchestrate(alike={alike!r}): expected a share of words, above 0 to 1.")
    if overlapping not in ("repair", "drop"):
        raise DefinitionError(f"orchestrate(overlapping={overlapping!r}): expected 'repair' or 'drop'.")
    if not hasattr(plan, "answer") or plan.writes is None:
        raise DefinitionError(
            "orchestrate(plan, …): expected a step, or a rule with a field, that gives a list of subtasks. "
            "A function that splits something needs no plan: fan_out(split, worker, into=…)."
        )
    judge = None if check is None else check_of(check, passes, "orchestrate(check=…)", "orchestrate")
    further = more if more is None or hasattr(more, "answer") else as_rule(more, "orchestrate")
    parts = [part for part in (plan, synthesise, judge, further) if part is not None]
    state, worker_state = state_of(parts, "orchestrate"), state_of([worker], "orchestrate")
    check_field(state, into, list[worker_state], f"orchestrate(into={into!r})")  # type: ignore[valid-type]
    if missing is not None:
        check_field(state, missing, dict[str, str], f"orchestrate(missing={missing!r})")
    allow(worker_state)
    graph: Workflow[StateT] = Workflow(state, name or f"orchestrate_{name_of(worker)}")
    graph.note_writes(plan.writes, into, missing, getattr(further, "writes", None))

    standards = _Standards(worker_state, most, subject, alike, overlapping == "drop", tries, judge, brief)
    private = extended(extended(state, DONE, WorkerResults), CHANNEL, Effort)
    begin = graph.take_node(_Plan(plan, standards, first=True), private)
    work = graph.take_node(worker_node(worker, worker_state, timeout_s, failed), WorkerJob, name_of(worker))
    collect = graph.take_node(_Collect(into, missing), private)
    finish = graph.take(synthesise)
    graph.add_edge(START, begin)
    send_items(graph, begin, work)
    graph.add_edge(work, collect)
    graph.add_edge(collect, finish)
    graph.cost = _round(plan, judge, worker, synthesise, most, tries)
    if further is None or rounds == 1:
        graph.add_edge(finish, END)
        return graph

    again = graph.take_node(_Plan(further, standards, first=False), private)

    def is_over(efforts: Efforts) -> str:
        return "more" if efforts["stepgraph_effort"].number < rounds else "done"

    graph.add_conditional_edges(finish, is_over, {"more": again, "done": END})
    send_items(graph, again, work, END)
    later = Times(_round(further, None, worker, synthesise, most, tries, least=0), 0, rounds - 1)
    graph.cost = All((graph.cost, later))
    return graph


def _round(
    plan: Any, check: Any, worker: Any, synthesise: Any, most: int, tries: int, least: int = 1
) -> Cost:
    asked = All((cost_of(plan), *([check.cost] if check is not None else [])))
    work = (Times(cost_of(worker), least, most), Times(cost_of(synthesise), least, 1))
    return All((Times(asked, 1, tries if hasattr(plan, "again") else 1), *work))
