//! Server against client: how much of the time to first token passed outside the engine.

use crate::num::{count, len_u32};
use servelab_schema::{EngineMetrics, Trace, TtftKind};
use std::fmt;

/// Both views of the same requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeOutside {
    /// Requests that both counted: measured ones, warm-up and fillers.
    pub requests: u32,
    /// Mean TTFT as the client saw it, s.
    pub client_s: f64,
    /// Mean TTFT as the engine counted it, from the request's arrival, s.
    pub server_s: f64,
}

impl TimeOutside {
    /// Mean time outside the engine, s: network, client and the HTTP server before the engine counts the arrival.
    #[must_use]
    pub fn outside_s(&self) -> f64 {
        self.client_s - self.server_s
    }
}

/// Why the two views of a trial are not of the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoTriangle {
    /// The engine has no TTFT histogram.
    NotTold,
    /// The client saw first texts, not first tokens.
    FirstText,
    /// The engine counted other requests than the client completed.
    Counts {
        /// Requests that the client completed.
        client: u32,
        /// Requests that the engine counted.
        server: u64,
    },
}

impl fmt::Display for NoTriangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTold => f.write_str("the engine has no histogram of its time to first token"),
            Self::FirstText => f.write_str("the client saw first texts, not first tokens"),
            Self::Counts { client, server } => {
                write!(f, "the engine counted {server} first tokens, the client {client}")
            }
        }
    }
}

/// Compares the client's TTFT of every completed request of a trial with what the engine counted in it.
///
/// # Errors
/// [`NoTriangle`] where the two are not known to be of the same requests.
pub fn time_outside(traces: &[Trace], metrics: Option<&EngineMetrics>) -> Result<TimeOutside, NoTriangle> {
    let server = metrics.and_then(|m| m.ttft.as_ref()).ok_or(NoTriangle::NotTold)?;
    let done = || traces.iter().filter_map(Trace::completion);
    if done().any(|c| c.ttft_kind() != TtftKind::Token) {
        return Err(NoTriangle::FirstText);
    }
    let client = len_u32(done().count());
    if u64::from(client) != server.count || client == 0 {
        return Err(NoTriangle::Counts {
            client,
            server: server.count,
        });
    }
    let sum: f64 = done().map(|c| c.ttft().as_secs_f64()).sum();
    Ok(TimeOutside {
        requests: client,
        client_s: sum / f64::from(client),
        server_s: server.sum_s / count(server.count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{completed, content_only, failed};
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
