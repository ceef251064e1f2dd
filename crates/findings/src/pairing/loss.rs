//! Who lost a block: why a cell has no value in a metric.
//!
//! Where several things failed in one trial the setting comes first (a void trial says nothing of anything), then the
//! engine, then the instrument: an engine that takes the client down with it must not pass for bad luck.

use crate::compare::CellMetrics;
use servelab_schema::findings::{LossCause, LossReason};
use servelab_schema::{Blame, MetricName, Treatment, Validity};

/// A loss before it has its block.
pub(crate) type Loss = (LossCause, LossReason);

/// What the starts of an arm show of its setting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    /// Some start served with it.
    took_effect: bool,
    /// Some start refused it, or did something else.
    did_not: bool,
}

impl Shown {
    pub(crate) fn add(&mut self, cell: &CellMetrics) {
        self.took_effect |= cell.took_effect();
        self.did_not |= !cell.treatment.took_effect();
    }

    /// Nothing that happens to such an arm says anything of its setting.
    const fn is_void(self) -> bool {
        self.did_not && !self.took_effect
    }
}

/// Why no metric of a trial counts; none where the trial counts. `voidable` is true for treatments, `shown` is of its arm.
pub(crate) fn of_trial(cell: &CellMetrics, voidable: bool, shown: Shown) -> Option<Loss> {
    if voidable && !cell.treatment.took_effect() {
        // A setting that other starts took was not refused as such: this start failed with it.
        let failed = cell.treatment == Treatment::Rejected && shown.took_effect;
        let cause = if failed { LossCause::Engine } else { LossCause::Setting };
        let treatment = cell.treatment;
        return Some((cause, LossReason::Treatment { treatment }));
    }
    match &cell.validity {
        Validity::Valid => None,
        Validity::Aborted { why } => Some((LossCause::Aborted, LossReason::Aborted { why: why.clone() })),
        Validity::Invalid { gates } => {
            let blames = |whom: Blame| gates.iter().any(|g| g.blame() == whom);
            let cause = if blames(Blame::Engine) {
                let void = voidable && shown.is_void();
                if void { LossCause::Setting } else { LossCause::Engine }
            } else if blames(Blame::Setting) {
                LossCause::Setting
            } else if blames(Blame::Plan) {
                LossCause::Plan
            } else {
                LossCause::Instrument
            };
            Some((cause, LossReason::Gates { gates: gates.clone() }))
        }
    }
}

/// Why a trial that counts has no value of `metric`; none where it has one.
pub(crate) fn of_metric(cell: &CellMetrics, metric: MetricName) -> Option<Loss> {
    if cell.completed == 0 {
        return Some((LossCause::Engine, LossReason::NothingCompleted));
    }
    if metric.is_pooled() {
        return cell
            .e2e_s
            .is_empty()
            .then_some((LossCause::NoValue, LossReason::Absent));
    }
    match cell.metrics.get(&metric) {
        Some(value) if value.is_finite() && *value > 0.0 => None,
        // Nothing served is the engine's doing; a latency of 0 is below what the clock can tell.
        Some(_) if metric.higher_is_better() => Some((LossCause::Engine, LossReason::Zero)),
        Some(_) => Some((LossCause::NoValue, LossReason::Zero)),
        None => Some((LossCause::NoValue, LossReason::Absent)),
    }
}
