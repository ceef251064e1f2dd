//! `servelab verify`: whether runs are to be believed, and what is wrong with them.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use servelab_evidence::SealedRun;
use servelab_schema::{Sha256Hex, foreign::one_line};
use servelab_store::{RunData, Store};
use servelab_verify::{Asked, Break, Report, State, Summary, sign::PublicKey, verify};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Arguments of `servelab verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Levels, in order: complete (sealed, nothing missing, nothing else there), unchanged (every byte as its manifest \
                        says), consistent (every row keeps the rules, every number follows from the traces), signed. Whoever rewrites \
                        all files and the manifest reaches `consistent`: only --fingerprint or --key with what reached you by another \
                        way finds that. docs/TRUST.md says more.\n\n\
                        Exit codes: 0 every run is consistent, and what was given with --fingerprint, --key, --db or --summary holds; \
                        4 something is broken or cannot be told; 2 usage."
)]
pub(crate) struct Verify {
    /// Names or directories of runs; a directory need not lie in a project.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
    /// A fingerprint that reached you by another way, or a file with some; one of them must be the run's.
    #[arg(long = "fingerprint", value_name = "HEX|FILE")]
    fingerprints: Vec<String>,
    /// A public key (PEM) that you trust; one of them must have signed the run.
    #[arg(long = "key", value_name = "PUB.pem")]
    keys: Vec<PathBuf>,
    /// The database to compare with; by default the project's, where the run is in it.
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// The summary.json of a report, whose every number must follow too.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    /// Format version.
    v: u32,
    /// True where nothing is wrong with any.
    good: bool,
    runs: Vec<Report>,
}

/// Fingerprints of a word of the command line: itself, or those in the file of that name.
fn fingerprints(word: &str) -> Result<Vec<Sha256Hex>, Failure> {
    if let Ok(own) = Sha256Hex::new(word.to_ascii_lowercase()) {
        return Ok(vec![own]);
    }
    let text = fs::read_to_string(word).map_err(|why| {
        Failure::usage(anyhow!(
            "--fingerprint {word}: neither 64 hexadecimal digits nor a file that can be read ({why})"
        ))
    })?;
    let found: Vec<Sha256Hex> = text
        .split_whitespace()
        .filter_map(|word| Sha256Hex::new(word.to_ascii_lowercase()).ok())
        .collect();
    if found.is_empty() {
        return Err(Failure::usage(anyhow!(
            "--fingerprint {word}: there is no fingerprint in this file"
        )));
    }
    Ok(found)
}

fn summary_of(path: &Path) -> Result<Value, Failure> {
    let what = || format!("--summary {}", path.display());
    let text = fs::read_to_string(path)
        .with_context(what)
        .map_err(Failure::environment)?;
    serde_json::from_str(&text)
        .with_context(what)
        .map_err(Failure::environment)
}

fn expected(run: &RunData) -> Result<Value, String> {
    servelab_report::summary_entry(run).map_err(|e| e.to_string())
}

/// True where a database has this seal of the run, as far as its directory says.
fn holds(store: &Store, dir: &Path) -> bool {
    let noted = SealedRun::noted_fingerprint(dir);
    let has = noted.is_some_and(|noted| {
        store
            .runs()
            .is_ok_and(|runs| runs.iter().any(|run| run.fingerprint == noted))
    });
    if !has {
        let store = store.path().display();
        output::note(&format!(
            "{store} does not hold this seal of {}, and is not compared; `servelab ingest` reads it in",
            dir.display()
        ));
    }
    has
}

impl Verify {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dirs = self
            .runs
            .iter()
            .map(|run| project.run_dir(run))
            .collect::<Result<Vec<_>, _>>()?;
        let given = self
            .fingerprints
            .iter()
            .map(|word| fingerprints(word))
            .collect::<Result<Vec<_>, _>>()?;
        let store = match &self.db {
            Some(path) => Some(
                Store::open_existing(path)
                    .map_err(Failure::environment)?
                    .ok_or_else(|| {
                        Failure::environment(anyhow!("--db {}: there is no such database", path.display()))
                    })?,
            ),
            None => project.existing_store().unwrap_or_else(|failure| {
                output::warn(&format!("the database is not compared: {}", failure.words()));
                None
            }),
        };
        let summary = match &self.summary {
            Some(path) => Some(Summary {
                file: path.display().to_string(),
                found: summary_of(path)?,
                expected: &expected,
            }),
            None => None,
        };
        let keys = self
            .keys
            .iter()
            .map(|path| PublicKey::read(path))
            .collect::<Result<_, _>>();
        let asked = Asked {
            keys: keys.map_err(Failure::environment)?,
            fingerprints: given.into_iter().flatten().collect(),
            store: store.as_ref(),
            summary: summary.as_ref(),
        };
        let runs: Vec<Report> = dirs
            .iter()
            .map(|dir| {
                // A database that nobody named may hold another seal of the run, and proves nothing against this one.
                let own = self.db.is_some() || asked.store.is_some_and(|store| holds(store, dir));
                let asked = Asked {
                    store: asked.store.filter(|_| own),
                    ..asked.clone()
                };
                verify(dir, &asked).report
            })
            .collect();
        let good = runs.iter().all(Report::is_good);
        if self.format == Format::Json {
            output::json(&Answer { v: 1, good, runs }).map_err(Failure::environment)?;
        } else {
            let said: Vec<String> = runs.iter().map(said).collect();
            output::answer(&said.join("\n"));
        }
        Ok(if good { Exit::Ok } else { Exit::Environment })
    }
}

/// What is always true, and must be said: a run cannot vouch for itself.
const ONLY_OUTSIDE: &str = "The run says all of this of itself. Whoever rewrites every file and the manifest reaches `consistent` too: \
                            only a fingerprint or a key that reached you by another way shows that (--fingerprint, --key).";

fn said(r: &Report) -> String {
    let name = r.run_id.as_ref().map_or("unknown", |id| id.as_str());
    let fingerprint = r.fingerprint.as_ref().map_or("none", Sha256Hex::as_str);
    let reached = r.reached.map_or("none", servelab_verify::Level::as_str);
    let dir = r.dir.display().to_string();
    let amount = format!(
        "{} files, {:.1} MB; {} traces, {:.1} MB of rows",
        r.read.files,
        megabytes(r.read.bytes),
        r.read.traces,
        megabytes(r.read.row_bytes)
    );
    let mut out = output::facts([
        ("run", name),
        ("directory", &dir),
        ("fingerprint", fingerprint),
        ("read", &amount),
        ("level of trust", reached),
    ]);
    out.push('\n');
    let state = |state: &State| match state {
        State::Holds => "✓",
        State::Broken => "✗",
        State::Unknown => "–",
    };
    let levels = r
        .levels
        .iter()
        .map(|l| (format!("{} {}", state(&l.state), l.level), &l.says));
    out.push_str(&output::facts(levels));
    if !r.breaks.is_empty() {
        out.push('\n');
    }
    for found in &r.breaks {
        out.push_str(&output::paragraph(&one_break(found), 2));
    }
    if r.more_breaks > 0 {
        out.push_str(&format!("and {} more\n", r.more_breaks));
    }
    if !r.doubtful.is_empty() {
        let words = format!(
            "Not as the manifest says, which proves nothing since it was changed itself: {}.",
            one_line(&r.doubtful.join(", "))
        );
        out.push_str(&output::paragraph(&words, 2));
    }
    out.push('\n');
    for note in &r.notes {
        out.push_str(&output::paragraph(&format!("Note: {note}."), 2));
    }
    let proven = r
        .levels
        .iter()
        .any(|l| l.level == servelab_verify::Level::Signed && l.state == State::Holds);
    if r.outside != servelab_verify::Outside::Same && !proven {
        out.push_str(&output::paragraph(ONLY_OUTSIDE, 0));
    }
    out
}

#[expect(clippy::as_conversions, reason = "for people, with one digit behind the point")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A value for people: of a hash its first digits.
fn shown(value: &str) -> &str {
    if Sha256Hex::new(value).is_ok() {
        value.get(..12).unwrap_or(value)
    } else {
        value
    }
}

/// `✗ unchanged: trials/…/traces.jsonl:7: changed …; expected …, found …. Remedy`.
fn one_break(b: &Break) -> String {
    let line = b.line.map_or_else(String::new, |line| format!(":{line}"));
    let pointer = b.pointer.as_deref().filter(|p| !p.is_empty());
    let pointer = pointer.map_or_else(String::new, |pointer| format!(" at {pointer}"));
    let mut words = format!("✗ {}: {}{line}{pointer}: {}", b.level, b.file, b.what);
    if let Some((expected, found)) = b.expected.as_ref().zip(b.found.as_ref()) {
        words.push_str(&format!("; should be {}, is {}", shown(expected), shown(found)));
    }
    if let Some(remedy) = b.remedy {
        words.push_str(&format!(". Remedy: {remedy}"));
    }
    // Names and values are a stranger's.
    one_line(&words).into_owned()
}
