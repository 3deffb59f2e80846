"""A workflow: a LangGraph `StateGraph` that knows its name and how to take in parts of all kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels import LastValue
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import FREE, Cost, cost_of
from ...nodes.effects import Effect
from ...nodes.ends import ENDED, End, Ended, EndState, has_ended
from ...nodes.node import Node
from ...nodes.waits import Wait
from ...providers.stack.roles import RoleModels, bound_models
from ...state.errors import DefinitionError
from ...state.names import GRAPH_KEY
from ...state.run_context import with_models
from ...state.schema import (
    StateType,
    extended,
    signature_types,
    values_of,
)
from ...state.serde import allow
from ...state.session.fingerprint import GraphMark
from ...state.session.internals import node_of
from ...state.state_checks import check_alias, check_constructor, check_kept
from .compiled import CompiledWorkflow
from .functions import checked
from .naming import Names, caller_place
from .writes import Nested, collected, spread

RUNS = ("invoke", "ainvoke", "stream", "astream", "get_state", "aget_state", "get_name")


@dataclass(frozen=True)
class SoFar:
    """What a pattern makes of its private channels before its end, for the result of a run that did not end.

    `update` are the fields that it can write already; `hidden` are the nodes whose answers, in the private
    channels, have no field yet.
    """

    update: dict[str, Any] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


ValueT = TypeVar("ValueT", default=Any)


class Workflow(StateGraph[StateT, None, StateT, StateT], Generic[StateT, ValueT]):
    """What every pattern returns: an ordinary `StateGraph` over the user's own state type.

    `ValueT` is the type of the answer by which it decides, as far as checkers can know: that of a vote.

    `compile()` makes an ordinary compiled LangGraph graph of it; `add_node`, `add_edge` and the rest
    work as always, up to the compilation.
    """

    def __init__(self, state: StateType, name: str) -> None:
        super().__init__(state)
        self.name = name
        self.state: StateType = state
        self.writes: str | None = None  # the field that holds its answer, where it has one
        self.writes_all: set[str] | None = set()
        self.cost: Cost = FREE
        self.promises: list[str] = []  # what holds only in a session, in words
        self.inlined: set[str] = set()  # nodes with a graph that works on this one's state
        self.place = caller_place()
        self._names = Names(name)
        self.ending: set[str] = set()  # nodes that may end the run
        self.held: set[str] = set()  # nodes of which nothing may be seen before the pattern lets it out
        self.so_far: Callable[[Mapping[str, Any]], SoFar] | None = None
        allow(state)
        check_kept(state)
        check_alias(state)

    def compile(
        self, *args: Any, models: RoleModels | None = None, **kwargs: Any
    ) -> CompiledStateGraph[StateT, None, StateT, StateT]:
        """Like `StateGraph.compile`, with the workflow's name as the graph's.

        `models` answer in all runs of the graph, in whatever thread or task: a dict of roles, or one for
        every role, of what `using` takes.
        """
        check_constructor(self.state)
        kwargs.setdefault("name", self.name)
        graph = super().compile(*args, **kwargs)
        graph.__class__ = CompiledWorkflow
        config: RunnableConfig = {"metadata": {GRAPH_KEY: GraphMark(graph)}}
        bound = {} if models is None else bound_models(models, f"{self.name}.compile(models=…)")
        graph.config = with_models(config, bound) if bound else config
        return graph

    def compile_inside(self) -> CompiledStateGraph[StateT, None, StateT, StateT]:
        """Compile for a graph around this one: the end of the run in here is one there, too."""
        if not self.ending:
            return self.compile()
        whole = self.output_schema
        self.output_schema = extended(self.state, ENDED, Ended)
        try:
            return self.compile()
        finally:
            self.output_schema = whole

    if not TYPE_CHECKING:  # a type checker knows already that a workflow has no such method

        def __getattr__(self, name: str) -> Any:
            if name in RUNS:
                raise AttributeError(
                    f"{self.name!r} is not compiled yet: graph.compile() gives the graph that has {name!r}."
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} over {self.state.__name__}: {', '.join(self.outline())}>"

    def outline(self) -> list[str]:
        """Return the names of the nodes, with those of the patterns among them in brackets."""
        parts = {node: self._names.parts.get(node) for node in self.nodes}
        return [
            f"{node}({', '.join(part.outline())})" if isinstance(part, Workflow) else node
            for node, part in parts.items()
        ]

    def part_of(self, node: str) -> Any:
        """Return the part that gave a node its name, None if none did."""
        return self._names.parts.get(node)

    def plain_fields(self) -> set[str]:
        """Return the state's fields that have no reducer."""
        schema = self.schemas[self.state]
        return {name for name, channel in schema.items() if isinstance(channel, LastValue)}

    def add_part(
        self,
        part: NodeLike[Any],
        name: str | None = None,
        *,
        reads: type[Any] | None = None,
        writes: Iterable[str | None] | None = None,
        runs_as: Any = None,
        stands_for: Any = None,
    ) -> str:
        """Add a part as a node and return the node's name: `name`, or the part's own.

        `writes` names the state's fields that the node can write; by default the part says so itself, and
        a plain function or compiled graph counts as one that can write any. Other patterns rely on it.
        `reads` is the schema of what the node gets, if that is not the state: the state with private
        channels, or what a `Send` carries. `runs_as` is the runnable that runs in the part's place; or the
        part is the pattern's own node and `stands_for` a part that has its name from the user.
        """
        if isinstance(part, Wait):
            part.deadline.check_state(self.state)
        fields = written_by(part) if writes is None else {field for field in writes if field}
        known = fields is not None and self.writes_all is not None
        self.writes_all = {*self.writes_all, *fields} if known else None  # type: ignore[misc]
        self.promises += promises_of(part)
        named = part if stands_for is None else stands_for
        own = name is None and getattr(named, "is_named", True)
        node = self._names.take(name or name_of(named), named, self.nodes, own=own)
        adder: Any = self
        adder.add_node(node, as_runnable(part, self) if runs_as is None else runs_as, input_schema=reads)
        if runs_as is None:
            self.ends_like(node, part)
            if isinstance(part, (Workflow, Pregel)):
                self.inlined.add(node)
        return node

    def ends_like(self, node: str, part: NodeLike[Any]) -> None:
        """Note that a node may end the run if its part may."""
        if may_end(part):
            self.ending.add(node)
            self._add_schema(extended(self.state, ENDED, Ended))

    def connect(self, source: str, target: str) -> None:
        """Add an edge to what runs behind a part, unless that ends the run."""
        if source not in self.ending or target == END:
            self.add_edge(source, target)
            return

        def way(state: EndState) -> str:
            return "end" if has_ended(state) else "on"

        self.add_conditional_edges(source, way, {"on": target, "end": END})


