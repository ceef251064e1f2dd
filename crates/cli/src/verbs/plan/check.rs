//! `servelab plan --check-engine`: what the installed engine makes of each variant.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
};
use clap::Args;
use servelab_engine::preflight::{PreflightError, check, find_python};
use servelab_matrix::Resolved;
use servelab_provider::Host;
use servelab_schema::{Preflight, PreflightOutcome, PreflightVariant, Treatment};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::PathBuf,
    time::Duration,
};

/// Longest words of the engine in a table, characters.
const WORDS: usize = 300;

/// Most changed fields that a row names: the second table has them all.
const CHANGES: usize = 3;

/// How the installed engine is asked.
#[derive(Debug, Args)]
pub(super) struct CheckEngine {
    /// Have the installed engine build each variant's configuration, without starting it: seconds a variant. Exit code 3
    /// where it refuses one, or where one changes nothing.
    #[arg(long)]
    check_engine: bool,
    /// The Python that the engine is installed in; otherwise that of the provider's command, or of `vllm`.
    #[arg(long, value_name = "PROGRAM", requires = "check_engine")]
    python: Option<PathBuf>,
    /// A model to check with in place of the profile's, such as a small one that is here.
    #[arg(long, value_name = "MODEL", requires = "check_engine")]
    model: Option<String>,
    /// Seconds that the whole check may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "check_engine")]
    deadline: u64,
}

fn failure(error: PreflightError) -> Failure {
    if error.is_configuration() {
        Failure::configuration(error)
    } else {
        Failure::environment(error)
    }
}

impl CheckEngine {
    pub(super) const fn wanted(&self) -> bool {
        self.check_engine
    }

    pub(super) fn execute(&self, resolved: &Resolved, format: Format) -> Result<Exit, Failure> {
        let plan = &resolved.plan;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::environment)?;
        let asked = async {
            let dialect = plan.engine.dialect;
            if dialect != servelab_schema::Dialect::Vllm {
                return Err(PreflightError::Dialect(dialect));
            }
            let host = Host::new(PathBuf::new(), PathBuf::new());
            let place = servelab_provider::of(&plan.engine, &plan.profile, &host).facts();
            let python = find_python(place.program.as_deref(), self.python.as_deref())?;
            let deadline = Duration::from_secs(self.deadline);
            check(plan, &place.words, &python, self.model.as_deref(), deadline).await
        };
        let preflight = runtime.block_on(asked).map_err(failure)?;
        super::notes(resolved);
        if preflight.engine_version.split('+').next() != plan.engine.version.split('+').next() {
            output::note(&format!(
                "note: the engine is {}, the plan is for {}: give --engine-version {} for the flags of the installed one",
                preflight.engine_version, plan.engine.version, preflight.engine_version
            ));
        }
        match format {
            Format::Json => output::json(&preflight).map_err(Failure::configuration)?,
            Format::Table => output::answer(&text(&preflight)),
        }
        let refused = |v: &PreflightVariant| matches!(v.outcome, PreflightOutcome::Refused { .. });
        if let Some(baseline) = preflight.variants.iter().find(|v| v.control.is_none() && refused(v)) {
            output::note(&format!(
                "note: the engine refuses the baseline {} too, so nothing here is about the variants' settings; is the model \
                 on this machine? --model names another one to check with",
                baseline.variant
            ));
        }
        let fails = |v: &PreflightVariant| refused(v) || v.planned == Some(Treatment::NoOp);
        Ok(if preflight.variants.iter().any(fails) {
            Exit::Configuration
        } else {
            Exit::Ok
        })
    }
}

fn fields(variant: &PreflightVariant) -> Option<&BTreeMap<String, String>> {
    match &variant.outcome {
        PreflightOutcome::Accepted { fields } => Some(fields),
        PreflightOutcome::Refused { .. } => None,
    }
}

fn cut(words: &str) -> String {
    if words.chars().count() <= WORDS {
        return words.to_owned();
    }
    words.chars().take(WORDS).chain(['…']).collect()
}

fn text(preflight: &Preflight) -> String {
    let mut out = format!(
        "{} {} on {}: configurations built, nothing started\n",
        preflight.dialect, preflight.engine_version, preflight.platform
    );
    let rows = preflight.variants.iter().map(|v| {
        let (answer, words) = match &v.outcome {
            PreflightOutcome::Accepted { .. } => ("accepted", changes(v)),
            PreflightOutcome::Refused { words } => ("REFUSED", cut(words)),
        };
        let planned = v.planned.map(|t| t.to_string()).unwrap_or_default();
        let control = v.control.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![v.variant.to_string(), control, answer.to_owned(), planned, words]
    });
    let header = [
        "variant",
        "control",
        "the engine",
        "treatment",
        "changed against its control, or its words",
    ];
    out.push_str(&output::table(header, rows.collect()));
    out.push_str(&field_table(preflight));
    warnings(preflight, &mut out);
    out
}

/// `field: a → b` for each field that differs from the control's.
fn changes(variant: &PreflightVariant) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
    let changes: Vec<String> = variant
        .differs
        .iter()
        .take(CHANGES)
        .map(|d| format!("{}: {} → {}", d.field, shown(&d.control), shown(&d.variant)))
        .collect();
    let more = match variant.differs.len().saturating_sub(CHANGES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", changes.join(", "))
}

/// Variant × field: the fields in which any variant differs from the first, which is the baseline.
fn field_table(preflight: &Preflight) -> String {
    let Some((first, base)) = preflight.variants.iter().find_map(|v| Some((v, fields(v)?))) else {
        return String::new();
    };
    let accepted: Vec<(&PreflightVariant, &BTreeMap<String, String>)> = preflight
        .variants
        .iter()
        .filter_map(|v| Some((v, fields(v)?)))
        .collect();
    let names: BTreeSet<&String> = accepted
        .iter()
        .flat_map(|(_, fields)| fields.keys())
        .chain(base.keys())
        .collect();
    let value =
        |fields: &BTreeMap<String, String>, name: &str| fields.get(name).cloned().unwrap_or_else(|| "–".to_owned());
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .filter(|name| accepted.iter().any(|(_, fields)| fields.get(*name) != base.get(*name)))
        .map(|name| {
            let mut row = vec![name.clone(), value(base, name)];
            row.extend(accepted.iter().skip(1).map(|(_, fields)| {
                let same = fields.get(name) == base.get(name);
                if same { "·".to_owned() } else { value(fields, name) }
            }));
            row
        })
        .collect();
    if rows.is_empty() {
        return format!("\nno field differs from those of {}\n", first.variant);
    }
    let header = std::iter::once("field".to_owned()).chain(accepted.iter().map(|(v, _)| v.variant.to_string()));
    format!("\n{}", output::table(header, rows))
}

/// What the engine warned of, each once with the variants that it was said to.
fn warnings(preflight: &Preflight, out: &mut String) {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for variant in &preflight.variants {
        for warning in &variant.warnings {
            let id = variant.variant.as_str();
            match said.iter_mut().find(|(words, _)| words == warning) {
                Some((_, variants)) => variants.push(id),
                None => said.push((warning, vec![id])),
            }
        }
    }
    for (words, variants) in said {
        let whom = if variants.len() == preflight.variants.len() {
            "all".to_owned()
        } else {
            variants.join(", ")
        };
        let _ = writeln!(out, "warning ({whom}): {}", cut(words));
    }
}
