//! Asking for findings, over 100, 1,000 and 10,000 runs.

use crate::big_run::Failed;
use rusqlite::{Connection, params};
use servelab_findings::Scope;
use servelab_schema::{LoadId, VariantId, canonical_json, examples};
use servelab_store::{Question, Store, StoreError};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const RUNS: [u32; 3] = [100, 1_000, 10_000];

/// Times that each question is asked; the median counts.
const ASKED: usize = 5;

const VARIANTS: [&str; 4] = ["C1", "C1b", "C2", "C7"];
const METRICS: [&str; 10] = [
    "output-throughput",
    "total-throughput",
    "request-throughput",
    "goodput",
    "ttft",
    "tpot",
    "e2e",
    "icl",
    "ntpot",
    "connect",
];
const STATISTICS: [&str; 4] = ["mean", "p50", "p90", "p95"];

/// Rows of single trials and their gates, which a question must not walk through: 8 trials of 25 rows.
const TRIALS: u32 = 8;
const OF_TRIAL: u32 = 25;

/// A run with the rows of a small study: 400 findings.
fn fill(conn: &mut Connection, runs: u32) -> Result<(), Failed> {
    let guards: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in guards {
        conn.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    let (brief, plan) = (
        canonical_json(&examples::findings().brief)?,
        serde_json::to_value(examples::plan())?,
    );
    let environment = canonical_json(&examples::environment())?;
    let findings = canonical_json(&examples::findings())?;
    let tx = conn.transaction()?;
    {
        let mut run = tx.prepare(
            "INSERT INTO run VALUES (?1, ?2, 'c1-c8', 'simulated', 20, 3, '0.1.0', ?3, ?3, 1, '{}', ?4, ?5, ?1, ?6, ?7)",
        )?;
        let mut variant = tx.prepare("INSERT INTO variant VALUES (?1, ?2, 0, 'treatment', 'C1', ?3, 'h')")?;
        let mut load = tx.prepare("INSERT INTO load VALUES (?1, 'c16', 0, '{}')")?;
        let mut finding = tx.prepare(
            "INSERT INTO finding (run_id, position, scope, load, variant, control, trial, metric, statistic, value, unit, n, n_of, low, high, \
             interval, with_failures_infinite, verdict, indicative, is_primary, note) \
             VALUES (?1, ?2, ?3, 'c16', ?4, ?5, ?6, ?7, ?8, ?9, 's', 180, 'requests', ?9, ?9, '95 % interval', 0, ?10, 0, 0, '')",
        )?;
        for i in 0..runs {
            let id = format!("run-{i:05}");
            let utc = format!(
                "20{:02}-{:02}-{:02}T{:02}:00:00Z",
                i / 8064 + 25,
                i / 672 % 12 + 1,
                i / 24 % 28 + 1,
                i % 24
            );
            let mut plan = plan.clone();
            if let Some(model) = plan.pointer_mut("/profile/model") {
                *model = format!("example/model-{}", i % 5).into();
            }
            run.execute(params![
                id,
                format!("{i:064x}"),
                utc,
                canonical_json(&plan)?,
                environment,
                findings,
                brief
            ])?;
            load.execute([&id])?;
            let mut position = 0_u32;
            let mut row = |scope,
                           variant,
                           (control, trial): (Option<&str>, Option<&str>),
                           (metric, statistic),
                           verdict: Option<&str>| {
                position += 1;
                let value = f64::from(i % 97 + position) / 100.0;
                finding.execute(params![
                    id, position, scope, variant, control, trial, metric, statistic, value, verdict
                ])
            };
            for v in VARIANTS {
                variant.execute(params![id, v, format!("factor-{v}")])?;
                for metric in METRICS {
                    for statistic in STATISTICS {
                        row("cell", v, (None, None), (metric, statistic), None)?;
                    }
                    let verdict = if i % 50 == 0 { "better" } else { "no-evidence" };
                    row("comparison", v, (Some("C1"), None), (metric, "effect"), Some(verdict))?;
                }
            }
            for trial in 0..TRIALS {
                let name = format!("b{trial:02}-01-C1-c16-t1");
                for n in 0..OF_TRIAL {
                    let (scope, metric) = if n % 2 == 0 {
                        ("trial", "ttft")
                    } else {
                        ("gate", "schedule-lag")
                    };
                    row(scope, "C1", (None, Some(&name)), (metric, "p50"), None)?;
                }
            }
        }
    }
    tx.commit()?;
    Ok(())
}

fn questions() -> Result<Vec<(&'static str, Question)>, Failed> {
    let words = |word: &str| vec![word.to_owned()];
    let cell = || Question {
        scopes: vec![Scope::Cell],
        limit: Some(50),
        ..Question::default()
    };
    Ok(vec![
        (
            "no options",
            Question {
                headline: true,
                ..cell()
            },
        ),
        (
            "variant, metric, since",
            Question {
                variants: vec![VariantId::new("C7")?],
                metrics: words("ttft"),
                since: Some("2025-03".to_owned()),
                ..cell()
            },
        ),
        (
            "model, GPU, load, statistic",
            Question {
                models: words("model-3"),
                gpus: words("NVIDIA"),
                loads: vec![LoadId::new("c16")?],
                statistics: words("p95"),
                ..cell()
            },
        ),
        (
            "verdict, factor",
            Question {
                scopes: vec![Scope::Comparison],
                verdicts: words("better"),
                factors: words("factor-C7"),
                ..cell()
            },
        ),
        (
            "gates of a run",
            Question {
                runs: vec![servelab_schema::RunId::new("run-00042")?],
                scopes: vec![Scope::Gate],
                ..cell()
            },
        ),
        (
            "a model that there is not",
            Question {
                models: words("none"),
                headline: true,
                ..cell()
            },
        ),
        (
            "a variant that there is not",
            Question {
                variants: vec![VariantId::new("C9")?],
                headline: true,
                ..cell()
            },
        ),
        (
            "a metric that there is not",
            Question {
                metrics: words("none"),
                ..cell()
            },
        ),
    ])
}

fn asked(store: &Store, question: &Question) -> Result<Duration, Failed> {
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        store.query(question, |_| Ok::<(), StoreError>(()))?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(ASKED / 2).copied().unwrap_or_default())
}

