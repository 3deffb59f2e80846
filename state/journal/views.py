"""The views over the record's tables, for queries of people."""

from __future__ import annotations

from .budget_holds import sums
from .dialect import Dialect
from .sums import USD, unknown
from .tables import running_time

VIEWS = ("steps", "costs_by_step", "run_costs", "prompt_caching", "budgets", "shared_budgets")
_COSTS = f"""CASE WHEN count(*) FILTER (WHERE {unknown("c.")}) > 0 THEN NULL
            ELSE coalesce(sum(c.cost_picos), 0) {USD} END AS cost_usd,
       coalesce(sum(c.cost_picos), 0) {USD} AS known_cost_usd,
       count(*) FILTER (WHERE {unknown("c.")}) AS unknown_costs,
       coalesce(sum(c.estimated_tokens), 0) AS estimated_tokens,
       coalesce(sum(c.estimated_picos), 0) {USD} AS estimated_usd"""


def views(dialect: Dialect) -> str:
    """Return the script that makes the views."""
    return f"""
CREATE VIEW steps AS  -- a row for each node execution, as it ended last
SELECT n.thread_id, n.path, n.node, n.superstep, n.status, d.kind AS decided_by, d.choice, d.confidence,
       coalesce(c.calls, 0) AS calls, coalesce(c.failed, 0) AS failed,
       coalesce(c.superseded, 0) AS superseded, coalesce(c.shared, 0) AS shared,
       coalesce(c.input_tokens, 0) AS input_tokens, coalesce(c.output_tokens, 0) AS output_tokens,
       CASE WHEN c.unknown_costs > 0 THEN NULL ELSE coalesce(c.picos, 0) {USD} END AS cost_usd,
       coalesce(c.picos, 0) {USD} AS known_cost_usd, coalesce(c.unknown_costs, 0) AS unknown_costs,
       coalesce(c.estimated_tokens, 0) AS estimated_tokens,
       coalesce(c.estimated_picos, 0) {USD} AS estimated_usd,
       n.ended_at - n.started_at AS seconds, n.output, n.error, n.started_at, n.task
FROM node_runs n
LEFT JOIN decisions d ON d.thread_id = n.thread_id AND d.task = n.task
LEFT JOIN (
    SELECT thread_id, task, count(*) AS calls, count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'superseded') AS superseded,
           count(*) FILTER (WHERE source <> 'model') AS shared, sum(input_tokens) AS input_tokens,
           sum(output_tokens) AS output_tokens, sum(cost_picos) AS picos,
           count(*) FILTER (WHERE {unknown()}) AS unknown_costs, sum(estimated_tokens) AS estimated_tokens,
           sum(estimated_picos) AS estimated_picos
    FROM calls GROUP BY thread_id, task
) c ON c.thread_id = n.thread_id AND c.task = n.task
WHERE n.id IN (SELECT max(id) FROM node_runs GROUP BY thread_id, task);
CREATE VIEW costs_by_step AS  -- a row for each step of each graph and model
SELECT r.graph, c.step, c.model_asked AS model, count(*) AS calls,
       count(*) FILTER (WHERE c.status = 'failed') AS failed,
       count(*) FILTER (WHERE c.status = 'superseded') AS superseded,
       count(*) FILTER (WHERE c.source <> 'model') AS shared,
       coalesce(sum(c.input_tokens), 0) AS input_tokens,
       coalesce(sum(c.output_tokens), 0) AS output_tokens, {_COSTS},
       avg(CASE WHEN c.source = 'model' AND c.status <> 'failed' THEN c.latency_s END) AS mean_latency_s
FROM calls c LEFT JOIN runs r ON r.thread_id = c.thread_id
GROUP BY r.graph, c.step, c.model_asked;
CREATE VIEW run_costs AS  -- a row for each thread
SELECT r.thread_id, r.graph, r.status, r.parent_thread, count(c.id) AS calls,
       count(*) FILTER (WHERE c.status = 'failed') AS failed,
       count(*) FILTER (WHERE c.status = 'superseded') AS superseded,
       count(*) FILTER (WHERE c.source <> 'model') AS shared,
       coalesce(sum(c.replays), 0) AS replays, coalesce(sum(c.input_tokens), 0) AS input_tokens,
       coalesce(sum(c.output_tokens), 0) AS output_tokens, {_COSTS},
       r.updated_at - r.started_at AS seconds, r.started_at
FROM runs r LEFT JOIN calls c ON c.thread_id = r.thread_id
GROUP BY r.thread_id;
CREATE VIEW prompt_caching AS  -- a row for each step of each thread and model that says so
SELECT r.graph, c.thread_id, c.step, c.model_asked AS model, count(*) AS calls,
       coalesce(sum(c.input_tokens), 0) AS input_tokens, sum(c.cached_tokens) AS cached_tokens,
       coalesce(sum(c.cache_write_tokens), 0) AS cache_write_tokens,
       1.0 * sum(c.cached_tokens) / nullif(sum(c.input_tokens), 0) AS cached_share,
       min(c.started_at) AS started_at, max(c.started_at) AS last_at
FROM calls c LEFT JOIN runs r ON r.thread_id = c.thread_id
WHERE c.source = 'model' AND c.status <> 'failed' AND c.cached_tokens IS NOT NULL
GROUP BY r.graph, c.thread_id, c.step, c.model_asked;
CREATE VIEW budgets AS  -- a row for each limit of each thread
WITH paid AS (
    SELECT thread_id, count(*) AS calls,
           sum(coalesce(cost_picos, 0) + coalesce(estimated_picos, 0)) {USD} AS usd,
           sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(estimated_tokens, 0))
               AS tokens
    FROM calls WHERE source = 'model' GROUP BY thread_id
), ran AS ({running_time()})
SELECT thread_id, status, resource, allowed, spent,
       CASE resource WHEN 'usd' THEN round(CAST(allowed - spent AS NUMERIC), 12)
                     ELSE allowed - spent END AS remaining
FROM (
    SELECT r.thread_id, r.status, b.key AS resource, b.value AS allowed,
           CASE b.key WHEN 'calls' THEN coalesce(p.calls, 0) WHEN 'tokens' THEN coalesce(p.tokens, 0)
                      WHEN 'usd' THEN coalesce(p.usd, 0)  -- what is known and what is estimated
                      WHEN 'seconds' THEN coalesce(n.seconds, 0) END AS spent
    FROM runs r JOIN {dialect.json_each("r.budget")} b ON b.value IS NOT NULL
    LEFT JOIN paid p ON p.thread_id = r.thread_id LEFT JOIN ran n ON n.thread_id = r.thread_id
    WHERE b.key NOT IN ('answer_tokens', 'shared', 'ruled')
) limits;
CREATE VIEW shared_budgets AS  -- a row for each limit of each period of a shared budget
WITH held AS (
    SELECT scope, per, starts_at, {", ".join(f"{sql} AS {name}" for name, sql in sums().items())}
    FROM budget_holds GROUP BY scope, per, starts_at
)
SELECT scope, per, starts_at, ends_at, resource, allowed, spent, reserved,
       CASE resource WHEN 'usd' THEN round(CAST(allowed - spent - reserved AS NUMERIC), 12)
                     ELSE allowed - spent - reserved END AS remaining
FROM (
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'calls' AS resource,
           1.0 * coalesce(l.calls, a.allowed_calls) AS allowed,
           1.0 * (a.calls + coalesce(h.spent_calls, 0)) AS spent,
           1.0 * coalesce(h.held_calls, 0) AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
    LEFT JOIN held h ON h.scope = a.scope AND h.per = a.per AND h.starts_at = a.starts_at
    UNION ALL
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'tokens' AS resource,
           1.0 * coalesce(l.tokens, a.allowed_tokens) AS allowed,
           1.0 * (a.tokens + coalesce(h.spent_tokens, 0)) AS spent,
           1.0 * coalesce(h.held_tokens, 0) AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
    LEFT JOIN held h ON h.scope = a.scope AND h.per = a.per AND h.starts_at = a.starts_at
    UNION ALL
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'usd' AS resource,
           coalesce(l.picos, a.allowed_picos) {USD} AS allowed,
           (a.picos + coalesce(h.spent_picos, 0)) {USD} AS spent,
           coalesce(h.held_picos, 0) {USD} AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
    LEFT JOIN held h ON h.scope = a.scope AND h.per = a.per AND h.starts_at = a.starts_at
) limits WHERE allowed IS NOT NULL;
"""
