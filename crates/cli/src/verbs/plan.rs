//! `servelab plan`: what a matrix would run.

mod check;

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::Args;
use servelab_matrix::{Explanation, MatrixErrors, Overrides, Resolved, explain, resolve_with_origins};
use servelab_schema::{Origin, VariantRole};
use std::path::PathBuf;

/// A matrix and what the command line changes of it.
#[derive(Debug, Args)]
pub(crate) struct Matrix {
    /// The matrix file.
    #[arg(value_name = "MATRIX.toml")]
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
}

/// What the command line changes of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(crate) struct Changes {
    /// Resolve flags for this engine version, such as 0.32.0.
    #[arg(long, value_name = "VERSION")]
    engine_version: Option<String>,
    /// Refuse a run that is predicted to cost more, in US dollars.
    #[arg(long, value_name = "USD")]
    max_cost: Option<String>,
    /// Refuse a run that is predicted to take longer, such as 30m.
    #[arg(long, value_name = "TIME")]
    max_duration: Option<String>,
    /// Engine seconds per wall second of the simulated engine.
    #[arg(long, value_name = "N")]
    time_scale: Option<u32>,
    /// Number of blocks.
    #[arg(long, value_name = "N")]
    blocks: Option<u32>,
    /// Measured requests of each block.
    #[arg(long, value_name = "N")]
    requests: Option<u32>,
}

impl Matrix {
    /// A matrix file, and what is changed of it.
    pub(crate) const fn new(file: PathBuf, changes: Changes) -> Self {
        Self { file, changes }
    }

    /// The resolved matrix.
    pub(crate) fn resolve(&self, project: &Project) -> Result<Resolved, Failure> {
        let changes = self.changes.clone();
        let overrides = Overrides {
            engine_version: changes.engine_version,
            max_cost: changes.max_cost,
            max_duration: changes.max_duration,
            time_scale: changes.time_scale,
            blocks: changes.blocks,
            requests_per_block: changes.requests,
        };
        resolve_with_origins(project.root(), &self.file, &overrides).map_err(|errors: MatrixErrors| {
            let error = anyhow::anyhow!("the matrix cannot be run as it stands\n{errors}");
            Failure::configuration(error)
        })
    }
}

/// Arguments of `servelab plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    matrix: Matrix,
    /// Show every setting and where it was written, not only the variants' flags.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    check: check::CheckEngine,
    /// `json` gives plan.json, with --check-engine what the engine said.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Plan {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let resolved = self.matrix.resolve(project)?;
        if self.check.wanted() {
            return self.check.execute(&resolved, self.format);
        }
        if self.format == Format::Json {
            let text = servelab_schema::canonical_json(&resolved.plan).map_err(Failure::configuration)?;
            output::answer(&text);
            notes(&resolved);
        } else {
            output::answer(&text(&resolved, &explain(&resolved), self.explain));
        }
        Ok(Exit::Ok)
    }
}

/// Beside an answer for programs.
pub(crate) fn notes(resolved: &Resolved) {
    for note in &resolved.notes {
        output::note(&format!("note: {note}"));
    }
}

fn role(role: VariantRole) -> &'static str {
    match role {
        VariantRole::Baseline => "baseline",
        VariantRole::Aa => "A/A",
        VariantRole::Treatment => "treatment",
    }
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}

fn text(resolved: &Resolved, explanation: &Explanation, all: bool) -> String {
    let plan = &resolved.plan;
    let mut out = String::new();
    let cells: Vec<Vec<String>> = explanation
        .cells
        .iter()
        .map(|c| {
            let own = c.differs_in.join(", ");
            let control = c.control.clone().unwrap_or_default();
            vec![
                c.variant.clone(),
                role(c.role).into(),
                control,
                c.load.clone(),
                own,
                c.trials.to_string(),
            ]
        })
        .collect();
    out.push_str(&output::table(
        [
            "variant",
            "role",
            "control",
            "load",
            "differs from its control in",
            "trials",
        ],
        cells,
    ));
    // Flags that every variant shares are shown once, then what each variant changes.
    let baseline = plan.variants.first().map(|v| v.id.to_string()).unwrap_or_default();
    let flags: Vec<Vec<String>> = explanation
        .flags
        .iter()
        .filter(|f| f.variant == baseline || f.differs)
        .map(|f| vec![f.variant.clone(), f.flag.clone(), f.value.to_string(), place(&f.origin)])
        .collect();
    out.push('\n');
    out.push_str(&output::table(["variant", "engine flag", "value", "from"], flags));
    if all {
        let settings = &explanation.settings;
        let rows = settings
            .iter()
            .map(|s| vec![s.key.clone(), s.value.clone(), place(&s.origin)])
            .collect();
        out.push('\n');
        out.push_str(&output::table(["setting", "value", "from"], rows));
    }
    if !resolved.notes.is_empty() {
        let rows = resolved
            .notes
            .iter()
            .map(|n| vec![n.place.to_string(), n.key.clone(), n.text.clone()])
            .collect();
        out.push('\n');
        out.push_str(&output::table(["note at", "key", ""], rows));
    }
    let prompts: usize = plan.blocks.iter().map(|b| b.prompts.len()).sum();
    let summary = format!(
        "{}: {} engine, {} trials in {} blocks, {} measured requests a cell, predicted wall time up to {}",
        plan.name,
        plan.engine_kind,
        plan.trial_count(),
        plan.blocks.len(),
        prompts,
        plan.predicted_wall_ns
    );
    out.push('\n');
    out.push_str(&output::paragraph(&summary, 2));
    if let Some(cost) = servelab_matrix::needs_confirmation(plan) {
        let cost = format!("{cost}: `servelab run` asks, or takes --confirm");
        out.push_str(&output::paragraph(&cost, 2));
    }
    out
}
