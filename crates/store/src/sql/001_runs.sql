-- Times are engine time in whole nanoseconds, counted from the trial's start unless the name says otherwise.

CREATE TABLE run (
    id TEXT PRIMARY KEY NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    engine_kind TEXT NOT NULL CHECK (engine_kind IN ('measured', 'simulated', 'imported')),
    time_scale INTEGER NOT NULL CHECK (time_scale >= 1),
    method_version INTEGER NOT NULL,
    servelab_version TEXT NOT NULL,
    started_utc TEXT NOT NULL,
    finished_utc TEXT NOT NULL,
    complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
    manifest_json TEXT NOT NULL,
    plan_json TEXT NOT NULL,
    environment_json TEXT NOT NULL
) STRICT;

CREATE TABLE variant (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    role TEXT NOT NULL,
    control TEXT,
    factor TEXT,
    hypothesis TEXT NOT NULL,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE load (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    load_json TEXT NOT NULL,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE prompt (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    prompt_set TEXT NOT NULL,
    filler INTEGER NOT NULL CHECK (filler IN (0, 1)),
    task TEXT NOT NULL,
    bucket TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    max_new_tokens INTEGER NOT NULL,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

-- One row a take, in the order of execution.
CREATE TABLE trial (
    key INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    block INTEGER NOT NULL,
    trial_order INTEGER NOT NULL,
    variant TEXT NOT NULL,
    load TEXT NOT NULL,
    take INTEGER NOT NULL,
    validity TEXT NOT NULL CHECK (validity IN ('valid', 'invalid', 'aborted')),
    treatment TEXT NOT NULL,
    started_utc TEXT NOT NULL,
    span_start_ns INTEGER,
    span_end_ns INTEGER,
    held_start_ns INTEGER,
    held_end_ns INTEGER,
    planned INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    record_json TEXT NOT NULL,
    engine_json TEXT NOT NULL,
    UNIQUE (run_id, id),
    FOREIGN KEY (run_id, variant) REFERENCES variant (run_id, id),
    FOREIGN KEY (run_id, load) REFERENCES load (run_id, id)
) STRICT;

-- One row an attempt. `outcome` is `completed` or the reason of the failure; the columns of the other kind are NULL.
CREATE TABLE request (
    trial INTEGER NOT NULL REFERENCES trial (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    prompt_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    measured INTEGER NOT NULL CHECK (measured IN (0, 1)),
    scheduled_ns INTEGER NOT NULL,
    sent_ns INTEGER,
    connect_ns INTEGER NOT NULL,
    headers_ns INTEGER,
    finished_ns INTEGER NOT NULL,
    expected_prompt_tokens INTEGER,
    outcome TEXT NOT NULL,
    ttft_kind TEXT,
    ttft_ns INTEGER,
    ttft_content_ns INTEGER,
    tpot_ns REAL,
    e2e_ns INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    finish_reason TEXT,
    text_sha256 TEXT,
    chunks BLOB,
    http_status INTEGER,
    detail TEXT,
    failed_after_ns INTEGER,
    PRIMARY KEY (trial, position),
    CHECK ((outcome = 'completed') = (e2e_ns IS NOT NULL)),
    CHECK ((outcome = 'completed') = (detail IS NULL))
) STRICT, WITHOUT ROWID;

-- Metrics of one trial, as `analysis` computed them while ingesting; for queries. Pages compute theirs from the requests.
CREATE TABLE trial_metric (
    trial INTEGER NOT NULL REFERENCES trial (key) ON DELETE CASCADE,
    metric TEXT NOT NULL,
    unit TEXT NOT NULL,
    value REAL NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (trial, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE telemetry (
    trial INTEGER NOT NULL REFERENCES trial (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    t_ns INTEGER NOT NULL,
    engine_running INTEGER,
    engine_waiting INTEGER,
    kv_cache_used_ratio REAL,
    cpu_busy_ratio REAL,
    sample_json TEXT NOT NULL,
    PRIMARY KEY (trial, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX trial_by_cell ON trial (run_id, variant, load, block);
