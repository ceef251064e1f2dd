-- Evidence stays as it is. Rows come by `servelab ingest` and go by `servelab results rm`, which take these triggers away and put
-- them back within their own transaction; whoever else writes is refused, INSERT OR REPLACE too.

-- What a query of findings asks of a run. They are in the plan already, and are read out of it.
ALTER TABLE run ADD COLUMN model TEXT GENERATED ALWAYS AS (json_extract(plan_json, '$.profile.model')) VIRTUAL;
ALTER TABLE run ADD COLUMN engine TEXT GENERATED ALWAYS AS (json_extract(plan_json, '$.engine.dialect')) VIRTUAL;
ALTER TABLE run ADD COLUMN engine_version TEXT GENERATED ALWAYS AS (json_extract(plan_json, '$.engine.version')) VIRTUAL;
ALTER TABLE run ADD COLUMN gpu TEXT GENERATED ALWAYS AS
    (coalesce(json_extract(plan_json, '$.profile.gpu'), json_extract(environment_json, '$.gpus[0].name'))) VIRTUAL;
ALTER TABLE run ADD COLUMN prompts_sha256 TEXT GENERATED ALWAYS AS (json_extract(plan_json, '$.prompts.sha256')) VIRTUAL;
CREATE INDEX run_facts ON run (started_utc, id, fingerprint, name, engine_kind, time_scale, method_version, model, engine, engine_version,
    gpu, prompts_sha256);

-- Most rows are of single trials and of their gates: who asks for cells and comparisons must not walk through them.
CREATE INDEX finding_of_run ON finding (run_id, metric, statistic, scope, variant, load) WHERE scope NOT IN ('trial', 'gate');

-- Files of runs/corrections/. What they are about need not be here.
CREATE TABLE correction (
    number INTEGER PRIMARY KEY NOT NULL,
    run_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    correction_json TEXT NOT NULL
) STRICT;

-- What was read back before a run was committed: how many rows it has in all tables, and SHA-256 of them (without `run.dir` and
-- `trial.key`, which are of this file alone). Runs that an earlier servelab read in have none.
CREATE TABLE run_digest (
    run_id TEXT PRIMARY KEY NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    row_count INTEGER NOT NULL,
    sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER keep_run_insert BEFORE INSERT ON run BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_run_update BEFORE UPDATE ON run BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_run_delete BEFORE DELETE ON run BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_variant_insert BEFORE INSERT ON variant BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_variant_update BEFORE UPDATE ON variant BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_variant_delete BEFORE DELETE ON variant BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_load_insert BEFORE INSERT ON load BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_load_update BEFORE UPDATE ON load BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_load_delete BEFORE DELETE ON load BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_prompt_insert BEFORE INSERT ON prompt BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_prompt_update BEFORE UPDATE ON prompt BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_prompt_delete BEFORE DELETE ON prompt BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_trial_insert BEFORE INSERT ON trial BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_trial_update BEFORE UPDATE ON trial BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_trial_delete BEFORE DELETE ON trial BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_request_insert BEFORE INSERT ON request BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_request_update BEFORE UPDATE ON request BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_request_delete BEFORE DELETE ON request BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_finding_insert BEFORE INSERT ON finding BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_finding_update BEFORE UPDATE ON finding BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_finding_delete BEFORE DELETE ON finding BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_telemetry_insert BEFORE INSERT ON telemetry BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_telemetry_update BEFORE UPDATE ON telemetry BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_telemetry_delete BEFORE DELETE ON telemetry BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_correction_insert BEFORE INSERT ON correction BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_correction_update BEFORE UPDATE ON correction BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_correction_delete BEFORE DELETE ON correction BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_run_digest_insert BEFORE INSERT ON run_digest BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_run_digest_update BEFORE UPDATE ON run_digest BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
CREATE TRIGGER keep_run_digest_delete BEFORE DELETE ON run_digest BEGIN
    SELECT RAISE(ABORT, 'evidence stays as it is: servelab ingest, results rm and results correct are the ways to it');
END;
