"""Whether a graph can run in the batch lane: told before anything is paid."""

from __future__ import annotations

from ..nodes.costs import asks_in, cost_of
from ..providers.stack.lane import batch_problem
from ..providers.stack.roles import NOWHERE, find_model
from ..providers.stack.stack import ModelStack
from ..state.errors import UnboundRole
from ..state.run_context import RunContext
from .loading import Compiled


def check_lane(graph: Compiled, run: RunContext) -> None:
    """Raise SettingsError if the run is in the batch lane, and a model of its steps has no batch API.

    What functions and tools ask cannot be seen here; it is checked when they ask.
    """
    if run.lane != "batch":
        return
    for step in {id(asks.step): asks.step for asks in asks_in(cost_of(graph))}.values():
        model: ModelStack | None = getattr(step, "own_model", None)
        if model is None:
            check_role_in_batches(step.role, run)
        else:
            check_in_batches(model, step.role)


def check_role_in_batches(role: str | None, run: RunContext = NOWHERE) -> None:
    """Raise SettingsError if a model that answers for a role has no batch API.

    One that nothing binds is told of by its step, which may never be asked.
    """
    try:
        model = find_model(role, run)
    except UnboundRole:
        return
    check_in_batches(model, role)


def check_in_batches(model: ModelStack, role: str | None) -> None:
    """Raise SettingsError if one of a role's models has no batch API."""
    for member in model.members:
        problem = batch_problem(role, member.backend.name, member.settings)
        if problem is not None:
            raise problem
