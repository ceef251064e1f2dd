//! Server against client: how much of the time to first token passed outside the engine.

use crate::num::count;
use servelab_schema::{
    EngineMetrics, Nanos, Trace, TtftKind,
    findings::{NoTriangle, TimeOutside},
};

/// The client's view of a trial while its traces go by: every completed request, measured or not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClientView {
    requests: u32,
    sum_s: f64,
    first_text: bool,
}

impl ClientView {
    pub(crate) fn add(&mut self, trace: &Trace) {
        if let Some(c) = trace.completion() {
            self.requests += 1;
            self.sum_s += c.ttft().map_or(0.0, Nanos::as_secs_f64);
            self.first_text |= c.ttft_kind() != TtftKind::Token;
        }
    }

    /// Beside what the engine counted in the trial.
    ///
    /// # Errors
    /// [`NoTriangle`] where the two are not known to be of the same requests.
    pub(crate) fn against(self, metrics: Option<&EngineMetrics>) -> Result<TimeOutside, NoTriangle> {
        let server = metrics.and_then(|m| m.ttft.as_ref()).ok_or(NoTriangle::NotTold)?;
        if self.first_text {
            return Err(NoTriangle::FirstText);
        }
        if u64::from(self.requests) != server.count || self.requests == 0 {
            return Err(NoTriangle::Counts {
                client: self.requests,
                server: server.count,
            });
        }
        Ok(TimeOutside {
            requests: self.requests,
            client_s: self.sum_s / f64::from(self.requests),
            server_s: server.sum_s / count(server.count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{completed, content_only, failed};

    fn time_outside(traces: &[Trace], metrics: Option<&EngineMetrics>) -> Result<TimeOutside, NoTriangle> {
        let mut view = ClientView::default();
        traces.iter().for_each(|t| view.add(t));
        view.against(metrics)
    }

    use servelab_schema::{HistogramRise, Reason};

    fn counted(count: u64, sum_s: f64) -> EngineMetrics {
        EngineMetrics {
            ttft: Some(HistogramRise {
                count,
                sum_s,
                at_most: Vec::new(),
            }),
            ..EngineMetrics::default()
        }
    }

    #[test]
    fn what_the_engine_did_not_see_passed_outside() {
        let mut traces = vec![completed("a", 0, 150, 1, &[]), completed("b", 0, 250, 1, &[])];
        traces[1].measured = false;
        let found = time_outside(&traces, Some(&counted(2, 0.3))).unwrap();
        assert_eq!(found.requests, 2);
        assert!((found.outside_s() - 0.05).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn other_requests_are_not_compared() {
        let traces = [completed("a", 0, 150, 1, &[]), failed("b", 0, Reason::Stalled)];
        let none = |traces: &[Trace], metrics: Option<&EngineMetrics>| time_outside(traces, metrics).unwrap_err();
        assert_eq!(none(&traces, None), NoTriangle::NotTold);
        assert_eq!(none(&traces, Some(&EngineMetrics::default())), NoTriangle::NotTold);
        let why = none(&traces, Some(&counted(2, 0.3)));
        assert_eq!(why, NoTriangle::Counts { client: 1, server: 2 });
        assert!(why.to_string().contains("counted 2 first tokens, the client 1"));
        assert_eq!(
            none(&[], Some(&counted(0, 0.0))),
            NoTriangle::Counts { client: 0, server: 0 }
        );
        let texts = [content_only("a", 0, 10, 4)];
        assert_eq!(none(&texts, Some(&counted(1, 0.1))), NoTriangle::FirstText);
    }
}
