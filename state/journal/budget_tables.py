"""The tables of what threads share: budgets, and the rate limits of an endpoint. See state/journal/tables.py.

Amounts are exact: calls, tokens, and trillionths of a dollar.
"""

from .sums import USD

BUDGET_TABLES = f"""
CREATE TABLE IF NOT EXISTS budget_accounts (  -- what one period of a shared budget has paid for
    scope       TEXT NOT NULL,        -- user:ada, tenant:acme, tag:nightly …
    per         TEXT NOT NULL,        -- hour | day | week | month, '' for ever
    starts_at   BIGINT NOT NULL,      -- when the period began (UTC), by the database's clock; 0 for ever
    ends_at     BIGINT,               -- NULL for ever
    calls       BIGINT NOT NULL DEFAULT 0,
    tokens      BIGINT NOT NULL DEFAULT 0,
    picos       BIGINT NOT NULL DEFAULT 0,
    held_calls  BIGINT NOT NULL DEFAULT 0,  -- set aside for calls under way: the sums of budget_holds
    held_tokens BIGINT NOT NULL DEFAULT 0,
    held_picos  BIGINT NOT NULL DEFAULT 0,
    allowed_calls  BIGINT,            -- the limits that a run named last
    allowed_tokens BIGINT,
    allowed_picos  BIGINT,
    PRIMARY KEY (scope, per, starts_at)
);
CREATE TABLE IF NOT EXISTS budget_holds (  -- who has set aside how much of it
    scope       TEXT NOT NULL,
    per         TEXT NOT NULL,
    starts_at   BIGINT NOT NULL,
    owner       TEXT NOT NULL,        -- a process; or a call that waits in a provider's batch
    calls       BIGINT NOT NULL,
    tokens      BIGINT NOT NULL,
    picos       BIGINT NOT NULL,
    expires_at  REAL NOT NULL,        -- renewed while the owner lives; what a dead one left may be billed yet
    PRIMARY KEY (scope, per, starts_at, owner)
);
CREATE INDEX IF NOT EXISTS budget_holds_owner ON budget_holds (owner);
CREATE TABLE IF NOT EXISTS budget_limits (  -- limits that a person set, in the place of what runs name
    scope       TEXT NOT NULL,
    per         TEXT NOT NULL,
    calls       BIGINT,
    tokens      BIGINT,
    picos       BIGINT,
    set_at      REAL NOT NULL,
    PRIMARY KEY (scope, per)
);
CREATE TABLE IF NOT EXISTS rate_limits (  -- how far the places of a shared endpoint are given away
    endpoint    TEXT PRIMARY KEY,     -- address, model and limits
    requests_at REAL NOT NULL,        -- when the next free place for a call is, by the database's clock
    tokens_at   REAL NOT NULL,
    held_until  REAL NOT NULL         -- the endpoint asked for a pause until then
);
CREATE TABLE IF NOT EXISTS rate_leases (  -- how many calls at a time each worker may have at an endpoint
    endpoint    TEXT NOT NULL,
    owner       TEXT NOT NULL,
    held        BIGINT NOT NULL,
    wanted      BIGINT NOT NULL,      -- how many it could use now
    expires_at  REAL NOT NULL,
    PRIMARY KEY (endpoint, owner)
);
CREATE VIEW IF NOT EXISTS shared_budgets AS  -- a row for each limit of each period of a shared budget
SELECT scope, per, starts_at, ends_at, resource, allowed, spent, reserved,
       CASE resource WHEN 'usd' THEN round(CAST(allowed - spent - reserved AS NUMERIC), 12)
                     ELSE allowed - spent - reserved END AS remaining
FROM (
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'calls' AS resource,
           1.0 * coalesce(l.calls, a.allowed_calls) AS allowed,
           1.0 * a.calls AS spent, 1.0 * a.held_calls AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
    UNION ALL
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'tokens' AS resource,
           1.0 * coalesce(l.tokens, a.allowed_tokens) AS allowed,
           1.0 * a.tokens AS spent, 1.0 * a.held_tokens AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
    UNION ALL
    SELECT a.scope, a.per, a.starts_at, a.ends_at, 'usd' AS resource,
           coalesce(l.picos, a.allowed_picos) {USD} AS allowed,
           a.picos {USD} AS spent, a.held_picos {USD} AS reserved
    FROM budget_accounts a LEFT JOIN budget_limits l ON l.scope = a.scope AND l.per = a.per
) limits WHERE allowed IS NOT NULL;
"""
