"""The route: a classifier decides which branch runs."""

from __future__ import annotations

from collections.abc import Coroutine, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args, get_origin, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.ask import Choice
from ...nodes.costs import All, OneOf, cost_of, costs_of
from ...nodes.decisions import choice_of
from ...nodes.node import Decider, Node, PlainFunction, Update, record_decision
from ...nodes.reviews import Label, Review
from ...state.errors import DefinitionError, NoRoute, did_you_mean
from ...state.schema import extended
from ..engine.deciding import begin_with, common_answer, reader_of
from ..engine.ways import add_instead
from ..engine.workflow import NodeLike, Workflow, state_of

L = TypeVar("L", bound=Hashable)

FALLBACK = "fallback"
WHY = "stepgraph_why"


class RouteState(TypedDict):
    """The route's private channels: the name of the branch that was chosen, and why."""

    stepgraph_branch: str
    stepgraph_why: str


@dataclass(eq=False)
class _Classify(Node[Any]):
    """Classifies, keeps the value in the state if it has a field, and picks the branch."""

    classifier: Decider[Any, Any]
    branches: Mapping[Any, str]
    min_confidence: float
    fallback: str | None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        value = await self.classifier.answer(input, config)
        choice = choice_of(value)
        branch, doubt = self._branch_for(choice)
        reason = f"{doubt} ({choice.reason})" if doubt and choice.reason else doubt or choice.reason
        record_decision(config, "route", branch, confidence=choice.confidence, reason=reason or None)
        return {
            **self.classifier.update(value),
            "stepgraph_branch": branch,
            WHY: reason or f"{self.classifier.name}: {choice.label}",
        }

    def _branch_for(self, choice: Choice[Any]) -> tuple[str, str]:
        """Return the branch's name and, for the fallback, why it was taken."""
        doubt = ""
        if choice.label is None:
            doubt = "the classifier does not know"
        elif choice.label not in self.branches:
            doubt = f"there is no branch {choice.label!r}"
        elif choice.confidence is not None and choice.confidence < self.min_confidence:
            doubt = f"{choice.label} only {choice.confidence:.2f} sure, below {self.min_confidence:.2f}"
        if not doubt:
            return self.branches[choice.label], ""
        if self.fallback:
            return self.fallback, doubt
        raise NoRoute(
            f"Route {self.classifier.name!r}: {doubt}, and there is no fallback. Branches: "
            f"{', '.join(map(str, self.branches))}. Add one: route(…, fallback=part)."
        )


@overload
def route(
    classifier: Decider[StateT, L],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: Decider[StateT, L | None] | PlainFunction[StateT, L | None],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: Decider[StateT, Choice[L]] | PlainFunction[StateT, Choice[L]],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: PlainFunction[StateT, Coroutine[Any, Any, L | None]],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: Workflow[StateT, L],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: Workflow[StateT, L | None],
    branches: Mapping[L, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: CompiledStateGraph[Any, Any, Any, Any],
    branches: Mapping[Any, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def route(
    classifier: Review[StateT],
    branches: Mapping[Label, NodeLike[StateT]],
    *,
    fallback: NodeLike[StateT] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[StateT]: ...
def route(
    classifier: Any,
    branches: Mapping[Any, NodeLike[Any]],
    *,
    fallback: NodeLike[Any] | None = None,
    min_confidence: float = 0.0,
    name: str | None = None,
) -> Workflow[Any]:
    """Run the branch that the classifier names.

    The classifier is a step (a model decides), a `nearest` (embeddings decide), a function or rule
    (code decides), or a pattern such as a vote, by the field that it answers with. It gives a label, a
    `Choice` with confidence and reason, a decision of LangChain's with probabilities, or None for "I don't
    know". What it does not know, a label without a branch, and a confidence below `min_confidence` (0 to 1)
    go to `fallback`; without one they raise NoRoute. The decision, its confidence and its reason are
    on the record.

    Costs one model call if a step classifies, else none, plus the branch that runs.
    """
    if not isinstance(branches, Mapping):
        raise DefinitionError("route() takes its branches as a mapping: route(classify, {label: part}).")
    if not 0 <= min_confidence <= 1:
        raise DefinitionError(f"route(min_confidence={min_confidence}): a confidence lies between 0 and 1.")
    if not branches:
        raise DefinitionError("route() needs at least one branch: route(classify, {label: part}).")
    decider = reader_of(classifier, "route")
    parts = [*branches.values(), *([fallback] if fallback is not None else [])]
    state = state_of([decider, *parts], "route")
    _check_labels(decider, branches, has_fallback=fallback is not None)
    graph: Workflow[Any] = Workflow(state, name or f"route_{decider.name}")

    seen = extended(state, WHY, str)

    def add_branch(part: Any, name: str) -> str:
        return add_instead(graph, part, name, seen, lambda values: str(values[WHY]))

    ends = {label: add_branch(part, _branch_name(label)) for label, part in branches.items()}
    targets: dict[Hashable, str] = {end: end for end in ends.values()}
    otherwise: str | None = None
    if fallback is not None:
        otherwise = add_branch(fallback, FALLBACK)
        targets[otherwise] = otherwise
    classify = _Classify(decider, ends, min_confidence, otherwise)
    first, start = begin_with(graph, decider, classify, name=decider.name, writes=[decider.writes])

    def branch(state: RouteState) -> str:
        return state["stepgraph_branch"]

    graph.add_edge(START, first)
    graph.add_conditional_edges(start, branch, {**targets})
    for target in targets.values():
        graph.add_edge(target, END)
    graph.writes = common_answer(parts)
    graph.cost = All((cost_of(decider), OneOf(costs_of(parts).parts)))
    return graph


def _branch_name(label: Any) -> str:
    text = str(getattr(label, "value", label))
    name = "".join(c if c.isalnum() or c in "_- " else "_" for c in text) or "branch"
    return f"{name}branch" if name in (START, END) else name


def _check_labels(decider: Any, branches: Mapping[Any, Any], *, has_fallback: bool) -> None:
    """Raise DefinitionError for labels that can be seen to have no branch, and the reverse."""
    labels = _labels_of(decider)
    if labels is None:
        return
    for label in branches:
        if label not in labels:
            hint = did_you_mean(str(label), map(str, labels))
            raise DefinitionError(f"route: {decider.name!r} never answers {label!r}. {hint}")
    missing = [label for label in labels if label not in branches and label is not None]
    if missing and not has_fallback:
        raise DefinitionError(
            f"route: no branch for {', '.join(map(repr, missing))}, which {decider.name!r} can answer. "
            "Add a branch or a fallback."
        )


def _labels_of(decider: Any) -> tuple[Any, ...] | None:
    """Return the labels of an embedding classifier, or of `Literal` return types; None if unknown."""
    if hasattr(decider, "labels"):
        return tuple(decider.labels)
    answer = getattr(decider, "answer_type", None)
    if isinstance(answer, type) and issubclass(answer, Choice):
        answer = answer.model_fields["label"].annotation
    options = (answer,) if get_origin(answer) is Literal else get_args(answer)
    known = [option for option in options if option is not type(None)]
    if not known or any(get_origin(option) is not Literal for option in known):
        return None
    return tuple(label for option in known for label in get_args(option))
