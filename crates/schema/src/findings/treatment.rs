//! What was set, what the engines showed of it over the whole run, and what changed along.

use super::OverBlocks;
use crate::{Check, FieldKind, Treatment, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One field that changed along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedField {
    /// Its name, as in `effective` of engine.json.
    pub field: String,
    /// What it is: a setting of its own, or the room that the engine then found.
    pub kind: FieldKind,
    /// Its value in every start of the control; null where the control never shows it.
    pub control: Option<String>,
    /// Its value in every start of the variant; null where the variant never shows it.
    pub variant: Option<String>,
}

/// The fields that changed along, by name, with what they rest on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confounded {
    /// Starts of the variant that showed their configuration.
    pub variant_starts: u32,
    /// Starts of the control that did.
    pub control_starts: u32,
    /// Fields that are the same in every start of an arm, differ between the arms, and are named by no flag of the variant.
    pub fields: Vec<ChangedField>,
}

impl Confounded {
    /// False where nothing is known, because one of the arms never showed its configuration.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.variant_starts > 0 && self.control_starts > 0
    }

    /// The settings among the fields: what a reader must weigh beside the setting under test.
    pub fn settings(&self) -> impl Iterator<Item = &ChangedField> {
        self.fields.iter().filter(|f| f.kind == FieldKind::Setting)
    }
}

/// A check of alike trials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckCount {
    /// The check.
    pub check: Check,
    /// Trials in which it came out so.
    pub trials: u32,
}

/// How often a treatment was observed, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservedTreatment {
    /// What was observed.
    pub treatment: Treatment,
    /// Trials in which it was.
    pub trials: u32,
    /// Their manipulation checks, alike ones counted.
    pub checks: Vec<CheckCount>,
    /// What their engines said where they refused or died, each once.
    pub engine_words: Vec<String>,
    /// Versions of their engines, each once.
    pub engine_versions: Vec<String>,
}

/// Whether a server is another one than that of the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhichServer {
    /// Another one: its processes, or the start that its page of metrics names, are others.
    Another,
    /// The same one under another address: the same processes, and the same start on its page of metrics.
    Same,
    /// One process serves both addresses and says no more: it is one server, or a proxy before two.
    OneProcess,
    /// What would tell cannot be seen from here.
    Unknown,
}

/// The server that a variant was, where servelab did not start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerFindings {
    /// Its address.
    pub url: String,
    /// The versions that it said in the trials, each once; empty where it says none.
    pub versions: Vec<String>,
    /// The models that it said to serve, each once; empty where it says none.
    pub models: Vec<String>,
    /// Contexts of its model that it said, tokens, each once; empty where it says none.
    pub context_tokens: Vec<u32>,
    /// Beside its control's server; null for the baseline and its copies.
    pub beside_control: Option<WhichServer>,
}

/// One variant over the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantFindings {
    /// The variant.
    pub variant: VariantId,
    /// The treatment that makes every trial of it void; null where some trial took effect, or none ran.
    pub void: Option<Treatment>,
    /// True where some trial is compared although nothing shows that its setting took effect.
    pub unobserved: bool,
    /// What was observed, in the order CONFIRMED, NO-OP, SUBSTITUTED, REJECTED, UNOBSERVABLE.
    pub observed: Vec<ObservedTreatment>,
    /// From launch to the first good answer, s of engine time, over its starts; null where none was timed.
    pub startup_s: Option<OverBlocks>,
    /// Which server it was; null where servelab started the engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFindings>,
    /// What changed along with its setting; null for the baseline.
    pub changed_along: Option<Confounded>,
}

impl VariantFindings {
    /// The treatment, where it is the same in every trial.
    #[must_use]
    pub fn treatment(&self) -> Option<Treatment> {
        match self.observed.as_slice() {
            [only] => Some(only.treatment),
            _ => None,
        }
    }
}
