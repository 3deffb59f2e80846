"""The tables of threads that were handed to workers: their jobs, answers, parts, schedules and streams."""

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
    former       TEXT,                -- the workers whose turns before this one did not end
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
CREATE TABLE IF NOT EXISTS job_parts (  -- threads that are parts of another one's fan-out
    thread_id    TEXT PRIMARY KEY,
    parent       TEXT NOT NULL,       -- the thread whose fan-out it is
    task         TEXT NOT NULL,       -- the node execution that shares it out
    place        TEXT NOT NULL,       -- the names of the nested nodes that lead there
    first        INTEGER NOT NULL,    -- the number of its first item
    items        BLOB NOT NULL,
    is_told      INTEGER NOT NULL DEFAULT 0  -- 1: its parent was resumed after it had stopped
);
CREATE INDEX IF NOT EXISTS job_parts_parent ON job_parts (parent, task, first);
CREATE TABLE IF NOT EXISTS stream_listeners (  -- who listens to threads that workers run
    thread_id    TEXT NOT NULL,
    client       TEXT NOT NULL,
    expires_at   REAL NOT NULL,       -- unless it says that it lives
    PRIMARY KEY (thread_id, client)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream_events (  -- what they hear, for some seconds
    thread_id    TEXT NOT NULL,
    epoch        INTEGER NOT NULL,    -- of the job's turn
    number       INTEGER NOT NULL,    -- 1, 2, … within it
    events       TEXT NOT NULL,       -- JSON
    written_at   REAL NOT NULL,
    PRIMARY KEY (thread_id, epoch, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS schedules (  -- when jobs are begun by themselves
    name         TEXT PRIMARY KEY,
    graph        TEXT NOT NULL,
    input        TEXT NOT NULL,       -- JSON
    options      TEXT NOT NULL,       -- JSON, as of a job
    engine       TEXT NOT NULL,
    every_s      REAL,                -- or
    cron         TEXT,
    timezone     TEXT NOT NULL DEFAULT 'UTC',
    missed       TEXT NOT NULL,       -- what becomes of times when nobody was there: skip | one | all
    status       TEXT NOT NULL,       -- active | paused
    next_at      REAL,                -- by the database's clock; NULL while it is paused
    last_at      REAL,                -- the time for which a job was begun last
    created_at   REAL NOT NULL,
    updated_at   REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS schedules_due ON schedules (engine, status, next_at);
CREATE TABLE IF NOT EXISTS escalations (  -- whom a review has asked, and when
    thread_id    TEXT NOT NULL,
    task         TEXT NOT NULL,
    name         TEXT NOT NULL,
    number       INTEGER NOT NULL,    -- 0 is whom it asks first
    asked        TEXT NOT NULL,
    asked_at     REAL NOT NULL,       -- by the session's clock, as is
    until        REAL,                -- when the next one is asked
    PRIMARY KEY (thread_id, task, name, number)
) WITHOUT ROWID;
"""
