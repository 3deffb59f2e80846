"""Reads of single tables, for those who want rows: calls, node executions, scores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ...state.cost import NOTHING, Cost
from ...state.journal.journal import Journal
from .spans import Query, Row


def read_calls(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's calls, oldest first."""
    return journal.query("SELECT * FROM calls WHERE thread_id = ? ORDER BY started_at, rowid", (thread_id,))


def cost_of_calls(calls: Iterable[Row]) -> Cost:
    """Return what calls cost together."""
    return sum((_cost(call) for call in calls), NOTHING)


def _cost(call: Row) -> Cost:
    usd = call["cost_usd"]
    unknown = int(usd is None and call["status"] != "failed")
    return Cost(1, call["input_tokens"] or 0, call["output_tokens"] or 0, usd or 0.0, unknown)


def read_node_runs(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's node executions, in the order in which they ended."""
    return journal.query("SELECT * FROM node_runs WHERE thread_id = ? ORDER BY id", (thread_id,))


def read_scores(query: Query, thread_id: str) -> list[Row]:
    """Return the scores of a thread, oldest first."""
    return query("SELECT * FROM scores WHERE thread_id = ? ORDER BY scored_at", (thread_id,))


def read_input(journal: Journal, thread_id: str) -> dict[str, Any]:
    """Return the input that a thread was begun with on the command line; {} where there is none."""
    rows = journal.query("SELECT input FROM runs WHERE thread_id = ?", (thread_id,))
    given: dict[str, Any] = json.loads((rows and rows[0]["input"]) or "{}")
    return given


def read_shape(journal: Journal, thread_id: str) -> Row | None:
    """Return the shape of the graph that a thread ran last, if it left one."""
    rows = journal.query("SELECT fingerprint FROM runs WHERE thread_id = ?", (thread_id,))
    shape: Row | None = json.loads((rows and rows[0]["fingerprint"]) or "null")
    return shape


def threads_with_calls(journal: Journal, prefix: str) -> list[str]:
    """Return the threads whose ids begin with a prefix and that made calls."""
    sql = "SELECT DISTINCT thread_id FROM calls WHERE substr(thread_id, 1, ?) = ?"
    return [row["thread_id"] for row in journal.query(sql, (len(prefix), prefix))]


def unshared_costs(journal: Journal, thread_id: str) -> list[tuple[str, str | None, Cost]]:
    """Return step, role and cost of each call of a thread, as if no answer had been shared.

    A call that took its answer from the cache, or from an equal call, costs what that call cost.
    """
    rows = journal.query(
        # An answer from the cache may itself have come from there: go back to the call that was paid.
        "WITH RECURSIVE chain (id, step, role, at) AS ("
        "  SELECT id, step, role, id FROM calls"
        "  WHERE thread_id = ? AND source IN ('model', 'cache', 'coalesced')"
        "  UNION ALL SELECT chain.id, chain.step, chain.role, c.origin FROM chain"
        "  JOIN calls c ON c.id = chain.at WHERE c.source IN ('cache', 'coalesced')"
        ") SELECT chain.step, chain.role,"
        "  coalesce(sum(paid.input_tokens), 0) AS input, coalesce(sum(paid.output_tokens), 0) AS output,"
        "  coalesce(sum(paid.cost_usd), 0.0) AS usd,"
        "  CASE WHEN max(paid.id IS NOT NULL)"
        "    THEN coalesce(sum(paid.status <> 'failed' AND paid.cost_usd IS NULL), 0) ELSE 1 END AS unknown "
        "FROM chain LEFT JOIN calls paid ON paid.id = chain.at AND paid.source = 'model' "
        "GROUP BY chain.id",
        (thread_id,),
    )
    return [
        (row["step"], row["role"], Cost(1, row["input"], row["output"], row["usd"], row["unknown"]))
        for row in rows
    ]


def paid_calls(journal: Journal) -> list[Row]:
    """Return thread, step, role and tokens of every answer that was paid for, oldest first."""
    return journal.query(
        "SELECT thread_id, step, role, input_tokens, output_tokens FROM calls "
        "WHERE source = 'model' AND status <> 'failed' ORDER BY started_at, rowid"
    )


def longest_prompt(journal: Journal, step: str) -> int | None:
    """Return the most tokens that a prompt of a step had so far."""
    rows = journal.query("SELECT max(input_tokens) AS most FROM calls WHERE step = ?", (step,))
    most: int | None = rows[0]["most"]
    return most


def finished_runs(journal: Journal, fingerprint: str) -> list[Row]:
    """Return calls, tokens and usd of each finished run of a graph of this shape, forks left out."""
    return journal.query(
        "SELECT c.calls - c.shared AS calls, c.input_tokens + c.output_tokens AS tokens, c.cost_usd AS usd "
        "FROM runs r JOIN run_costs c ON c.thread_id = r.thread_id "
        "WHERE r.status = 'done' AND r.fingerprint = ? AND r.parent_thread IS NULL",
        (fingerprint,),
    )
