"""Whether a graph can run in the batch lane: told before anything is paid."""

from __future__ import annotations

from ..nodes.costs import asks_in, cost_of
from ..providers.stack.lane import no_batches
from ..providers.stack.roles import find_model
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
    for step in {asks.step for asks in asks_in(cost_of(graph))}:
        model: ModelStack | None = getattr(step, "own_model", None)
        try:
            model = model or find_model(step.role, run)
        except UnboundRole:
            continue  # told by the step, which may not run
        for member in model.members:
            if member.settings.batch_terms is None:
                raise no_batches(step.role, member.backend.name)
