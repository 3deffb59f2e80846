"""The attempt: a part that fails does not end the run; another one takes its place."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import All, OneOf, Times, cost_of
from ...nodes.node import Update, record_decision
from ...state.errors import DefinitionError
from ...state.schema import extended
from ..engine.branches import branch
from ..engine.deciding import common_answer
from ..engine.options import check_field, check_timeout, check_values
from ..engine.recovery import FAILURES, Recovering, failures_of, reason_of
from ..engine.ways import add_instead
from ..engine.workflow import NodeLike, Workflow, name_of, state_of, written_by

CHANNEL = "stepgraph_failure"
DONE, OTHERWISE = "done", "otherwise"


class AttemptState(TypedDict):
    """What the edge behind the part reads: why it failed, empty if it did not."""

    stepgraph_failure: str


@dataclass(frozen=True)
class _Failed:
    """Puts a failure on record, and gives what is written in its case."""

    reason: str | None
    instead: Mapping[str, Any]

    def __call__(self, state: Any, error: Exception, config: RunnableConfig) -> Update:
        reason = reason_of(error, config)
        record_decision(config, "attempt", OTHERWISE, reason=reason)
        fields = {} if self.reason is None else {self.reason: reason}
        return {**copy.deepcopy(dict(self.instead)), **fields, CHANNEL: reason}


def attempt(
    part: NodeLike[StateT],
    *,
    otherwise: NodeLike[StateT] | Mapping[str, Any],
    on: type[Exception] | Iterable[type[Exception]] = FAILURES,
    reason: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Run a part; if it fails, `otherwise` takes its place and the run goes on behind the two.

    `otherwise` is any part, or the update to write (`{}` writes nothing). It begins with the state as the
    part found it: nothing that a failed part wrote is kept, and all that it paid for is counted. `reason`
    names a text field that takes the error's class and message, or "" where the part did not fail.

    `on` are the errors that count as a failure. By default these are what a model or the toolkit has to
    say: ModelError, InvalidAnswer, GateFailed (Rejected too), GuardTripped, NoRoute, NoAnswer, and
    BranchTimeout, which comes after `timeout_s` seconds. Name the errors of your own functions yourself.
    Interrupts, a budget's end, Ctrl-C, a thread that somebody else runs, an effect in doubt and a wrong
    definition are never caught.

    The failure is on record as a decision. A resume goes on with `otherwise` and does not try the part
    again; to try it again, fork the thread before it. Costs what the part costs, and at most what
    `otherwise` costs.

        attempt(extract, otherwise=ask_a_person, reason="why")
    """
    kinds = failures_of("attempt", on)
    check_timeout("attempt", timeout_s)
    update = dict(otherwise) if isinstance(otherwise, Mapping) else None
    fallback: Any = otherwise if update is None else None
    state = state_of([part, *([] if fallback is None else [fallback])], "attempt")
    graph: Workflow[StateT] = Workflow(state, name or f"attempt_{name_of(part)}")
    check_field("attempt", state, str, reason=reason)
    if reason is not None and reason not in graph.plain_fields():
        raise DefinitionError(f"attempt(reason={reason!r}): that field has a reducer; take a plain one.")
    check_values("attempt(otherwise=…)", state, update or {})
    written = written_by(part)
    if written is not None:
        written = {*written, *(update or ()), *([] if reason is None else [reason])}

    failed = _Failed(reason, update or {})
    done = {CHANNEL: "", **({} if reason is None else {reason: ""})}
    control = Recovering(f"Part {name_of(part)!r}", kinds, failed, done, timeout_s)
    run = branch(part, graph, control, alone=True, ends=True)
    seen = extended(state, CHANNEL, str)
    work = graph.add_part(part, reads=seen, writes=written, runs_as=run)
    graph.inlined.add(work)
    graph.writes = common_answer([part, fallback])
    graph.ends_like(work, part)
    graph.add_edge(START, work)
    if fallback is None:
        graph.add_edge(work, END)
        graph.cost = Times(cost_of(part), 0, 1)
        return graph

    instead = add_instead(graph, fallback, OTHERWISE, seen, lambda values: str(values[CHANNEL]))

    def way(state: AttemptState) -> str:
        return OTHERWISE if state["stepgraph_failure"] else DONE

    graph.add_conditional_edges(work, way, {DONE: END, OTHERWISE: instead})
    graph.add_edge(instead, END)
    graph.cost = OneOf((cost_of(part), All((Times(cost_of(part), 0, 1), cost_of(fallback)))))
    return graph