fn listed(store: &Store) -> Result<Duration, Failed> {
    let began = Instant::now();
    store.runs()?;
    Ok(began.elapsed())
}

fn history(store: &Store) -> Result<Duration, Failed> {
    let question = Question {
        variants: vec![VariantId::new("C1")?],
        models: vec!["model-3".to_owned()],
        metrics: vec!["ttft".to_owned()],
        statistics: vec!["p50".to_owned()],
        scopes: vec![Scope::Cell],
        ..Question::default()
    };
    let began = Instant::now();
    store.history(&question)?;
    Ok(began.elapsed())
}

fn row(question: &str, times: &[Duration]) {
    let cells = times.iter().map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let growth = match times {
        [.., before, last] => format!("× {:.1}", last.as_secs_f64() / before.as_secs_f64()),
        _ => String::new(),
    };
    println!("| {question} | {} | {growth} |", cells.collect::<Vec<_>>().join(" | "));
}

/// Prints what each question costs over each number of runs.
pub(crate) fn table() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut stores = Vec::new();
    for runs in RUNS {
        let path = folder.path().join(format!("{runs}.db"));
        drop(Store::open(&path)?);
        fill(&mut Connection::open(Path::new(&path))?, runs)?;
        stores.push(Store::open(&path)?);
    }
    println!(
        "\n| Question | {} runs, ms | {} runs, ms | {} runs, ms | Growth |",
        RUNS[0], RUNS[1], RUNS[2]
    );
    println!("|---|---:|---:|---:|---:|");
    for (name, question) in questions()? {
        let times: Vec<Duration> = stores
            .iter()
            .map(|store| asked(store, &question))
            .collect::<Result<_, _>>()?;
        row(name, &times);
    }
    row(
        "history of a cell (a fifth of the runs)",
        &stores.iter().map(history).collect::<Result<Vec<_>, _>>()?,
    );
    row(
        "list of all runs",
        &stores.iter().map(listed).collect::<Result<Vec<_>, _>>()?,
    );
    Ok(())
}