Pattern: TypeAlias = Workflow[StateT] | CompiledStateGraph[Any, Any, Any, Any]
"""What runs as a graph of its own: patterns, and graphs that are compiled."""

NodeLike: TypeAlias = (
    Node[StateT]
    | Workflow[StateT]
    | CompiledStateGraph[Any, Any, Any, Any]
    | End
    | Callable[Concatenate[StateT, ...], Any]
)
"""What patterns are made of: steps and other nodes, patterns, compiled graphs, plain functions."""


def may_end(part: Any) -> bool:
    """Tell whether a part may end the run. What is compiled already ends alone."""
    return isinstance(part, End) or (isinstance(part, Workflow) and bool(part.ending))


def promises_of(part: Any) -> list[str]:
    """Return what a part promises that holds only in a session."""
    if isinstance(part, CompiledStateGraph):
        part = part.builder
    if isinstance(part, Workflow):
        return part.promises
    promise = getattr(part, "promise", None)
    return [promise] if isinstance(promise, str) else []


def name_of(part: Any) -> str:
    """Return the name that a part gets as a node."""
    name = getattr(part, "name", None) or getattr(part, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else type(part).__name__


def written_by(part: Any) -> set[str] | None:
    """Return the fields that a part can write, None where nobody knows."""
    if isinstance(part, Workflow):
        return part.writes_all
    if isinstance(part, Effect):
        return None
    if isinstance(part, End):
        return set()
    if isinstance(part, Node):
        writes = getattr(part, "writes", None), getattr(part, "writes_also", None)
        return {field for field in writes if field}
    return None


def state_of(parts: Iterable[Any], where: str) -> StateType:
    """Return the state type that all parts share. Raises DefinitionError if there is none."""
    states: dict[StateType, str] = {}
    for part in parts:
        state = _own_state(part, where)
        if state is not None:
            states.setdefault(state, name_of(part))
    if len(states) > 1:
        shown = ", ".join(f"{name} works on {state.__name__}" for state, name in states.items())
        raise DefinitionError(
            f"{where}: all parts must work on one state type, but {shown}. Call the odd one from a plain "
            "node function that translates between the two."
        )
    if not states:
        raise DefinitionError(
            f"{where}: no part says what the state is. Annotate a node function's first parameter with it."
        )
    return next(iter(states))


def _own_state(part: Any, where: str) -> StateType | None:
    if isinstance(part, (Workflow, Node)):
        return part.state
    if isinstance(part, CompiledStateGraph):
        return None
    if isinstance(part, StateGraph):
        raise DefinitionError(f"{where}: compile a hand-written graph first: chain(step, graph.compile()).")
    if isinstance(part, Runnable):
        return None
    if callable(part):
        return signature_types(part)[0]
    raise DefinitionError(
        f"{where}: {part!r} is no part of a graph. Expected a step, a pattern, a compiled graph or a "
        "function of the state."
    )


def as_workflow(part: Any, where: str) -> Workflow[Any]:
    """Return a part as a graph of its own: as it is, or as the one node of a graph."""
    if isinstance(part, Workflow):
        return part
    graph: Workflow[Any] = Workflow(state_of([part], where), f"chain_{name_of(part)}")
    node = graph.add_part(part)
    graph.add_edge(START, node)
    graph.add_edge(node, END)
    graph.cost = cost_of(part)
    return graph


def as_runnable(part: Any, graph: Workflow[Any]) -> Any:
    """Return what LangGraph is given as the node."""
    if isinstance(part, Workflow):
        return nested(part.compile_inside(), graph)
    if isinstance(part, End):
        return part.on(graph.state)
    if isinstance(part, Pregel):
        return nested(part, graph)
    if isinstance(part, Runnable):
        return part
    return checked(part, graph.state, name_of(part))


def nested(
    inner: Pregel[Any, Any, Any, Any],
    graph: Workflow[Any],
    call: Callable[[Any, Any, RunnableConfig], Any] | None = None,
    acall: Callable[[Any, Any, RunnableConfig], Awaitable[Any]] | None = None,
) -> Any:
    """Return a compiled graph as a node that writes each reducer field's final value, once.

    A subgraph starts with its parent's values and returns all of them; through the reducer again,
    what was there before would count twice. `call` and `acall` run the graph that they are given, if it is
    not run as it is.
    """
    part = Nested(inner, graph.schemas[graph.state])
    inner = part.graph
    if part.fits and call is acall is None:
        return inner

    def run(state: Any, config: RunnableConfig) -> Any:
        with collected() as written:
            after = inner.invoke(state, config) if call is None else call(inner, state, config)
        return after if part.fits else spread(part.in_turn(values_of(state), after, written))

    async def arun(state: Any, config: RunnableConfig) -> Any:
        with collected() as written:
            after = await (inner.ainvoke(state, config) if acall is None else acall(inner, state, config))
        return after if part.fits else spread(part.in_turn(values_of(state), after, written))

    return node_of(run, arun)
