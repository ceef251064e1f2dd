//! The types of every file that passes between two stages of servelab, with their units and invariants.
//!
//! A value of these types is valid by construction: what cannot be true cannot be written down, and a file that says it
//! anyway is refused while it is read. This room does no I/O, reads no clock, draws no random number and computes no
//! statistic. `docs/FORMATS.md` is generated from here (see [`formats`]).

mod bearer;
mod canonical;
mod capabilities;
mod catalogue;
mod changes;
mod correction;
mod dialect;
mod engine_metrics;
mod engine_record;
mod environment;
mod event;
pub mod examples;
mod failure;
pub mod findings;
pub mod foreign;
pub mod formats;
mod gate_figure;
mod ids;
mod load;
mod manifest;
mod pin;
mod plan;
mod policy;
mod preflight;
mod prompt;
mod telemetry;
mod time_scale;
mod trace;
mod trial;
mod units;
mod value;
mod variant;
mod version;

pub use bearer::{KeyInTheClear, SIGNING_KEY_VARIABLE, takes_key};
pub use canonical::{CanonicalError, canonical_json};
pub use capabilities::{Capabilities, ConnectionUse, Member, StreamEnd, StreamOptions, TokenLimit, UsageReport};
pub use catalogue::{FlagCatalogue, FlagKind, FlagSpec};
pub use changes::changes;
pub use correction::{Correction, RunRef, Superseded};
pub use dialect::Dialect;
pub use engine_metrics::{EngineMetrics, HistogramRise, SpeculationRise};
pub use engine_record::{
    CacheState, Check, CheckResult, EffectiveField, EngineRecord, FieldKind, ServerShown, Treatment,
};
pub use environment::{
    CheckpointFacts, ClockAnchor, CloudFacts, CloudProvider, EnvironmentRecord, GpuFacts, HostFacts,
    InstrumentCertificate, MachineHold, ModelFacts, WeightFile,
};
pub use event::{EventLevel, RunEvent};
pub use failure::{Failure, Reason};
pub use gate_figure::{FigureName, FigureUnit, GateFigure};
pub use ids::{IdError, LoadId, PinName, PromptId, PromptSetId, RequestId, RunId, Sha256Hex, TrialId, VariantId};
pub use load::{Arrivals, Load, Rate, Shape};
pub use manifest::{RunEnd, RunManifest, SealedFile, SessionRecord, TrialSummary, Unpacked, Wish};
pub use pin::{Machine, MachineGpu, Pin, PinnedArrivals, PinnedInput, PinnedInputKind};
pub use plan::{
    Asked, BlockOrder, CacheAtStart, EngineKind, EngineSpec, Limits, NamedLoad, OnRepeatedFailure, OtherServer, Plan,
    PlannedBlock, PlannedTrial, Profile, PromptRef, PromptSetRef, Provider, SourceFile,
};
pub use policy::{Gates, Margin, MetricName, OutputPolicy, Slo, Stop, Timeouts, WarmUp};
pub use preflight::{FieldDifference, Preflight, PreflightOutcome, PreflightVariant};
pub use prompt::{
    Bucket, BudgetError, Message, PlainPrompt, Prompt, PromptManifest, PromptSource, Role, SourceRecord, Task,
    TokenBudget,
};
pub use telemetry::{GpuSample, HostSample, TelemetrySample, ThrottleReason};
pub use time_scale::{TimeScale, WallInstant, WallNanos};
pub use trace::{Chunk, Completion, CompletionError, FinishReason, Outcome, TokenCounts, TokenSource, Trace, TtftKind};
pub use trial::{
    Blame, ClockReading, GateName, GateOutcome, GateResult, Instrument, Starvation, TrialCounts, TrialEnd, TrialRecord,
    Validity, Window,
};
pub use units::{Bytes, Nanos, ParseDurationError, Ratio, RatioError, TrialInstant};
pub use value::{normal_value, same_value};
pub use variant::{ArgValue, Expectation, FieldValue, Origin, PlannedVariant, VariantRole};
pub use version::{Format, Unreadable, V, Versions, readable, unreadable};

/// Version of the measuring method. Whatever can move a number raises it; runs of two versions are NotComparable.
pub const METHOD_VERSION: u32 = 3;
