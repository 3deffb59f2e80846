"""The tables in which a run's record can be queried, beside LangGraph's own checkpoint tables.

Times are Unix seconds, durations are seconds. Money is US dollars, or trillionths of them (`…_picos`), whose
sums are exact; a NULL cost is an *unknown* cost. A sum with an unknown cost in it is NULL too;
`known_cost_usd` sums the others: it cost at least that. Where a server did not count a call's tokens,
`estimated_…` is what its budget was charged beyond what is known: the most that the call can have cost.
`task` is LangGraph's checkpoint namespace of one node execution and survives a resume;
`path` is the same for human eyes: the names of the nested nodes, joined by "/".
"""

from .budget_tables import BUDGET_TABLES
from .job_tables import JOB_TABLES

VERSION = 10


def running_time(where: str = "", *, thread: str = "") -> str:
    """Return the SELECT of each thread's seconds in which at least one of its nodes or calls ran.

    What a fork copied counts nothing. Of what a crash cut short, the calls that were answered count.
    `thread` is an expression for the only thread to look at.
    """
    node_of, call_of = (f" AND {table}.thread_id = {thread}" if thread else "" for table in ("n", "c"))
    node_task, call_task = (f"{table}.task, " if where else "" for table in ("n", "c"))  # no index has it
    return f"""
    SELECT thread_id, sum(CASE WHEN b > later THEN b - later ELSE 0 END) AS seconds
    FROM (
        SELECT thread_id, b, CASE WHEN before > a THEN before ELSE a END AS later
        FROM (
        SELECT thread_id, a, b, max(b) OVER (
            PARTITION BY thread_id ORDER BY a, b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
        FROM (
            SELECT n.thread_id, {node_task}n.started_at AS a, n.ended_at AS b
            FROM node_runs n JOIN runs own
            ON own.thread_id = n.thread_id AND own.started_at <= n.started_at{node_of}
            UNION ALL
            SELECT c.thread_id, {call_task}c.started_at, c.started_at + c.latency_s
            FROM calls c WHERE c.source = 'model'{call_of}
        ) parts {where}
        ) ordered
    ) spans
    GROUP BY thread_id"""


