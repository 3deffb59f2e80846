"""The words that the record uses: how runs, nodes, calls and effects stand, and what decided."""

from __future__ import annotations

from typing import Literal

RunStatus = Literal["queued", "running", "done", "partial", "failed", "interrupted"]
NodeStatus = Literal["done", "failed", "interrupted"]
CallStatus = Literal["answered", "rejected", "failed"]
CallSource = Literal["model", "coalesced", "cache", "copied", "override"]
EffectStatus = Literal["started", "done"]
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
    "vote",
    "ensemble",
    "section",
    "fan_out",
    "map_reduce",
    "orchestrate",
    "agent",
    "tool",
]
