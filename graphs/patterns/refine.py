"""The refine loop: produce, judge, and produce again with the judge's word, a bounded number of times."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import Times, costs_of
from ...nodes.node import Decider, Node, PlainFunction, Update, record_decision
from ...state.errors import DefinitionError
from ...state.json_text import json_text
from ...state.schema import extended, restored, values_of
from ...state.serde import allow
from ..engine.branches import branch
from ..engine.deciding import Reader, answer_of, before_of, reader_of
from ..engine.options import check_counts
from ..engine.recovery import FAILURES, Kinds, Recovering, reason_of
from ..engine.reset import Reset
from ..engine.workflow import NodeLike, SoFar, Workflow, name_of, state_of, written_by
from ..engine.writes import same

V = TypeVar("V")

CHANNEL = "stepgraph_rounds"
FAILED = "failed"
MAX_REASON = 500


@dataclass(frozen=True)
class Rounds:
    """The loop's private record: how far it is, and the best that it has seen."""

    number: int = 0
    going: bool = True
    produced: dict[str, Any] = field(default_factory=dict)
    best_round: int = 0
    best_score: float | None = None
    best: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    unjudged: bool = False


allow(Rounds)


class LoopState(TypedDict):
    """What the loop's edge reads."""

    stepgraph_rounds: Rounds


@dataclass(eq=False)
class _Judge(Node[Any]):
    """Judges a round and decides whether there is another one: `until` says so, `limit` bounds it."""

    judge: Decider[Any, Any]
    until: Callable[[Any], bool]
    score: Callable[[Any], float] | None
    limit: int
    produced: frozenset[str]
    judged: frozenset[str]
    caught: Kinds

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        values = values_of(input)
        past: Rounds = values[CHANNEL]
        if past.failure:
            return self._stop(config, past, FAILED, past.failure)
        produced = {name: _copy(values[name]) for name in self.produced if name in values}
        if produced and same(produced, past.produced):
            return self._stop(config, past, "unchanged", "the new draft equals the one before it")

        try:
            value = await self.judge.answer(restored(input, self.judge.state), config)
        except self.caught as error:
            failed = _judge_failed(input, error, config)[CHANNEL]
            return self._stop(config, failed, FAILED, failed.failure)
        update = self.judge.update(value)
        number = past.number + 1
        now = replace(past, number=number, produced=produced)
        score = self._score_of(value)
        if past.best_score is None or (score is not None and score >= past.best_score):
            judged = {name: _copy(values[name]) for name in self.judged if name in values}
            best = {**produced, **judged, **{name: _copy(kept) for name, kept in update.items()}}
            now = replace(now, best=best, best_round=number, best_score=score)

        shown = json_text(value)[:MAX_REASON]
        if self.until(value):
            record_decision(config, "refine", "approved", reason=f"round {number}: {shown}")
            return {**update, CHANNEL: replace(now, going=False, best={})}
        if number >= self.limit:
            return update | self._stop(config, now, "rounds used up", shown)
        record_decision(config, "refine", "again", reason=f"round {number}: {shown}")
        return {**update, CHANNEL: now}

    def _stop(self, config: RunnableConfig | None, rounds: Rounds, why: str, detail: str) -> dict[str, Any]:
        """End without approval: the best round's fields go back into the state."""
        reason = f"kept round {rounds.best_round} of {rounds.number}: {detail}"
        record_decision(config, "refine", why, reason=reason)
        return {**rounds.best, CHANNEL: replace(rounds, going=False, best={})}

    def _score_of(self, value: Any) -> float | None:
        number = value if isinstance(value, (int, float)) else getattr(value, "score", None)
        if self.score is not None:
            number = self.score(value)
        return float(number) if isinstance(number, (int, float)) and not math.isnan(number) else None


@dataclass(eq=False)
class _Compare(Node[Any]):
    """Notes whether a pattern that judges is to run: not on what failed, or equals the draft before it."""

    produced: frozenset[str]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        values = values_of(input)
        past: Rounds = values[CHANNEL]
        produced = {name: values[name] for name in self.produced if name in values}
        equal = bool(produced) and same(produced, past.produced)
        return {CHANNEL: replace(past, unjudged=equal or bool(past.failure))}


def _judge_failed(state: Any, error: Exception, config: RunnableConfig | None) -> Update:
    failed: Rounds = _failed(state, error, config)[CHANNEL]
    return {CHANNEL: replace(failed, number=failed.number + 1)}


def _failed(state: Any, error: Exception, config: RunnableConfig | None) -> Update:
    """Note why a round failed, or raise the error if there is no earlier round to keep."""
    past: Rounds = values_of(state)[CHANNEL]
    if not past.best_round:
        raise error
    return {CHANNEL: replace(past, failure=reason_of(error, config))}


