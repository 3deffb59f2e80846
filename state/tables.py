"""The tables in which a run's record can be queried, beside LangGraph's own checkpoint tables.

Times are Unix seconds, durations are seconds, money is US dollars; a NULL cost is an *unknown* cost.
`task` is LangGraph's checkpoint namespace of one node execution and survives a resume;
`path` is the same for human eyes: the names of the nested nodes, joined by "/".
"""

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    thread_id   TEXT PRIMARY KEY,
    graph       TEXT,              -- what to load to resume it: a ready graph, module:attr or file.py:attr
    models      TEXT,              -- JSON: model roles bound on the command line; never a key
    input       TEXT,              -- JSON
    status      TEXT NOT NULL,     -- queued | running | done | partial | failed | interrupted
    budget      TEXT,              -- JSON: the limits of the run, see state/budget.py
    fingerprint TEXT,              -- JSON: the graph's shape and state type when it first ran
    parent_thread     TEXT,        -- where the thread was forked from
    parent_checkpoint TEXT,
    error       TEXT,
    started_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS calls (
    id             TEXT PRIMARY KEY,
    thread_id      TEXT NOT NULL,
    task           TEXT NOT NULL,
    path           TEXT NOT NULL,
    step           TEXT NOT NULL,
    role           TEXT,
    request_hash   TEXT NOT NULL,
    occurrence     INTEGER NOT NULL,  -- 0, 1, … for equal requests within one node execution
    attempt        INTEGER NOT NULL,  -- 1, 2, … for retries of one request
    status         TEXT NOT NULL,     -- answered | rejected | failed
    source         TEXT NOT NULL DEFAULT 'model', -- model: paid for; joined, cache: taken from `origin`
    origin         TEXT,              -- the id of the call whose answer this is, unless it is its own
    reason         TEXT,              -- where the cache is on: why the model was asked, or was not
    model_asked    TEXT NOT NULL,
    model_answered TEXT,
    messages       TEXT NOT NULL,     -- JSON: the prompt, in OpenAI's form
    params         TEXT NOT NULL,     -- JSON: schema, temperature, max_tokens …
    answer         TEXT,
    reasoning      TEXT,
    finish_reason  TEXT,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    cached_tokens  INTEGER,
    reasoning_tokens INTEGER,
    cost_usd       REAL,
    latency_s      REAL NOT NULL,
    problem        TEXT,              -- why the answer did not fit, or the error of a failed call
    replays        INTEGER NOT NULL DEFAULT 0,  -- how often a resume used it again, at no cost
    started_at     REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_answered
    ON calls (thread_id, task, request_hash, occurrence) WHERE status = 'answered';
CREATE INDEX IF NOT EXISTS calls_thread ON calls (thread_id, started_at);
CREATE INDEX IF NOT EXISTS calls_content ON calls (request_hash, started_at);
CREATE TABLE IF NOT EXISTS visits (
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    path        TEXT NOT NULL,
    node        TEXT NOT NULL,
    superstep   INTEGER NOT NULL,
    status      TEXT NOT NULL,        -- done | failed | interrupted
    output      TEXT,                 -- JSON: what the node wrote to the state
    error       TEXT,
    started_at  REAL NOT NULL,
    ended_at    REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS visits_thread ON visits (thread_id, started_at);
CREATE TABLE IF NOT EXISTS decisions (
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    path        TEXT NOT NULL,
    kind        TEXT NOT NULL,        -- route | refine | gate
    choice      TEXT NOT NULL,
    confidence  REAL,                 -- 0 to 1, NULL where the decider gives none
    reason      TEXT,
    decided_at  REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_thread ON decisions (thread_id, decided_at);
CREATE UNIQUE INDEX IF NOT EXISTS decisions_task ON decisions (thread_id, task);
CREATE TABLE IF NOT EXISTS claims (
    thread_id   TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,        -- unique for each run
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    expires_at  REAL NOT NULL         -- renewed while the owner lives
);
CREATE TABLE IF NOT EXISTS effects (
    key         TEXT PRIMARY KEY,     -- the idempotency key
    thread_id   TEXT NOT NULL,
    path        TEXT NOT NULL,
    status      TEXT NOT NULL,        -- begun | done
    result      TEXT,                 -- JSON: what the node wrote
    began_at    REAL NOT NULL,
    ended_at    REAL
);
"""
