//! A question as SQL. Words of whoever asks are parameters, never text of the statement.

use super::Question;
use rusqlite::types::Value;
use servelab_findings::Scope;

/// What of a row is wanted.
const SELECT: &str = "SELECT r.id, r.fingerprint, r.started_utc, r.name, r.engine_kind, r.time_scale, r.method_version, r.model, r.engine, \
                      r.engine_version, r.gpu, r.prompts_sha256, v.factor, l.load_json, f.* \
                      FROM run r CROSS JOIN finding f ON f.run_id = r.id \
                      LEFT JOIN variant v ON v.run_id = r.id AND v.id = f.variant \
                      LEFT JOIN load l ON l.run_id = r.id AND l.id = f.load";

/// Exactly the condition of the index `finding_of_run`, without which SQLite does not use it.
const NO_TRIALS: &str = "f.scope NOT IN ('trial', 'gate')";

/// What a run is first asked for: metric and statistic.
const HEADLINE: &str = "('output-throughput', 'mean'), ('ttft', 'p50'), ('tpot', 'p50'), ('e2e', 'p50')";

/// The conditions so far, and the words that they are about.
#[derive(Debug, Default)]
struct Conditions {
    all: Vec<String>,
    words: Vec<Value>,
}

impl Conditions {
    /// A place for a word.
    fn place(&mut self, word: impl Into<Value>) -> String {
        self.words.push(word.into());
        format!("?{}", self.words.len())
    }

    /// `condition` of any of the words, where there are some.
    fn any<W: ToString>(&mut self, words: &[W], condition: impl Fn(&str) -> String) {
        if words.is_empty() {
            return;
        }
        let each: Vec<String> = words
            .iter()
            .map(|word| condition(&self.place(word.to_string())))
            .collect();
        self.all.push(format!("({})", each.join(" OR ")));
    }

    /// The column is one of the words.
    fn one_of<W: ToString>(&mut self, column: &str, words: &[W]) {
        if words.is_empty() {
            return;
        }
        let places: Vec<String> = words.iter().map(|word| self.place(word.to_string())).collect();
        self.all.push(format!("{column} IN ({})", places.join(", ")));
    }
}

/// The statement and its parameters.
pub(super) fn of(question: &Question) -> (String, Vec<Value>) {
    let mut where_ = Conditions::default();
    of_runs(question, &mut where_);
    of_rows(question, &mut where_);
    let conditions = if where_.all.is_empty() {
        "1".to_owned()
    } else {
        where_.all.join(" AND ")
    };
    let sql = format!("{SELECT} WHERE {conditions} ORDER BY r.started_utc DESC, r.id DESC, f.position");
    (sql, where_.words)
}

/// What the run must be. Whether it has a variant, a load or a factor at all is asked before its rows are.
fn of_runs(q: &Question, where_: &mut Conditions) {
    let contains = |column: &'static str| move |word: &str| format!("instr(lower({column}), lower({word})) > 0");
    where_.one_of("r.id", &q.runs.iter().map(|run| run.as_str()).collect::<Vec<_>>());
    where_.one_of(
        "r.engine_kind",
        &q.kinds
            .iter()
            .map(|kind| kind.to_string().to_lowercase())
            .collect::<Vec<_>>(),
    );
    where_.any(&q.models, contains("r.model"));
    where_.any(&q.gpus, contains("r.gpu"));
    where_.one_of("r.engine", &q.engines);
    where_.any(&q.engine_versions, |word| {
        format!("(r.engine_version = {word} OR substr(r.engine_version, 1, length({word}) + 1) = {word} || '.')")
    });
    if let Some(since) = &q.since {
        let place = where_.place(since.clone());
        where_.all.push(format!("r.started_utc >= {place}"));
    }
    if let Some(until) = &q.until {
        // Whatever begins with the date is not later than it.
        let place = where_.place(until.clone());
        where_.all.push(format!("r.started_utc < {place} || char(127)"));
    }
    let has = |table: &'static str, column: &'static str| {
        move |word: &str| format!("EXISTS (SELECT 1 FROM {table} h WHERE h.run_id = r.id AND h.{column} = {word})")
    };
    where_.any(&q.variants, has("variant", "id"));
    where_.any(&q.loads, has("load", "id"));
    where_.any(&q.factors, has("variant", "factor"));
}

/// What the row must be.
fn of_rows(q: &Question, where_: &mut Conditions) {
    where_.one_of("f.variant", &q.variants);
    where_.one_of("f.load", &q.loads);
    where_.one_of("v.factor", &q.factors);
    if q.headline {
        where_
            .all
            .push(format!("(f.metric, f.statistic) IN (VALUES {HEADLINE})"));
    }
    where_.one_of("f.metric", &q.metrics);
    where_.one_of("f.statistic", &q.statistics);
    where_.one_of("f.verdict", &q.verdicts);
    where_.one_of("f.scope", &q.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>());
    if !q.scopes.is_empty() && !q.scopes.iter().any(|s| matches!(s, Scope::Trial | Scope::Gate)) {
        where_.all.push(NO_TRIALS.to_owned());
    }
    if !q.groups {
        where_.all.push("f.task IS NULL AND f.bucket IS NULL".to_owned());
    }
}
