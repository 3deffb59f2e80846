"""Sums over the journal's calls, as every reader of costs asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cost import Cost
from ..money import PICOS, dollars

USD = f"/ {PICOS}.0"  # makes dollars of trillionths


def unknown(table: str = "") -> str:
    """Return the condition that nobody knows what a call cost; `table` is its alias with the dot."""
    return f"{table}status <> 'failed' AND {table}cost_picos IS NULL"


def cost_columns(table: str = "") -> str:
    """Return the columns of a SELECT over calls that `cost_in` reads; `table` is their alias with the dot."""
    return (
        f"count({table}thread_id) AS calls, "
        f"coalesce(sum({table}input_tokens), 0) AS input_tokens, "
        f"coalesce(sum({table}output_tokens), 0) AS output_tokens, "
        f"coalesce(sum({table}cost_picos), 0) AS cost_picos, "
        f"count(*) FILTER (WHERE {unknown(table)}) AS unknown, "
        f"coalesce(sum({table}estimated_tokens), 0) AS estimated_tokens, "
        f"coalesce(sum({table}estimated_picos), 0) AS estimated_picos"
    )


def cost_in(row: Mapping[str, Any]) -> Cost:
    """Return the cost that a row of `cost_columns` says."""
    return Cost(
        row["calls"],
        row["input_tokens"],
        row["output_tokens"],
        dollars(row["cost_picos"]),
        row["unknown"],
        row["estimated_tokens"],
        dollars(row["estimated_picos"]),
    )
