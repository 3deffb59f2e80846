"""The words that the record uses: how runs, nodes, calls and effects stand, and what decided."""

from __future__ import annotations

from typing import Final, Literal, get_args

from .errors import InputError, did_you_mean

RunStatus = Literal["queued", "running", "done", "partial", "failed", "interrupted"]
# How a run stands: `unfinished` where its process died. That is read off its claim, and never on record.
RunState = RunStatus | Literal["unfinished"]
NodeStatus = Literal["done", "failed", "interrupted"]
CallStatus = Literal["answered", "rejected", "failed", "superseded"]
CallSource = Literal["model", "coalesced", "cache", "copied", "override"]
EffectStatus = Literal["started", "done", "undone"]  # undone: a person said that it did not happen
RetrievalStatus = Literal["found", "failed"]
RetrievalSource = Literal["retriever", "copied"]
WaitKind = Literal["wait", "review"]
WaitStatus = Literal["waiting", "over", "answered"]
Lane = Literal["live", "batch"]
# gathered: nothing is sent yet; submitting: the provider may have it; waiting: it has it; ended: the results
# are on record; void: it was never begun, so its calls are asked anew.
BatchStatus = Literal["gathered", "submitting", "waiting", "ended", "void"]
RUNNING: Final = "running"
UNFINISHED: Final = "unfinished"
RUN_STATES: Final = ("done", "failed", UNFINISHED, "interrupted", "partial", RUNNING, "queued")
CUT: Final = "length"  # the finish_reason of an answer that ends at the limit on its tokens
DecisionKind = Literal[
    "route",
    "attempt",
    "end",
    "refine",
    "gate",
    "guard",
    "verify",
    "cascade",
    "review",
    "wait",
    "vote",
    "ensemble",
    "section",
    "fan_out",
    "map_reduce",
    "orchestrate",
    "agent",
    "tool",
]


def known_lane(lane: Lane) -> Lane:
    """Return the lane. Raises InputError for one that is unknown, which would be paid as a live one."""
    known: tuple[str, ...] = get_args(Lane)
    if lane not in known:
        hint = did_you_mean(lane, known) if isinstance(lane, str) else ""
        raise InputError(f"lane = {lane!r}; expected {' or '.join(map(repr, known))}. {hint}".rstrip())
    return lane