def _copy(value: Any) -> Any:
    """Return a value that later rounds cannot change, or the value itself where it has no copy."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _judged(graph: Workflow[Any], judge: Decider[Any, Any]) -> frozenset[str]:
    """Return the plain fields that a pattern which judges can write."""
    if not isinstance(judge, Reader):
        return frozenset()
    wrote = written_by(judge.before)
    return frozenset(({judge.field} if wrote is None else wrote) & graph.plain_fields())


@overload
def refine(
    produce: NodeLike[StateT],
    judge: PlainFunction[StateT, Coroutine[Any, Any, V]],
    *,
    until: Callable[[V], bool],
    rounds: int,
    score: Callable[[V], float] | None = None,
    failed: Literal["keep", "fail"] = "keep",
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def refine(
    produce: NodeLike[StateT],
    judge: Decider[StateT, V] | PlainFunction[StateT, V],
    *,
    until: Callable[[V], bool],
    rounds: int,
    score: Callable[[V], float] | None = None,
    failed: Literal["keep", "fail"] = "keep",
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def refine(
    produce: NodeLike[StateT],
    judge: Workflow[StateT, V],
    *,
    until: Callable[[V], bool],
    rounds: int,
    score: Callable[[V], float] | None = None,
    failed: Literal["keep", "fail"] = "keep",
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def refine(
    produce: NodeLike[StateT],
    judge: CompiledStateGraph[Any, Any, Any, Any],
    *,
    until: Callable[[Any], bool],
    rounds: int,
    score: Callable[[Any], float] | None = None,
    failed: Literal["keep", "fail"] = "keep",
    name: str | None = None,
) -> Workflow[StateT]: ...
def refine(
    produce: NodeLike[Any],
    judge: Any,
    *,
    until: Callable[[Any], bool],
    rounds: int,
    score: Callable[[Any], float] | None = None,
    failed: Literal["keep", "fail"] = "keep",
    name: str | None = None,
) -> Workflow[Any]:
    """Produce and judge until the judge's value satisfies `until`, at most `rounds` times.

    The judge is a step, a rule, a function of the state, or a pattern, by the field that it answers with;
    what it writes is there for the next round to read. Without approval the best round's fields are put
    back, as `score` ranks them (by default the judge's value if it is a number, or its `score`; else the last
    round counts as best). A draft equal to the one before ends the loop unjudged. Fields with a reducer keep
    every round's entries.

    A round that fails after an earlier one, for a reason that `attempt` catches, ends the loop with the best
    so far; with `failed="fail"` it ends the run, which a resume tries again.

    Costs at most `rounds` times what producer and judge cost: two steps make 2 x rounds model calls.
    """
    check_counts("refine", rounds=rounds)
    for option, function in (("until", until), ("score", score)):
        if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
            raise DefinitionError(f"refine({option}=…): expected a plain function of the judge's value.")
    if failed not in ("keep", "fail"):
        raise DefinitionError(f"refine(failed={failed!r}): expected 'keep' or 'fail'.")
    caught = FAILURES if failed == "keep" else ()
    decider = reader_of(judge, "refine")
    state = state_of([produce, decider], "refine")
    graph: Workflow[Any] = Workflow(state, name or f"refine_{name_of(produce)}")
    wrote = written_by(produce)
    candidates = graph.plain_fields() if wrote is None else wrote & graph.plain_fields()
    before = before_of(decider)
    judged = _judged(graph, decider)
    produced = frozenset(candidates - {decider.writes} - judged)

    begin = graph.add_part(Reset(CHANNEL, Rounds()), "begin")
    seen = extended(state, CHANNEL, Rounds)
    control = Recovering(f"Producer {name_of(produce)!r}", caught, _failed)
    draft = graph.add_part(
        produce, reads=seen, runs_as=branch(produce, graph, control, alone=True, ends=True)
    )
    graph.inlined.add(draft)
    graph.ends_like(draft, produce)
    judging = _Judge(decider, until, score, rounds, produced, judged, caught)
    title = None if before is None else "decide"
    verdict = graph.add_part(judging, title, reads=seen, writes=[decider.writes], stands_for=decider)

    def is_unjudged(loop: LoopState) -> bool:
        return loop["stepgraph_rounds"].unjudged

    def again(loop: LoopState) -> str:
        return "again" if loop["stepgraph_rounds"].going else "done"

    def so_far(values: Mapping[str, Any]) -> SoFar:
        past = values.get(CHANNEL)
        if not isinstance(past, Rounds) or not past.best:
            return SoFar()
        unjudged = any(not same(values.get(name), past.best.get(name)) for name in produced)
        return SoFar(past.best, frozenset({draft} if unjudged else ()))

    graph.so_far = so_far
    graph.writes = answer_of(produce)
    graph.add_edge(START, begin)
    graph.add_edge(begin, draft)
    if before is None:
        graph.connect(draft, verdict)
    else:
        compare = graph.add_part(_Compare(produced), "compare", reads=seen, writes=())
        control = Recovering(f"Judge {decider.name!r}", caught, _judge_failed)
        asking = branch(before, graph, control, alone=True, ends=True)
        asked = graph.add_part(before, reads=seen, runs_as=asking)
        graph.inlined.add(asked)
        graph.ends_like(asked, before)
        graph.connect(draft, compare)
        graph.add_conditional_edges(compare, is_unjudged, {False: asked, True: verdict})
        graph.connect(asked, verdict)
    graph.add_conditional_edges(verdict, again, {"again": draft, "done": END})
    graph.cost = Times(costs_of([produce, decider]), 1, rounds)
    return graph
