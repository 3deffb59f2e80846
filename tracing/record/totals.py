"""Sums over calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .spans import Row


@dataclass(frozen=True)
class Totals:
    """Sums over calls. `cost_usd` is None if the cost of any is unknown, `known_cost_usd` sums the others."""

    calls: int
    failed: int
    replays: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    known_cost_usd: float
    unknown_costs: int
    latency_s: float


def totals(calls: Sequence[Row]) -> Totals:
    """Return the sums over calls."""
    answered = [call for call in calls if call["status"] != "failed"]
    known = sum(call["cost_usd"] or 0.0 for call in calls)
    unknown = sum(call["cost_usd"] is None for call in answered)
    return Totals(
        calls=len(calls),
        failed=len(calls) - len(answered),
        replays=sum(call["replays"] for call in calls),
        input_tokens=sum(call["input_tokens"] or 0 for call in calls),
        output_tokens=sum(call["output_tokens"] or 0 for call in calls),
        cost_usd=None if unknown else known,
        known_cost_usd=known,
        unknown_costs=unknown,
        latency_s=sum(call["latency_s"] for call in calls),
    )
