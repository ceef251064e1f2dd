//! What `servelab plan` shows of a plan: cells, effective flags, and where each value came from.

use crate::{
    error::Errors,
    factors::Catalogue,
    flags::Catalogues,
    resolve::{Resolved, Setting, usd},
};
use servelab_schema::{ArgValue, Origin, Plan, PlannedVariant, VariantRole};
use std::path::Path;

/// One cell: a variant under a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRow {
    /// The variant's name.
    pub variant: String,
    /// What it is in the experiment.
    pub role: VariantRole,
    /// The arm it is compared with.
    pub control: Option<String>,
    /// The one factor that differs from the control.
    pub factor: Option<String>,
    /// That factor in words.
    pub factor_meaning: Option<String>,
    /// The load's name.
    pub load: String,
    /// The flags that differ from the control's.
    pub differs_in: Vec<String>,
    /// The engine's command-line words.
    pub argv: Vec<String>,
    /// Number of trials of this cell.
    pub trials: usize,
}

/// One effective flag of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagRow {
    /// The variant's name.
    pub variant: String,
    /// The flag, without dashes.
    pub flag: String,
    /// Its value.
    pub value: ArgValue,
    /// True where it differs from the control's.
    pub differs: bool,
    /// Where it was written.
    pub origin: Origin,
}

/// A plan as rows of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The cells: variants in order, each with every load.
    pub cells: Vec<CellRow>,
    /// The effective flags of every variant.
    pub flags: Vec<FlagRow>,
    /// Everything else that was set, in order of key.
    pub settings: Vec<Setting>,
}

/// The rows of a resolved matrix.
#[must_use]
pub fn explain(resolved: &Resolved) -> Explanation {
    let plan = &resolved.plan;
    let errors = Errors::default();
    let catalogue = Catalogue::embedded(&errors);
    let dialect = plan.engine.dialect;
    // Only a flag's place among the settings is asked for, which no catalogue of the project changes.
    let catalogues = Catalogues::load(Path::new(""), dialect, &errors);
    let engine_flags = plan.engine.version.parse().map(|version| catalogues.of(&version)).ok();
    let mut cells = Vec::new();
    let mut flags = Vec::new();
    for variant in &plan.variants {
        let factor = variant.factor.as_deref();
        let meaning = factor.and_then(|f| {
            let (catalogue, flags) = (catalogue.as_ref()?, engine_flags.as_ref()?);
            Some(catalogue.factor(f, dialect, flags)?.what)
        });
        for load in &plan.loads {
            let trials = plan.blocks.iter().flat_map(|b| &b.trials);
            cells.push(CellRow {
                variant: variant.id.to_string(),
                role: variant.role,
                control: variant.control.as_ref().map(ToString::to_string),
                factor: variant.factor.clone(),
                factor_meaning: meaning.clone(),
                load: load.id.to_string(),
                differs_in: variant.differs_in.clone(),
                argv: variant.argv(),
                trials: trials.filter(|t| t.variant == variant.id && t.load == load.id).count(),
            });
        }
        flags.extend(model_row(variant, &resolved.settings));
        flags.extend(variant.flags.iter().map(|(flag, field)| FlagRow {
            variant: variant.id.to_string(),
            flag: flag.clone(),
            value: field.value.clone(),
            differs: variant.differs_in.contains(flag),
            origin: field.origin.clone(),
        }));
    }
    Explanation {
        cells,
        flags,
        settings: resolved.settings.clone(),
    }
}

/// The model of a variant that serves another one than the profile's, and where that was written: with the variant itself
/// or with its control.
fn model_row(variant: &PlannedVariant, settings: &[Setting]) -> Option<FlagRow> {
    let model = variant.model.as_ref()?;
    let is_it =
        |s: &&Setting| s.key.starts_with("variant[") && s.key.ends_with(".model") && s.value == format!("{model:?}");
    let own = |s: &&Setting| s.key.starts_with(&format!("variant[{}]", variant.id));
    let mut found = settings.iter().filter(is_it);
    let first = found.clone().next();
    let setting = found.find(own).or(first)?;
    Some(FlagRow {
        variant: variant.id.to_string(),
        flag: "model".to_owned(),
        value: ArgValue::Text(model.clone()),
        differs: variant.differs_in.iter().any(|name| name == "model"),
        origin: setting.origin.clone(),
    })
}

/// The question to ask before a run that would cost money; none where it costs nothing.
#[must_use]
pub fn needs_confirmation(plan: &Plan) -> Option<String> {
    let cost = plan.predicted_cost_micro_usd.filter(|cost| *cost > 0)?;
    Some(format!(
        "this run is predicted to take {} on {} and to cost {}",
        plan.predicted_wall_ns,
        plan.profile
            .machine_type
            .as_deref()
            .unwrap_or("a machine of no declared type"),
        usd(cost)
    ))
}
