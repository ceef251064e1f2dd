//! Watching a load: telemetry rows, the engine's life, the user's wish to stop, the progress line.

use crate::{
    Progress, RunError, StopFlag,
    gpus::{Gpus, Reading},
};
use servelab_engine::EngineClient;
use servelab_evidence::{EvidenceError, JsonlWriter};
use servelab_load::{LoadHandle, Stop, clock::TrialClock};
use servelab_provider::Ready;
use servelab_schema::{Nanos, Ratio, TelemetrySample, TrialInstant, V};
use servelab_telemetry::HostProbe;
use std::time::Duration;

/// Between two looks at the load, wall time.
const TICK: Duration = Duration::from_millis(50);

/// What is looked at, how often and where it goes.
pub(crate) struct TelemetrySampling<'a> {
    /// `telemetry.jsonl`.
    pub(crate) rows: JsonlWriter<TelemetrySample>,
    /// The trial's clock.
    pub(crate) clock: TrialClock,
    /// Between two samples, engine time.
    pub(crate) interval: Nanos,
    /// The GPUs, opened once per run; none where there is none.
    pub(crate) gpus: Option<&'a Gpus>,
}

/// Writes telemetry until the load has ended, and stops the load where the engine ended or the user asks.
pub(crate) async fn watch(
    load: &LoadHandle,
    engine: &mut Ready,
    sampling: TelemetrySampling<'_>,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<(), RunError> {
    let (control, live) = (load.control(), load.live());
    let TelemetrySampling {
        mut rows,
        clock,
        interval,
        gpus,
    } = sampling;
    let mut probe = HostProbe::new(engine.group());
    let mut due = TrialInstant::START;
    let mut result: Result<(), EvidenceError> = Ok(());
    let client = engine.client().clone();
    let mut look = || {
        if engine.exited().is_some() {
            control.stop(Stop::EngineExited);
        }
        if stop.is_stopped() {
            control.stop(Stop::Cancelled);
        }
        progress.live(&live.snapshot());
    };
    while !load.is_finished() {
        look();
        if clock.now() >= due && result.is_ok() {
            // An engine that dies may hold its page back, a driver its answer: neither hides what happens meanwhile.
            let asked = sample(&client, &mut probe, gpus, clock);
            tokio::pin!(asked);
            let row = loop {
                tokio::select! {
                    row = &mut asked => break row,
                    () = tokio::time::sleep(TICK) => look(),
                }
            };
            result = rows.append(&row);
            if result.is_err() {
                control.stop(Stop::Cancelled);
            }
            due = clock.now().after(interval);
        }
        tokio::time::sleep(TICK.min(clock.until(due).max(Duration::from_millis(1)))).await;
    }
    result.and_then(|()| rows.finish()).map_err(RunError::from)
}

async fn sample(
    client: &EngineClient,
    probe: &mut HostProbe,
    gpus: Option<&Gpus>,
    clock: TrialClock,
) -> TelemetrySample {
    let metrics = client.snapshot().await;
    let count = |value: Option<f64>| {
        #[expect(
            clippy::as_conversions,
            reason = "float to integer saturates; the engine counts requests"
        )]
        value.filter(|v| v.is_finite()).map(|v| v as u32)
    };
    let metrics = metrics.as_ref();
    let t_ns = clock.now();
    let host = probe.sample();
    let Reading { gpus, note } = match gpus {
        Some(gpus) => gpus.sample().await,
        None => Reading::default(),
    };
    TelemetrySample {
        v: V,
        t_ns,
        host,
        engine_running: count(metrics.and_then(servelab_engine::Snapshot::running)),
        engine_waiting: count(metrics.and_then(servelab_engine::Snapshot::waiting)),
        kv_cache_used_ratio: metrics
            .and_then(servelab_engine::Snapshot::kv_cache_used)
            .and_then(|v| Ratio::new(v).ok()),
        gpus,
        gpu_note: note,
    }
}
