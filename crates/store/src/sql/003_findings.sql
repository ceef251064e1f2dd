-- Runs of earlier versions have no findings. The database is a cache: what was in it is read in again from runs/.
DELETE FROM run;
DROP TABLE trial_metric;

-- Where the run directory was when the run was read in.
ALTER TABLE run ADD COLUMN dir TEXT NOT NULL DEFAULT '';
-- findings.json, and the line of it that lists need.
ALTER TABLE run ADD COLUMN findings_json TEXT NOT NULL DEFAULT '{}';
ALTER TABLE run ADD COLUMN brief_json TEXT NOT NULL DEFAULT '{}';

-- What a run says of its cells, trials, gates, comparisons and A/A checks, one number a row; `value` is NULL where n does not
-- certify a percentile, nothing is compared, or the row is of a test alone. In the scope 'gate' the metric is the gate, the statistic
-- its figure, and at_least and at_most are the bounds that decide. Curves, timelines and what single blocks of a comparison say are in
-- `run.findings_json` alone.
CREATE TABLE finding (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('cell', 'trial', 'gate', 'comparison', 'a/a', 'failures')),
    load TEXT NOT NULL,
    variant TEXT NOT NULL,
    control TEXT,
    trial TEXT,
    task TEXT,
    bucket TEXT,
    metric TEXT NOT NULL,
    statistic TEXT NOT NULL,
    value REAL,
    unit TEXT NOT NULL,
    n INTEGER NOT NULL,
    n_of TEXT NOT NULL,
    low REAL,
    high REAL,
    interval TEXT,
    at_least REAL,
    at_most REAL,
    certified_bound REAL,
    with_failures REAL,
    with_failures_infinite INTEGER NOT NULL CHECK (with_failures_infinite IN (0, 1)),
    p REAL,
    p_adjusted REAL,
    p_sign_flip REAL,
    verdict TEXT,
    reason TEXT,
    indicative INTEGER NOT NULL CHECK (indicative IN (0, 1)),
    is_primary INTEGER NOT NULL CHECK (is_primary IN (0, 1)),
    note TEXT NOT NULL,
    PRIMARY KEY (run_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX finding_by_metric ON finding (metric, statistic, variant);

-- All that a list of runs shows. The rows of `run` hold whole documents: walking through those takes seconds for a thousand runs.
CREATE INDEX run_list ON run (started_utc, id, fingerprint, name, engine_kind, complete, dir, brief_json);
