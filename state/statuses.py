"""The words that the record uses: how runs, nodes, calls and effects stand, and what decided."""

from __future__ import annotations

from typing import Final, Literal

RunStatus = Literal["queued", "running", "done", "partial", "failed", "interrupted"]
NodeStatus = Literal["done", "failed", "interrupted"]
CallStatus = Literal["answered", "rejected", "failed"]
CallSource = Literal["model", "coalesced", "cache", "copied", "override"]
EffectStatus = Literal["started", "done"]
RetrievalStatus = Literal["found", "failed"]
RetrievalSource = Literal["retriever", "copied"]
WaitKind = Literal["wait", "review"]
WaitStatus = Literal["waiting", "over", "answered"]
Lane = Literal["live", "batch"]
# gathered: nothing is sent yet; submitting: the provider may have it; waiting: it has it; ended: the results
# are on record; void: it was never begun, so its calls are asked anew.
BatchStatus = Literal["gathered", "submitting", "waiting", "ended", "void"]
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
