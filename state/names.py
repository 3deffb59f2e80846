"""The private names by which parts of stepgraph find in a config or a state what others put there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIVATE = "stepgraph_"  # how the names of the patterns' own channels begin
WRITTEN = "stepgraph_written"  # what the nodes of a nested graph wrote to fields with a reducer

# Keys of a config's `configurable`
SESSION_KEY = "__stepgraph_session"
CACHE_KEY = "__stepgraph_cache_s"
LEDGERS_KEY = "__stepgraph_ledgers"
DRAW_KEY = "__stepgraph_draw"
MODELS_KEY = "__stepgraph_models"
STARTER_KEY = "__stepgraph_starter"
RESTART_KEY = "__stepgraph_restart"
LANE_KEY = "__stepgraph_lane"
HALT_KEY = "__stepgraph_halt"
SPREAD_KEY = "__stepgraph_spread"
CHECKED_KEY = "__stepgraph_checked"
RESOURCES_KEY = "__stepgraph_resources"
RECORDED_KEY = "__stepgraph_recorded"
TERMS_KEY = "__stepgraph_terms"  # of `Session.config` alone
TURN_KEY = "__stepgraph_turn"  # the turn of a job for which its thread is run
UNTOUCHED_KEY = "__stepgraph_untouched"  # nothing was on record of the thread a moment ago
RESTART = "stepgraph_restart"  # true: begin anew, from who cannot call session.config
BUDGET = "stepgraph_budget"  # a thread's budget, from who cannot call session.config: limits by their names

GRAPH_KEY = "__stepgraph_graph"  # a key of a config's `metadata`

# What an interrupt's value says under `kind`
REVIEW = "stepgraph_review"
WAIT = "stepgraph_wait"
PARTS = "stepgraph_parts"
BUDGET_ENDED = "stepgraph_budget_ended"
DEPARTED = "stepgraph_departed"

REPLAYS = "replay/"  # how the threads begin on which recorded runs are replayed
LANGFUSE = "langfuse/"  # how the threads begin that were imported from there

# Channels that an agent and its tools share
MESSAGES = "stepgraph_messages"
CALL = "stepgraph_call"
TOOLBOX = "stepgraph_toolbox"
LEFT_OUT = "stepgraph_left_out"


def without_private(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state's fields without the patterns' own channels."""
    return {name: value for name, value in values.items() if not name.startswith(PRIVATE)}


def path_of(task: str) -> str:
    """Return the names of the nested nodes in a checkpoint namespace, joined by "/"."""
    return "/".join(part.partition(":")[0] for part in task.split("|"))
