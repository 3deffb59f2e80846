"""The orchestrator: a plan of subtasks, a worker for each, and one result of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, Opinion, check_of
from ...nodes.costs import All, Cost, Times, cost_of
from ...nodes.ends import EndState, has_ended
from ...nodes.node import Decider, Node, PlainFunction, Update, record_decision
from ...nodes.plans import is_known, problem_with, subject_of, without_overlaps
from ...nodes.steps import Step
from ...state.errors import DefinitionError, InputError, InvalidAnswer
from ...state.json_text import json_text
from ...state.schema import StateType, extended, restored, values_of
from ...state.serde import allow
from ..engine.deciding import answer_of, begin_with, reader_of
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
from ..engine.workflow import NodeLike, Pattern, SoFar, Workflow, name_of, state_of

W = TypeVar("W")
V = TypeVar("V")

CHANNEL = "stepgraph_progress"
MAX_PLAN = 2000


@dataclass(frozen=True)
class Progress:
    """The orchestrator's private record: which round it is, and what its subtasks are about.

    `planned` are the subtasks of this round, `finished` those of the rounds before that did not fail.
    """

    number: int = 0
    planned: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


allow(Progress)


class OrchestrationState(EndState):
    """What the edge behind the synthesis reads."""

    stepgraph_progress: Progress


@dataclass(frozen=True)
class PlanRules(Generic[W]):
    """What makes a plan sound, beside the number of its subtasks.

    Two subtasks are about the same thing from a share of `similarity` common words on, above 0 to 1.
    `subject` says what a subtask is about, by default the text in its fields. `overlapping` says what
    happens then: the plan is asked for again ("repair"), or the later subtask is dropped ("drop"). A plan
    is asked for at most `tries` times in all.
    """

    tries: int = 3
    subject: Callable[[W], str] = subject_of
    similarity: float = 0.8
    overlapping: Literal["repair", "drop"] = "repair"

    def __post_init__(self) -> None:
        check_counts("PlanRules", tries=self.tries)
        if not 0 < self.similarity <= 1:
            raise DefinitionError(
                f"PlanRules(similarity={self.similarity!r}): expected a share of words, above 0 to 1."
            )
        if self.overlapping not in ("repair", "drop"):
            raise DefinitionError(
                f"PlanRules(overlapping={self.overlapping!r}): expected 'repair' or 'drop'."
            )


@dataclass(eq=False)
class _Plan(Node[Any]):
    """Makes a plan, or says what else is to be done, and has it repaired until it is sound."""

    decider: Decider[Any, Any]
    worker_state: StateType
    max_items: int
    rules: PlanRules[Any]
    check: Check[Any] | None
    brief: Callable[[Any, Any], Any] | None
    first: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        past = Progress() if self.first else values_of(input)[CHANNEL]
        state = restored(input, self.decider.state)
        value, problems = await self._sound(state, config)
        tasks = [(task, self.rules.subject(task)) for task in value]
        known = partial(is_known, others=past.finished, similarity=self.rules.similarity)
        new = [(task, subject) for task, subject in tasks if not known(subject)]
        planned = [subject for _, subject in new]
        dropped = [subject for _, subject in tasks if known(subject)]
        notes = [f"round {past.number + 1}: {'; '.join(planned)}" if planned else f"{past.number} rounds"]
        notes += [f"done already: {'; '.join(dropped)}"] if dropped else []
        notes += [f"repaired: {problem}" for problem in problems]
        choice = f"{len(new)} subtasks" if new else "enough"
        record_decision(config, "orchestrate", choice, reason=" | ".join(notes))
        progress = replace(past, number=past.number + 1, planned=planned)
        items = [self._briefed(state, task) for task, _ in new]
        return {**self.decider.update(value), ITEMS: items, CHANNEL: progress}

    def _briefed(self, state: Any, task: Any) -> Any:
        brief = self.brief
        if brief is None:
            return task
        (briefed,) = check_items("orchestrate(brief=…)", [brief(state, task)], self.worker_state)
        return briefed

    async def _sound(self, state: Any, config: RunnableConfig | None) -> tuple[list[Any], list[str]]:
        """Return a sound plan, and what was wrong with those before it."""
        value = await self.decider.answer(state, config)
        step = self.decider if isinstance(self.decider, Step) else None  # only a step can plan again
        plans: list[str] = []
        problems: list[str] = []
        while True:
            if self.rules.overlapping == "drop":
                value = without_overlaps(value, self.rules.subject, self.rules.similarity)
            planned = applied(state, self.decider.update(value))
            problem = await self._problem(planned, value, config)
            if problem is None:
                return list(value), problems
            plans.append(json_text(value))
            problems.append(problem)
            if step is None or len(plans) == self.rules.tries:
                break
            value = await step.again(planned, problem, config)
        last = f"Last problem: {problems[-1]} Last plan: {plans[-1][:MAX_PLAN]}"
        if step is None:
            raise InputError(f"{self.decider.name!r} gave no sound plan. {last}")
        raise InvalidAnswer(
            f"Step {step.name!r} gave no sound plan in {len(plans)} tries. {last}",
            step=step.name,
            answers=tuple(plans),
            problems=problems[-1],
        )

    async def _problem(self, state: Any, value: Any, config: RunnableConfig | None) -> str | None:
        tasks = check_items(self.decider.name, value, self.worker_state)
        if not tasks and not self.first:
            return None
        subjects = [self.rules.subject(task) for task in tasks]
        problem = problem_with(subjects, max_items=self.max_items, similarity=self.rules.similarity)
        if problem is None and self.first and self.check is not None:
            result = await self.check.answer(state, config)
            if not result.passed:
                problem = result.reason
        return problem


@dataclass(eq=False)
class _CollectRound(Node[Any]):
    """Adds the results of a round's workers to the user's field."""

    into: str
    missing: str | None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        values = values_of(input)
        progress: Progress = values[CHANNEL]
        results = finished(input)
        first = progress.number == 1
        done = [result.item for result in results if result.failure is None]
        if first and not done:
            raise InputError(f"Every one of {len(results)} subtasks failed. The first: {results[0].failure}")
        subjects = [progress.planned[result.index] for result in results if result.failure is None]
        update: dict[str, Any] = {self.into: [*([] if first else values[self.into]), *done], ITEMS: []}
        if self.missing is not None:
            before = {} if first else values[self.missing]
            reasons = {progress.planned[r.index]: r.failure for r in results if r.failure is not None}
            update[self.missing] = {**{k: v for k, v in before.items() if k not in subjects}, **reasons}
        return {**update, CHANNEL: replace(progress, finished=[*progress.finished, *subjects])}


def orchestrate(
    plan: Decider[StateT, list[W]] | Pattern[StateT],
    worker: NodeLike[W],  # type: ignore[type-var]
    synthesise: NodeLike[StateT],
    *,
    into: str,
    brief: Callable[[StateT, W], W] | None = None,
    max_items: int = 8,
    check: Decider[StateT, V] | PlainFunction[StateT, Opinion] | None = None,
    passes: Callable[[V], Opinion] | None = None,
    more: Decider[StateT, list[W]] | PlainFunction[StateT, Sequence[W]] | Pattern[StateT] | None = None,
    rounds: int = 2,
    rules: PlanRules[W] | None = None,
    timeout_s: float | None = None,
    failed: Literal["fail", "skip"] = "fail",
    missing: str | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Plan subtasks, run a worker on each at once, and make one result of theirs.

    `plan` is a step, a rule or a pattern that writes a list of subtasks: worker states, `max_items` of
    them at most. The worker is any part over that type. The field `into`, a list of it, takes the worker
    states as they are in the end; `synthesise` runs then. A worker sees its subtask alone: where it needs
    more than the plan says, `brief` makes its subtask from the state and the planned one. Subtasks cannot
    wait for each other: make those one subtask.

    A plan must have subtasks, not too many, and no two about the same thing: `rules` says when two of them
    are, what happens then, and how often a plan is asked for (`PlanRules`). `check` and `passes` can demand
    more, such as that nothing is left out: they are what `gate` takes, and see the state with the plan in
    it. A step gets the reason and plans again; after the last try it raises InvalidAnswer with its plans. An
    unsound plan of a rule or a pattern is an InputError at once.

    `more`, a step, a rule, a function or a pattern, gives further subtasks once there is a synthesis; an
    empty list ends the work, and so does the last of `rounds`. Those that are done already are dropped.

    `timeout_s`, `failed` and `missing` are as in `fan_out`; `missing` takes what the subtasks are about.

    Costs 2 + N calls a round for N subtasks, and one more for each plan that is asked for again.

        orchestrate(plan, research, write_up, into="findings", max_items=5, more=what_is_missing)
    """
    check_limits("orchestrate", max_items, timeout_s, failed)
    check_counts("orchestrate", rounds=rounds)
    planning: Decider[StateT, Any] | None = plan if isinstance(plan, Decider) else None
    if isinstance(plan, (Workflow, CompiledStateGraph)):
        planning = reader_of(plan, "orchestrate")
    elif planning is None or planning.writes is None:
        raise DefinitionError(
            "orchestrate(plan, …): expected a step, a pattern, or a rule with a field, that gives a list of "
            "subtasks. A function that splits something needs no plan: fan_out(split, worker, into=…)."
        )
    rules = rules or PlanRules()
    judge = None if check is None else check_of(check, passes, "orchestrate(check=…)", "orchestrate")
    further = None if more is None else reader_of(more, "orchestrate")
    parts = [part for part in (planning, synthesise, judge, further) if part is not None]
    state, worker_state = state_of(parts, "orchestrate"), state_of([worker], "orchestrate")
    check_field("orchestrate", state, list[worker_state], into=into)  # type: ignore[valid-type]
    check_field("orchestrate", state, dict[str, str], missing=missing)
    graph: Workflow[StateT] = Workflow(state, name or f"orchestrate_{name_of(worker)}")

    seen = extended(extended(state, DONE, WorkerResults), CHANNEL, Progress)

    def add_plan(decider: Decider[Any, Any], check: Check[Any] | None, *, first: bool) -> tuple[str, str]:
        node = _Plan(decider, worker_state, max_items, rules, check, brief, first=first)
        return begin_with(graph, decider, node, reads=seen, writes=[decider.writes], stands_for=decider)

    start, begin = add_plan(planning, judge, first=True)
    node = worker_node(worker, worker_state, timeout_s, failed)
    work = graph.add_part(worker, reads=WorkerJob, writes=(), runs_as=node)
    collect = graph.add_part(_CollectRound(into, missing), "collect", reads=seen, writes=[into, missing])
    finish = graph.add_part(synthesise)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        done = [result.item for result in finished(values) if result.failure is None]
        if not done:
            return SoFar()
        return SoFar({into: [*([] if values[CHANNEL].number == 1 else values[into]), *done]})

    graph.so_far = so_far
    graph.writes = answer_of(synthesise)
    graph.add_edge(START, start)
    send_items(graph, begin, work)
    graph.add_edge(work, collect)
    graph.add_edge(collect, finish)
    graph.cost = _round(planning, judge, worker, synthesise, max_items, rules.tries)
    if further is None or rounds == 1:
        graph.add_edge(finish, END)
        return graph

    anew, again = add_plan(further, None, first=False)

    def is_over(state: OrchestrationState) -> str:
        going = state["stepgraph_progress"].number < rounds and not has_ended(state)
        return "more" if going else "done"

    graph.add_conditional_edges(finish, is_over, {"more": anew, "done": END})
    send_items(graph, again, work, END)
    later = _round(further, None, worker, synthesise, max_items, rules.tries)
    graph.cost = All((graph.cost, Times(later, 0, rounds - 1)))
    return graph


def _round(plan: Any, check: Any, worker: Any, synthesise: Any, max_items: int, tries: int) -> Cost:
    attempt = All((cost_of(plan), *([check.cost] if check is not None else [])))
    planning = Times(attempt, 1, tries) if isinstance(plan, Step) else attempt
    return All((planning, Times(cost_of(worker), 1, max_items), cost_of(synthesise)))
