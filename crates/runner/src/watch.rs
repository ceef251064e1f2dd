//! Watching a load: telemetry rows, the engine's life, the user's wish to stop, the progress line.

use crate::{Progress, RunError, StopFlag};
use servelab_engine::Ready;
use servelab_evidence::{EvidenceError, JsonlWriter};
use servelab_load::{LoadHandle, Stop, clock::TrialClock};
use servelab_schema::{Nanos, Ratio, TelemetrySample, V};
use servelab_telemetry::HostProbe;
use std::time::Duration;

/// Between two looks at the load, wall time.
const TICK: Duration = Duration::from_millis(50);

/// Writes telemetry until the load has ended, and stops the load where the engine ended or the user asks.
pub(crate) async fn watch(
    load: &LoadHandle,
    engine: &mut Ready,
    mut rows: JsonlWriter<TelemetrySample>,
    clock: TrialClock,
    interval: Nanos,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<(), RunError> {
    let (control, live) = (load.control(), load.live());
    let mut probe = HostProbe::new(Some(engine.group()));
    let mut due = Nanos::ZERO;
    let mut result: Result<(), EvidenceError> = Ok(());
    while !load.is_finished() {
        if engine.exited().is_some() {
            control.stop(Stop::EngineExited);
        }
        if stop.is_stopped() {
            control.stop(Stop::Cancelled);
        }
        if clock.now() >= due && result.is_ok() {
            result = rows.append(&sample(engine, &mut probe, clock).await);
            if result.is_err() {
                control.stop(Stop::Cancelled);
            }
            due = clock.now().saturating_add(interval);
        }
        progress.live(&live.snapshot());
        tokio::time::sleep(TICK.min(clock.until(due).max(Duration::from_millis(1)))).await;
    }
    result.and_then(|()| rows.finish()).map_err(RunError::from)
}

async fn sample(engine: &Ready, probe: &mut HostProbe, clock: TrialClock) -> TelemetrySample {
    let metrics = engine.client().snapshot().await;
    let count = |value: Option<f64>| {
        #[expect(
            clippy::as_conversions,
            reason = "float to integer saturates; the engine counts requests"
        )]
        value.filter(|v| v.is_finite()).map(|v| v as u32)
    };
    let metrics = metrics.as_ref();
    TelemetrySample {
        v: V,
        t_ns: clock.now(),
        host: probe.sample(),
        engine_running: count(metrics.and_then(servelab_engine::Snapshot::running)),
        engine_waiting: count(metrics.and_then(servelab_engine::Snapshot::waiting)),
        kv_cache_used_ratio: metrics
            .and_then(servelab_engine::Snapshot::kv_cache_used)
            .and_then(|v| Ratio::new(v).ok()),
    }
}
