//! A pin.

use super::{OK, digest, manifest, plan};
use crate::{
    LoadId, MetricName, Pin, PinName, PinnedInput, PinnedInputKind, TtftKind, V, VariantId,
    findings::{BlockValues, ControlArm, Interval, Measured, MeasuredCell, MeasuredEffect, Verdict, WorseBy},
};
use std::collections::BTreeMap;

/// A document of `runs/pinned/`.
#[must_use]
pub fn pin() -> Pin {
    let (manifest, mut plan) = (manifest(), plan());
    plan.prompts.prompts.clear();
    plan.fillers.prompts.clear();
    let [id, baseline] = ["C3", "C1"].map(|id| VariantId::new(id).expect(OK));
    let load = LoadId::new("c8").expect(OK);
    let interval = |low, high| Some(Interval { low, high });
    let values = BlockValues {
        blocks: vec![1, 2],
        values: vec![412.5, 409.0],
        mean: 410.75,
        interval: interval(388.9, 433.8),
    };
    Pin {
        v: V,
        name: PinName::new("ci").expect(OK),
        run_id: manifest.run_id,
        fingerprint: digest(8),
        measured_utc: manifest.started.utc,
        servelab_version: manifest.servelab_version,
        engine_kind: manifest.engine_kind,
        method_version: manifest.method_version,
        plan_sha256: manifest.plan_sha256,
        inputs: vec![PinnedInput {
            kind: PinnedInputKind::Prompts,
            path: plan.prompts.path.clone(),
            sha256: plan.prompts.sha256.clone(),
        }],
        arrivals: Vec::new(),
        engine_versions: vec![plan.engine.version.clone()],
        checkpoints: Vec::new(),
        machine: None,
        plan,
        expected: Measured {
            suspect: false,
            complete: true,
            cells: vec![MeasuredCell {
                variant: id.clone(),
                load: load.clone(),
                ttft_kind: Some(TtftKind::Token),
                lost_to_engine: 0,
                metrics: BTreeMap::from([(MetricName::OutputThroughput, values)]),
            }],
            effects: vec![MeasuredEffect {
                variant: id,
                load,
                metric: MetricName::OutputThroughput,
                control: ControlArm {
                    control: baseline,
                    with_aa: Vec::new(),
                },
                blocks: vec![1, 2],
                log_ratios: vec![-0.09, -0.1],
                effect_percent: -9.1,
                interval_percent: interval(-14.6, -3.1),
                verdict: Verdict::Worse { by: WorseBy::Effect },
                indicative: true,
            }],
        },
    }
}
