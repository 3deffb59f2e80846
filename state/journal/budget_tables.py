"""The tables of what threads share: budgets, and the rate limits of an endpoint. See state/journal/tables.py.

Amounts are exact: calls, tokens, and trillionths of a dollar.
"""

BUDGET_TABLES = """
CREATE TABLE IF NOT EXISTS budget_accounts (  -- one period of a shared budget; more of it is in budget_holds
    scope       TEXT NOT NULL,        -- user:ada, tenant:acme, tag:nightly …
    per         TEXT NOT NULL,        -- hour | day | week | month, '' for ever
    starts_at   BIGINT NOT NULL,      -- when the period began (UTC), by the database's clock; 0 for ever
    ends_at     BIGINT,               -- NULL for ever
    calls       BIGINT NOT NULL DEFAULT 0,  -- paid for by those who have nothing set aside any more
    tokens      BIGINT NOT NULL DEFAULT 0,
    picos       BIGINT NOT NULL DEFAULT 0,
    allowed_calls  BIGINT,            -- the limits that a run named last
    allowed_tokens BIGINT,
    allowed_picos  BIGINT,
    PRIMARY KEY (scope, per, starts_at)
);
CREATE TABLE IF NOT EXISTS budget_holds (  -- who has set aside how much of it, and paid for what
    scope       TEXT NOT NULL,
    per         TEXT NOT NULL,
    starts_at   BIGINT NOT NULL,
    owner       TEXT NOT NULL,        -- a process; or a call that waits in a provider's batch
    calls       BIGINT NOT NULL,      -- set aside
    tokens      BIGINT NOT NULL,
    picos       BIGINT NOT NULL,
    spent_calls  BIGINT NOT NULL DEFAULT 0,  -- paid for
    spent_tokens BIGINT NOT NULL DEFAULT 0,
    spent_picos  BIGINT NOT NULL DEFAULT 0,
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
"""
