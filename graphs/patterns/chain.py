"""The chain: parts in order, with gates between them."""

from __future__ import annotations

from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import All, Cost, OneOf, cost_of
from ...nodes.ends import End
from ...nodes.gates import Gate
from ...state.errors import DefinitionError
from ..engine.deciding import answer_of
from ..engine.workflow import NodeLike, Workflow, may_end, name_of, state_of


def chain(*parts: NodeLike[StateT], name: str | None = None) -> Workflow[StateT]:
    """Run parts one after the other. A `gate` among them can stop the chain early, an `end` the run.

    Costs what its parts cost: a chain of N steps makes N model calls.
    """
    if not parts:
        raise DefinitionError("chain() needs at least one part: a step, a pattern or a function.")
    if any(isinstance(part, End) for part in parts[:-1]):
        raise DefinitionError(
            "chain(): nothing runs behind an end(). Put it where a decision leads to it, such as "
            "gate(check, otherwise=end())."
        )
    graph: Workflow[StateT] = Workflow(state_of(parts, "chain"), name or f"chain_{name_of(parts[0])}")
    previous = START
    behind: NodeLike[StateT] | None = None
    for part in parts:
        if isinstance(part, Gate):
            node = graph.add_part(part.behind(behind, previous) if behind is not None else part)
        else:
            node = graph.add_part(part)
            behind = part
        graph.connect(previous, node)
        previous = node
    graph.add_edge(previous, END)
    cost: Cost = All()
    for part in reversed(parts):
        cost = All((cost_of(part), OneOf((All(), cost)) if may_end(part) else cost))
    graph.cost = cost
    answers = (answer_of(part) for part in reversed(parts) if not isinstance(part, Gate))
    graph.writes = next((field for field in answers if field), None)
    return graph
