"""The tables of threads that were handed to workers, and of the answers that were given meanwhile."""

JOB_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (     -- a row for each thread that was handed to workers
    thread_id    TEXT PRIMARY KEY,
    graph        TEXT NOT NULL,       -- the name under which workers serve it
    version      TEXT,                -- of the graph with which it was begun, where that has one
    trace        INTEGER NOT NULL,    -- which input of the thread it is, see invocations
    input        TEXT NOT NULL,       -- JSON
    options      TEXT NOT NULL,       -- JSON: budget, user, tags, metadata, lane, cache_s
    engine       TEXT NOT NULL,       -- local, or an engine's address, without its password
    link         TEXT,                -- the engine's own name for it
    status       TEXT NOT NULL,       -- queued | running | waiting | done | partial | failed | canceled
    kind         TEXT,                -- the class of the error of one that failed
    attempts     INTEGER NOT NULL DEFAULT 0,  -- turns that were begun since one ended well
    due_at       REAL,                -- not before then; of one that waits, its next deadline
    epoch        INTEGER NOT NULL DEFAULT 0,  -- grows with each turn: an earlier one writes nothing more
    owner        TEXT,                -- the worker whose turn it is
    former       TEXT,                -- the worker whose turn before this one did not end
    expires_at   REAL,                -- when its turn is over, unless it says that it lives
    woken        INTEGER NOT NULL DEFAULT 0,  -- 1: another turn is to follow the one under way
    stop         INTEGER NOT NULL DEFAULT 0,  -- 1: it is to be canceled
    submitted_at REAL NOT NULL,
    updated_at   REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (engine, status, due_at);
CREATE TABLE IF NOT EXISTS job_answers (  -- to what threads wait for, until a worker has taken them
    thread_id    TEXT NOT NULL,
    question     TEXT NOT NULL,       -- the interrupt's id
    answer       TEXT NOT NULL,       -- JSON
    given_at     REAL NOT NULL,
    PRIMARY KEY (thread_id, question)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served_graphs (  -- what workers serve that have said so of late
    worker       TEXT NOT NULL,
    graph        TEXT NOT NULL,
    version      TEXT NOT NULL,       -- of threads that were begun; "": threads without one, and new ones
    expires_at   REAL NOT NULL,
    PRIMARY KEY (worker, graph, version)
) WITHOUT ROWID;
"""
