"""Reads of single tables, for those who want rows: calls, node executions, scores."""

from __future__ import annotations

import json
from typing import Any

from ...state.journal.journal import Journal
from .spans import Query, Row


def read_calls(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's calls, oldest first."""
    return journal.query("SELECT * FROM calls WHERE thread_id = ? ORDER BY started_at, rowid", (thread_id,))


def read_node_runs(journal: Journal, thread_id: str) -> list[Row]:
    """Return the thread's node executions, in the order in which they ended."""
    return journal.query("SELECT * FROM visits WHERE thread_id = ? ORDER BY id", (thread_id,))


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


def paid_sums(journal: Journal, thread_id: str) -> Row:
    """Return a thread's paid calls, their tokens, the known cost in usd, and how many have an unknown one."""
    calls, tokens, usd, unknown = journal.spent(thread_id)
    return {"calls": calls, "tokens": tokens, "usd": usd, "unknown": unknown}


def unshared_sums(journal: Journal, thread_id: str) -> list[Row]:
    """Return what each call of a thread cost, or the call cost whose answer it took from elsewhere.

    Each row has the call's step and role, tokens, usd, and unknown: 1 where nobody knows the cost.
    """
    return journal.query(
        # An answer from the cache may itself have come from there: go back to the call that was paid.
        "WITH RECURSIVE chain (id, step, role, at) AS ("
        "  SELECT id, step, role, id FROM calls"
        "  WHERE thread_id = ? AND source IN ('model', 'cache', 'joined')"
        "  UNION ALL SELECT chain.id, chain.step, chain.role, c.origin FROM chain"
        "  JOIN calls c ON c.id = chain.at WHERE c.source IN ('cache', 'joined')"
        ") SELECT chain.step, chain.role,"
        "  coalesce(sum(coalesce(paid.input_tokens, 0) + coalesce(paid.output_tokens, 0)), 0) AS tokens,"
        "  coalesce(sum(paid.cost_usd), 0.0) AS usd,"
        "  CASE WHEN max(paid.id IS NOT NULL)"
        "    THEN coalesce(sum(paid.status <> 'failed' AND paid.cost_usd IS NULL), 0) ELSE 1 END AS unknown "
        "FROM chain LEFT JOIN calls paid ON paid.id = chain.at AND paid.source = 'model' "
        "GROUP BY chain.id",
        (thread_id,),
    )


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
