//! Databases of every version that there was are brought up to date with the rows that they hold.

use crate::support::Fixture;
use rusqlite::Connection;
use servelab_schema::{Sha256Hex, canonical_json, examples};
use servelab_store::{Ingested, Store};
use sha2::{Digest, Sha256};
use std::path::Path;
use tempfile::TempDir;

/// Every step with the SHA-256 of its text: a step that was released is never edited.
const STEPS: [(&str, &str); 6] = [
    (
        include_str!("../../src/sql/001_runs.sql"),
        "919df159caccc0bbec4aa16892daa77087562dff09b46acaa122225a7eac012c",
    ),
    (
        include_str!("../../src/sql/002_answers.sql"),
        "10f43dbd96b458ada5da134d2f1745bfa618fbca0ead3544f96dde509638371a",
    ),
    (
        include_str!("../../src/sql/003_findings.sql"),
        "d4bdb03a99240790f9a319bfa71ada268fe03a35f08bfc3a1997b255e151e533",
    ),
    (
        include_str!("../../src/sql/004_token_source.sql"),
        "ddd5720a2edab4aca7d68756316a2868b79bfdea1f9acf294b88ca7e09d2aefa",
    ),
    (
        include_str!("../../src/sql/005_made_prompts.sql"),
        "08727bd59ddc17d5c97cb8cd69583152d507615cd9282b7ebf38cf7c0294d686",
    ),
    (
        include_str!("../../src/sql/006_evidence_stays.sql"),
        "67e38dcb552270035b44f62ca9b697717ee2de3cbabd1ee56bae00b951f12a95",
    ),
];

/// The first step whose databases have findings, and so are not emptied.
const FINDINGS: usize = 3;

#[test]
fn a_step_that_was_released_is_never_edited() {
    for (step, known) in STEPS {
        let found = Sha256Hex::from_bytes(Sha256::digest(step).into());
        assert_eq!(found.as_str(), known, "{}", step.lines().next().unwrap());
    }
}

/// A database as a servelab with so many steps left it: a run with a row in each table.
fn earlier(path: &Path, steps: usize) {
    let conn = Connection::open(path).unwrap();
    for (step, _) in &STEPS[..steps] {
        conn.execute_batch(step).unwrap();
    }
    conn.pragma_update(None, "application_id", 0x7376_6c62).unwrap();
    conn.pragma_update(None, "user_version", u32::try_from(steps).unwrap())
        .unwrap();
    if steps == 0 {
        return;
    }
    conn.execute_batch(
        "INSERT INTO run (id, fingerprint, name, engine_kind, time_scale, method_version, servelab_version, started_utc, finished_utc,
             complete, manifest_json, plan_json, environment_json)
             VALUES ('old', printf('%064d', 0), 'n', 'simulated', 1, 1, '0', '2026-01-01T00:00:00Z', 'b', 1, '{}',
             '{\"profile\":{\"model\":\"m\",\"gpu\":null},\"engine\":{\"dialect\":\"vllm\",\"version\":\"0.32.0\"}}',
             '{\"gpus\":[{\"name\":\"NVIDIA L4\"}]}');
         INSERT INTO variant VALUES ('old', 'C1', 0, 'baseline', NULL, NULL, 'h');
         INSERT INTO load VALUES ('old', 'c8', 0, '{}');
         INSERT INTO prompt VALUES ('old', 'p', 's', 0, 'qa', 'S', 5, 7);
         INSERT INTO trial (key, run_id, id, position, block, trial_order, variant, load, take, validity, treatment, started_utc,
             planned, completed, failed, record_json, engine_json)
             VALUES (7, 'old', 't', 0, 1, 1, 'C1', 'c8', 1, 'valid', 'CONFIRMED', 'a', 1, 1, 0, '{}', '{}');
         INSERT INTO request (trial, position, request_id, prompt_id, seq, attempt, measured, scheduled_ns, connect_ns, finished_ns,
             outcome, e2e_ns, ttft_ns) VALUES (7, 0, 'q', 'p', 0, 1, 1, 0, 0, 5, 'completed', 5, 3);
         INSERT INTO telemetry VALUES (7, 0, 1, 2, 3, 0.5, 0.25, '{}');",
    )
    .unwrap();
    if steps >= 4 {
        // From this step on the ingest itself says who counted.
        conn.execute_batch("UPDATE request SET token_source = 'usage'").unwrap();
    }
    if steps < FINDINGS {
        conn.execute_batch("INSERT INTO trial_metric VALUES (7, 'ttft-p50', 's', 0.1, 1)")
            .unwrap();
    } else {
        let brief = canonical_json(&examples::findings().brief).unwrap();
        conn.execute("UPDATE run SET brief_json = ?1", [brief]).unwrap();
        conn.execute_batch(
            "INSERT INTO finding (run_id, position, scope, load, variant, metric, statistic, value, unit, n, n_of,
                 with_failures_infinite, indicative, is_primary, note)
                 VALUES ('old', 0, 'cell', 'c8', 'C1', 'ttft', 'p50', 0.1, 's', 9, 'requests', 0, 0, 0, '')",
        )
        .unwrap();
    }
}

#[test]
fn a_database_of_every_version_is_brought_up_to_date_with_its_rows() {
    for steps in 0..STEPS.len() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("servelab.db");
        earlier(&path, steps);
        let mut store = Store::open(&path).unwrap();
        let conn = Connection::open(&path).unwrap();
        let one = |sql: &str| -> String { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(
            one("SELECT user_version || '' FROM pragma_user_version"),
            STEPS.len().to_string()
        );
        let kept = steps >= FINDINGS;
        assert_eq!(store.runs().unwrap().len(), usize::from(kept), "from step {steps}");
        let rows = crate::database::dump(&conn);
        for table in [
            "run",
            "variant",
            "load",
            "prompt",
            "trial",
            "request",
            "telemetry",
            "finding",
        ] {
            assert_eq!(rows[table].len(), usize::from(kept), "{table} from step {steps}");
        }
        if kept {
            assert_eq!(
                one("SELECT e2e_ns || token_source FROM request"),
                "5usage",
                "from step {steps}"
            );
            assert_eq!(
                one("SELECT model || engine || engine_version || gpu FROM run"),
                "mvllm0.32.0NVIDIA L4"
            );
            assert_eq!(one("SELECT task || prompt_tokens FROM prompt"), "qa5");
            assert!(conn.execute("DELETE FROM run", []).is_err(), "it is guarded by now");
        }
        let check = store.check(true).unwrap();
        assert_eq!(check.database, [], "from step {steps}");
        let run = Fixture::small("new").sealed(&dir.path().join("runs"));
        assert_eq!(store.ingest(&run).unwrap(), Ingested::New);
        assert_eq!(
            store.evaluate_again(&run.manifest().run_id).unwrap(),
            run.findings().unwrap()
        );
    }
}
