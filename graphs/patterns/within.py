"""A budget for a part of a graph."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.typing import StateT

from ...state.budget import Budgets, Ledger, ThreadBudgets
from ...state.event_loops import run_sync
from ...state.run_context import RunContext, with_ledgers
from ..engine.branches import counted, invoke_for_sync
from ..engine.deciding import answer_of
from ..engine.workflow import NodeLike, Workflow, as_workflow, name_of, nested


def within(part: NodeLike[StateT], budget: Budgets, *, name: str | None = None) -> Workflow[StateT]:
    """Run a part under a budget of its own, inside whatever budget the run has.

    Each execution of the part starts with the whole budget; a resume goes on with what is left of
    it. One with a scope is shared by all that name it; several stand in a list. When it ends, the run pauses
    as with a run's budget. Needs a session. Costs what the part costs.
    """
    workflow = as_workflow(part, "within")
    scope = name or name_of(part)
    promise = f"The part {scope!r} has a budget"
    budgets = ThreadBudgets.of(budget)
    limits = budgets.own

    def limited(config: RunnableConfig) -> RunnableConfig:
        here = RunContext.of(config)
        if here.session is None:
            here.check_kept(promise)
            return config
        ledgers: list[Ledger] = [here.session.shared_ledger(each) for each in budgets.shared]
        if limits is not None:
            ledger = Ledger(limits, scope=f"the part {scope!r}")
            thread, task = here.thread_id, here.task
            ledger.begin(here.session.journal.spent(thread, task), here.session.ran_s(thread, task))
            if limits.supersteps is not None:
                config = {**config, "recursion_limit": limits.supersteps}
            ledgers.append(ledger)
        return with_ledgers(config, *here.ledgers, *ledgers)

    async def arun(inner: Any, state: Any, config: RunnableConfig) -> Any:
        own = limited(config)
        return await counted(inner.ainvoke(state, own), own)

    def run(inner: Any, state: Any, config: RunnableConfig) -> Any:
        own = limited(config)
        return run_sync(counted(invoke_for_sync(inner, state, own), own))

    graph: Workflow[StateT] = Workflow(workflow.state, name or f"within_{scope}")
    inner = nested(workflow.compile_inside(), graph, run, arun)
    node = graph.add_part(workflow, name_of(part), runs_as=inner)
    graph.inlined.add(node)
    graph.ends_like(node, workflow)
    graph.promises.append(promise)
    graph.cost = workflow.cost
    graph.writes = answer_of(part)
    graph.add_edge(START, node)
    graph.add_edge(node, END)
    return graph
