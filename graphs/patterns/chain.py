"""The chain: parts in order, with gates between them."""

from __future__ import annotations

from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import costs_of
from ...nodes.gates import Gate
from ...state.errors import DefinitionError
from ..engine.workflow import NodeLike, Workflow, name_of, state_of


def chain(*parts: NodeLike[StateT], name: str | None = None) -> Workflow[StateT]:
    """Run parts one after the other. A `gate` among them can stop the chain early.

    Costs what its parts cost: a chain of N steps makes N model calls.
    """
    if not parts:
        raise DefinitionError("chain() needs at least one part: a step, a pattern or a function.")
    graph: Workflow[StateT] = Workflow(state_of(parts, "chain"), name or f"chain_{name_of(parts[0])}")
    previous = START
    behind: NodeLike[StateT] | None = None
    for part in parts:
        if isinstance(part, Gate):
            node = graph.add_part(part.behind(behind, previous) if behind is not None else part)
        else:
            node = graph.add_part(part)
            behind = part
        graph.add_edge(previous, node)
        previous = node
    graph.add_edge(previous, END)
    graph.cost = costs_of(parts)
    return graph
