//! The matrix as it is written, section by section, with every value checked on its own.
//!
//! What needs two values to be seen (a treatment equal to its control, prompts that do not fit) is checked later.

mod engine;
mod load;
mod policy;
mod server;
mod variant;

pub(crate) use engine::{EngineSection, ProfileSection};
pub(crate) use load::loads;
pub(crate) use policy::{Experiment, Predict};
pub(crate) use variant::{Arg, VariantWire, WhenWire};

use crate::{
    document::Map,
    error::Place,
    reader::{At, Reading, Table},
    values::{MicroUsd, Positive, ProjectPath},
};
use servelab_schema::{Gates, Nanos, OutputPolicy, Slo, Timeouts, WarmUp};

/// The whole document. A section is absent where it, or something in it, is wrong.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where the document begins, for problems of the whole.
    pub(crate) place: Place,
    pub(crate) name: Option<At<String>>,
    pub(crate) profile: Option<ProfileSection>,
    pub(crate) engine: Option<EngineSection>,
    pub(crate) prompts: Option<PromptFiles>,
    pub(crate) experiment: Option<Experiment>,
    pub(crate) loads: Option<Vec<servelab_schema::NamedLoad>>,
    pub(crate) output: Option<OutputPolicy>,
    pub(crate) warm_up: Option<WarmUp>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) gates: Option<Gates>,
    pub(crate) slo: Option<Slo>,
    pub(crate) telemetry_interval: Option<Nanos>,
    pub(crate) limits: LimitsSection,
    pub(crate) predict: Option<Predict>,
    pub(crate) variants: Vec<VariantWire>,
}

/// `[prompts]`.
#[derive(Debug)]
pub(crate) struct PromptFiles {
    pub(crate) file: At<ProjectPath>,
    pub(crate) fillers: At<ProjectPath>,
}

/// `[limits]`.
#[derive(Debug, Default)]
pub(crate) struct LimitsSection {
    pub(crate) max_duration: Option<At<Positive>>,
    pub(crate) max_cost: Option<At<MicroUsd>>,
}

/// Reads a document; `place` is where it begins.
pub(crate) fn read(map: &Map, place: &Place, reading: &Reading<'_>) -> Wire {
    let mut root = Table::new(map, place.clone(), String::new(), reading);
    root.raw("extends");
    let wire = Wire {
        place: place.clone(),
        name: policy::name(&mut root),
        profile: root.req_table("profile").and_then(engine::profile),
        engine: root.req_table("engine").and_then(engine::engine),
        prompts: root.req_table("prompts").and_then(prompts),
        experiment: root.req_table("experiment").and_then(policy::experiment),
        loads: loads(&mut root),
        output: root.req_table("output").and_then(policy::output),
        warm_up: root.req_table("warm-up").and_then(policy::warm_up),
        timeouts: root.req_table("timeouts").and_then(policy::timeouts),
        gates: root.req_table("gates").and_then(policy::gates),
        slo: root.req_table("slo").map(policy::slo),
        telemetry_interval: root.req_table("telemetry").and_then(policy::telemetry),
        limits: root.table("limits").map(limits).unwrap_or_default(),
        predict: root.req_table("predict").and_then(policy::predict),
        variants: variant::variants(&mut root),
    };
    root.finish();
    wire
}

fn prompts(mut t: Table<'_>) -> Option<PromptFiles> {
    let file = t.req("file");
    let fillers = t.req("fillers");
    t.finish();
    Some(PromptFiles {
        file: file?,
        fillers: fillers?,
    })
}

fn limits(mut t: Table<'_>) -> LimitsSection {
    let section = LimitsSection {
        max_duration: t.opt("max-duration"),
        max_cost: t.opt("max-cost-usd"),
    };
    t.finish();
    section
}
