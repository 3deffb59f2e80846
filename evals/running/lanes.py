"""Whether a suite can run in the batch lane: told before anything is paid."""

from __future__ import annotations

from ...runners.lanes import check_lane, check_role_in_batches
from ...state.names import LANE_KEY
from ...state.run_context import RunContext
from ...state.statuses import Lane, known_lane
from ..scoring.judge import Judge
from ..suite.model import Suite
from ..suite.topology import Compiled


def check_suite_lane(suite: Suite, graph: Compiled, lane: Lane) -> None:
    """Raise SettingsError if a suite is to run in the batch lane, and one of its models has no batch API."""
    if known_lane(lane) != "batch":
        return
    check_lane(graph, RunContext({LANE_KEY: lane}))
    for evaluator in suite.evaluators:
        if isinstance(evaluator, Judge):
            check_role_in_batches(evaluator.model)
