"""The review: the run waits until a person approves, rejects or edits a field of the state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, overload

from langchain_core.runnables import RunnableConfig
from langgraph.channels import LastValue
from langgraph.graph import END, START, StateGraph
from langgraph.typing import StateT

from ...nodes.costs import All, OneOf, cost_of
from ...nodes.deadlines import Until
from ...nodes.escalations import Escalation, Steps
from ...nodes.node import Node, Update, record_decision
from ...nodes.reviews import Review, choice_of
from ...state.errors import DefinitionError
from ...state.schema import (
    StateType,
    accepts,
    caller_names,
    check_fields,
    extended,
    fields_of,
    signature_types,
)
from ...state.serde import allow
from ..engine.ways import add_instead
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

CHANNEL = "stepgraph_review"
ANSWERED, OTHERWISE = "answered", "otherwise"
Default = Literal["approve", "reject"]


class ReviewState(TypedDict):
    """The review's private channel: that nobody answered in time, in words; empty where somebody did."""

    stepgraph_review: str


@dataclass(eq=False)
class _Reviewed(Node[Any]):
    """Waits for the verdict, and says whether nobody gave one in time."""

    review: Review[Any]
    otherwise: str

    @property
    def promise(self) -> str | None:
        return self.review.promise

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        verdict = await self.review.answer(input, config)
        to = f"; goes to {self.otherwise}" if verdict.expired else ""
        record_decision(config, "review", choice_of(verdict), reason=f"{verdict.reason}{to}" or None)
        if verdict.expired:
            return {CHANNEL: verdict.reason}
        return {**self.review.settled(input, verdict), CHANNEL: ""}


@overload
def review(
    field: str,
    *,
    reason: str | None = None,
    deadline: Until | None = None,
    otherwise: Default | None = None,
    to: str | None = None,
    escalate_to: Steps | None = None,
) -> Callable[[Callable[[StateT], str]], Review[StateT]]: ...
@overload
def review(
    field: str,
    *,
    reason: str | None = None,
    deadline: Until,
    otherwise: NodeLike[StateT],
    to: str | None = None,
    escalate_to: Steps | None = None,
) -> Callable[[Callable[[StateT], str]], Workflow[StateT]]: ...
def review(
    field: str,
    *,
    reason: str | None = None,
    deadline: Until | None = None,
    otherwise: Default | NodeLike[Any] | None = None,
    to: str | None = None,
    escalate_to: Steps | None = None,
) -> Any:
    """Make a review of a function that turns the state into the question for a person.

    `field` is what the person judges. They approve it, reject it with a reason, or edit it: put another
    value in its place, which is validated against the field's type. An answer that cannot be taken is
    asked again, with what is wrong. The run waits as long as it takes, over restarts too, so it needs
    a session; the answer comes from `stepgraph approve`, `reject` and `edit`, or from Python:

        app.invoke(Command(resume={"decision": "reject", "reason": "too long", "by": "ada"}), config)

    As a part of a pattern it lets what is approved pass. A rejection raises Rejected; or, with `reason`,
    a text field of the state, it is written there and the run goes on ("" means approved). To go
    elsewhere, decide by its value, a Verdict:

        route(check, {"approved": send, "rejected": park})
        refine(write, check, until=lambda verdict: verdict.approved, rounds=3)

    With a `deadline`, given as for `wait`, nobody is waited for beyond it. Then `otherwise` stands for the
    answer: "approve" or "reject"; or it is the part to which the run goes, such as somebody else's review,
    before it goes on behind this one, unless that part is an `end`.
    Without it, the verdict's label is "expired": a branch of a route; elsewhere it raises DeadlinePassed.
    The run goes on when `stepgraph resume --due` or `resume` finds that the time has come. An answer after
    the deadline is refused with AnswerTooLate.

    `to` says whom it asks; `escalate_to` who is asked next where nobody has answered so long after the first
    question: `{"grace": timedelta(hours=4), "on call": timedelta(days=1)}`. The question tells who is asked
    now and who was when, under `to` and `asked`, and so does `stepgraph pending`. Anybody may still answer.
    Workers do it by themselves; without them, `stepgraph resume --due` does.

    Costs no model call, and then what `otherwise` costs.

        @review("draft", deadline=timedelta(days=2), otherwise="reject")
        def check(post: Post) -> str:
            return f"Publish this on {post.topic}?"
    """
    if callable(field):
        raise DefinitionError('review needs the field that is judged: @review("draft"), not @review.')
    if otherwise is not None and deadline is None:
        raise DefinitionError("review(otherwise=…) says what happens after a deadline: give deadline=… too.")
    if isinstance(otherwise, str) and otherwise not in ("approve", "reject"):
        raise DefinitionError(
            f'review(otherwise={otherwise!r}): expected "approve", "reject", or the part that runs then.'
        )
    namespace = caller_names()

    def decorate(function: Callable[[StateT], str]) -> Review[StateT] | Workflow[StateT]:
        name = function.__name__
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(f"Review {name!r} is async, but it only words the question.")
        state, _ = signature_types(function, namespace)
        _check_fields(name, state, field, reason)
        allow(state)
        escalation = Escalation.of(f"Review {name!r}", to, escalate_to, deadline)
        default = otherwise if otherwise in ("approve", "reject") else None
        node: Review[StateT] = Review(
            function,
            field,
            state=state,
            reason=reason,
            until=deadline,
            default=default,
            escalation=escalation,
        )
        if otherwise is None or default is not None:
            return node
        return _with_otherwise(node, otherwise)

    return decorate


def _check_fields(name: str, state: StateType, field: str, reason: str | None) -> None:
    fields = [field] if reason is None else [field, reason]
    check_fields(state, fields, f"Review {name!r}")
    channels = StateGraph(state).schemas[state]
    for each in fields:
        if not isinstance(channels[each], LastValue):
            raise DefinitionError(
                f"Review {name!r}: {state.__name__}.{each} has a reducer, so what a person puts there "
                "would be merged with what it holds. Use a plain field."
            )
    if reason is not None and not accepts(fields_of(state)[reason], str):
        raise DefinitionError(f"Review {name!r}: {state.__name__}.{reason} must be text to hold a reason.")


def _with_otherwise(node: Review[Any], otherwise: Any) -> Workflow[Any]:
    graph: Workflow[Any] = Workflow(state_of([node, otherwise], "review"), f"review_{node.name}")
    asking = _Reviewed(node, name_of(otherwise))
    start = graph.add_part(asking, node.name, writes=[node.writes, node.writes_also])
    private = extended(graph.state, CHANNEL, str)
    instead = add_instead(graph, otherwise, None, private, lambda values: str(values[CHANNEL]))

    def way(state: ReviewState) -> str:
        return OTHERWISE if state["stepgraph_review"] else ANSWERED

    ways: dict[Hashable, str] = {ANSWERED: END, OTHERWISE: instead}
    graph.add_edge(START, start)
    graph.add_conditional_edges(start, way, ways)
    graph.add_edge(instead, END)
    graph.cost = OneOf((All(), cost_of(otherwise)))
    return graph