TABLES = f"""{JOB_TABLES}{BUDGET_TABLES}
CREATE TABLE IF NOT EXISTS runs (
    thread_id   TEXT PRIMARY KEY,
    graph       TEXT,              -- what to load to resume it: a ready graph, module:attr or file.py:attr
    models      TEXT,              -- JSON: model roles bound on the command line; never a key
    input       TEXT,              -- JSON
    status      TEXT NOT NULL,     -- queued | running | done | partial | failed | interrupted
    budget      TEXT,              -- JSON: the limits of the run, see state/budget.py
    lane        TEXT,              -- how its calls are made: live (also where it is NULL) or batch
    fingerprint TEXT,              -- JSON: the graph's shape and state type when it first ran
    parent_thread     TEXT,        -- where the thread was forked from
    parent_checkpoint TEXT,
    error       TEXT,
    started_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_listed ON runs (updated_at, started_at, status, graph, thread_id);
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
    status         TEXT NOT NULL,     -- answered | rejected | failed | superseded
    source         TEXT NOT NULL DEFAULT 'model', -- model: paid for; the others cost nothing: coalesced,
                                      -- cache and copied (by a fork) come from `origin`; override (by a fork)
    origin         TEXT,              -- the id of the call whose answer this is, unless it is its own
    reason         TEXT,              -- where the cache is on: why the model was asked, or was not
    model_asked    TEXT NOT NULL,
    model_answered TEXT,
    messages       TEXT NOT NULL,     -- JSON: the prompt, in OpenAI's form
    params         TEXT NOT NULL,     -- JSON: schema, temperature, max_tokens …
    answer         TEXT,
    tool_calls     TEXT,              -- JSON: the tools that the model wants run, with their arguments
    reasoning      TEXT,
    reply_state    TEXT,              -- JSON: what the provider wants back with the message, as it sent it
    media          TEXT,              -- JSON: images, sounds and files of the answer, as content blocks
    finish_reason  TEXT,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    cached_tokens  INTEGER,
    reasoning_tokens INTEGER,
    cache_write_tokens INTEGER,
    cost_usd       REAL,              -- the same as a number, for queries
    cost_picos     INTEGER,           -- trillionths of a dollar; what is summed
    estimated_tokens INTEGER,         -- NULL where the server counted all
    estimated_picos INTEGER,          -- NULL where the cost is known, or no budget in dollars was charged
    price_source   TEXT,              -- provider (it sent the cost), settings, or a list and its version
    price_date     TEXT,              -- since when that price holds, where the source says it
    cost_parts     TEXT,              -- JSON: the cost by kind of token, where it is known
    reserved       TEXT,              -- JSON: what its budgets set aside for it
    latency_s      REAL NOT NULL,
    first_token_s  REAL,              -- where the answer was streamed
    batch_request  TEXT,              -- which request of a batch brought it; NULL for a live call
    problem        TEXT,              -- why the answer did not fit, or the error of a failed call
    replays        INTEGER NOT NULL DEFAULT 0,  -- how often a resume used it again, at no cost
    started_at     REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_answered
    ON calls (thread_id, task, request_hash, occurrence) WHERE status = 'answered';
CREATE INDEX IF NOT EXISTS calls_thread ON calls (thread_id, started_at);
CREATE INDEX IF NOT EXISTS calls_sums
    ON calls (thread_id, status, source, cost_picos, input_tokens, output_tokens, estimated_tokens,
              estimated_picos, replays, latency_s, started_at, step);
CREATE INDEX IF NOT EXISTS calls_content ON calls (request_hash, started_at);
CREATE INDEX IF NOT EXISTS calls_batch ON calls (batch_request) WHERE batch_request IS NOT NULL;
CREATE TABLE IF NOT EXISTS blobs (    -- images, sounds, documents: each once, for all threads
    sha256     TEXT PRIMARY KEY,      -- "blob:image/png;size=…;sha256=…" stands for it in other columns
    media_type TEXT NOT NULL,         -- by its first bytes, else as it was called
    size       INTEGER NOT NULL,      -- in bytes
    data       BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS node_runs (
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    path        TEXT NOT NULL,
    node        TEXT NOT NULL,
    superstep   INTEGER NOT NULL,
    status      TEXT NOT NULL,        -- done | failed | interrupted
    input       TEXT,                 -- JSON: the state that the node got, long values cut
    output      TEXT,                 -- JSON: what the node wrote to the state
    interrupts  TEXT,                 -- JSON: the values of its interrupts
    error       TEXT,
    started_at  REAL NOT NULL,
    ended_at    REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS node_runs_times ON node_runs (thread_id, started_at, ended_at);
CREATE TABLE IF NOT EXISTS decisions (
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    path        TEXT NOT NULL,
    kind        TEXT NOT NULL,        -- which pattern decided: see state/statuses.py
    choice      TEXT NOT NULL,
    confidence  REAL,                 -- 0 to 1, NULL where the decider gives none
    reason      TEXT,
    decided_at  REAL NOT NULL,
    decided     INTEGER               -- of a vote: 1 if an answer won, 0 if none did; else NULL
);
CREATE INDEX IF NOT EXISTS decisions_thread ON decisions (thread_id, decided_at);
CREATE UNIQUE INDEX IF NOT EXISTS decisions_task ON decisions (thread_id, task);
CREATE TABLE IF NOT EXISTS invocations (
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    trace       INTEGER NOT NULL,     -- 0, 1, … counts the thread's inputs; going on keeps the number
    graph       TEXT,
    input       TEXT,                 -- JSON: the input, or the answers to interrupts
    input_digest TEXT,                -- tells an input that is delivered again from another one
    output      TEXT,                 -- JSON
    status      TEXT NOT NULL,        -- running | done | partial | failed | interrupted
    error       TEXT,
    user        TEXT,
    tags        TEXT,                 -- JSON
    metadata    TEXT,                 -- JSON: further metadata of the run's config
    environment TEXT,
    version     TEXT,
    started_at  REAL NOT NULL,
    ended_at    REAL,                 -- NULL while it runs, or if its process died
    moved_id    INTEGER,              -- its id where it began, if its thread was moved: its spans have it
    of_job      INTEGER               -- 1: a worker called it for the thread's job; NULL before format 10
);
CREATE INDEX IF NOT EXISTS invocations_thread ON invocations (thread_id, started_at);
CREATE TABLE IF NOT EXISTS replays (  -- answers that a resume took from the journal
    id          INTEGER PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    call_id     TEXT NOT NULL,
    replayed_at REAL NOT NULL,
    moved_id    INTEGER               -- as in invocations
);
CREATE INDEX IF NOT EXISTS replays_thread ON replays (thread_id, replayed_at);
CREATE TABLE IF NOT EXISTS coalesced_calls (  -- calls that wait for the answer to an equal one under way
    thread_id    TEXT NOT NULL,
    task         TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    occurrence   INTEGER NOT NULL,
    leader       TEXT NOT NULL,       -- the task whose call it is
    PRIMARY KEY (thread_id, task, request_hash, occurrence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (  -- calls that were handed to a provider's batch API together
    id          TEXT PRIMARY KEY,     -- ours, also in the provider's copy of the batch
    api         TEXT NOT NULL,        -- openai | anthropic
    address     TEXT NOT NULL,
    model       TEXT NOT NULL,
    requests    INTEGER NOT NULL,
    status      TEXT NOT NULL,        -- see state/statuses.py
    provider_id TEXT,                 -- the provider's id, once it is known
    file_id     TEXT,                 -- the uploaded file with its requests, where the API wants one
    problem     TEXT,                 -- why it brought nothing
    started_at  REAL NOT NULL,
    submitted_at REAL,                -- when the submit was about to be sent
    ended_at    REAL
);
CREATE INDEX IF NOT EXISTS batches_status ON batches (status);
CREATE TABLE IF NOT EXISTS batch_requests (
    id           TEXT PRIMARY KEY,    -- its custom_id in the batch
    batch        TEXT NOT NULL,
    thread_id    TEXT NOT NULL,
    task         TEXT NOT NULL,
    path         TEXT NOT NULL,
    step         TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    occurrence   INTEGER NOT NULL,
    result       TEXT                 -- JSON: what the provider sent, until a call has it
);
CREATE INDEX IF NOT EXISTS batch_requests_batch ON batch_requests (batch);
CREATE INDEX IF NOT EXISTS batch_requests_call ON batch_requests (thread_id, request_hash);
CREATE TABLE IF NOT EXISTS scores (
    id          TEXT PRIMARY KEY,
    thread_id   TEXT NOT NULL,
    trace       INTEGER NOT NULL,
    span        TEXT,                 -- the span that it judges, NULL for the whole trace
    path        TEXT,
    name        TEXT NOT NULL,
    value       REAL,
    label       TEXT,                 -- in the place of a number
    comment     TEXT,
    scored_at   REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS scores_thread ON scores (thread_id, scored_at);
CREATE TABLE IF NOT EXISTS exports (  -- what was sent where
    destination TEXT NOT NULL,
    thread_id   TEXT NOT NULL,
    spans       BLOB NOT NULL,        -- the ids of the spans that arrived, eight bytes each
    complete_at REAL,                 -- runs.updated_at when nothing was left to send
    PRIMARY KEY (destination, thread_id)
);
CREATE TABLE IF NOT EXISTS claims (   -- the lease of each thread; it stays when it is given back
    thread_id   TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,        -- unique for each run
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    expires_at  REAL NOT NULL,        -- by the database's clock; renewed while the owner lives, then 0
    machine     TEXT,                 -- which start of which machine the process belongs to
    process     TEXT,                 -- what tells it from a later process with the same number
    epoch       INTEGER NOT NULL DEFAULT 1  -- how often the thread was claimed: only grows
);
CREATE INDEX IF NOT EXISTS claims_held ON claims (owner) WHERE expires_at > 0;
CREATE TABLE IF NOT EXISTS effects (
    key         TEXT PRIMARY KEY,     -- the idempotency key
    thread_id   TEXT NOT NULL,
    path        TEXT NOT NULL,
    status      TEXT NOT NULL,        -- started | done | undone
    result      TEXT,                 -- JSON: what the node wrote; while started, the error that left it open
    started_at  REAL NOT NULL,
    ended_at    REAL,
    epoch       INTEGER               -- of the claim under which it started, NULL outside of a run
);
CREATE TABLE IF NOT EXISTS retrievals (  -- what retrievers were asked, and the passages that they gave
    id           TEXT PRIMARY KEY,
    thread_id    TEXT NOT NULL,
    task         TEXT NOT NULL,
    path         TEXT NOT NULL,
    step         TEXT NOT NULL,
    request_hash TEXT NOT NULL,       -- of the query, the retriever's name and the limits
    status       TEXT NOT NULL,       -- found | failed
    retriever    TEXT NOT NULL,
    query        TEXT NOT NULL,
    passages     TEXT,                -- JSON: those that were kept
    kept         INTEGER,             -- how many these are
    found        INTEGER,             -- how many there were, before the limits
    left_out     TEXT,                -- why there are fewer now
    problem      TEXT,                -- the error of one that failed
    source       TEXT NOT NULL DEFAULT 'retriever',  -- or copied (by a fork), from `origin`
    origin       TEXT,
    latency_s    REAL NOT NULL,
    replays      INTEGER NOT NULL DEFAULT 0,  -- how often a resume used it again
    started_at   REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS retrievals_found
    ON retrievals (thread_id, task, step, request_hash) WHERE status = 'found';
CREATE INDEX IF NOT EXISTS retrievals_thread ON retrievals (thread_id, started_at);
CREATE TABLE IF NOT EXISTS waits (  -- node executions that wait for a time, or for an answer until then
    thread_id   TEXT NOT NULL,
    task        TEXT NOT NULL,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,        -- wait | review
    due         REAL NOT NULL,        -- by the session's clock, as are the times below
    status      TEXT NOT NULL,        -- waiting | over (its time has come) | answered
    started_at  REAL NOT NULL,
    ended_at    REAL,
    PRIMARY KEY (thread_id, task, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waits_due ON waits (status, due);
"""
