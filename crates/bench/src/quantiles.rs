//! Percentiles of a latency as an answer writes them: every time ends in `_s`, and what a failure makes infinite is said by a
//! member of its own, so that a number is always a number.

use serde::{Serialize, Serializer};
use servelab_schema::findings::{Certification, OrInfinite, PooledQuantile};

/// One percentile.
#[derive(Serialize)]
struct InAnswer {
    /// Which one, as a share: 0.95 for p95.
    p: f64,
    /// Completed requests.
    n: u32,
    /// Of the completed requests (type 7), seconds.
    point_s: f64,
    /// With every failed request as never answered, seconds; null where such a one stands there.
    with_failures_s: Option<f64>,
    /// True where `with_failures_s` is null because a failure stands there.
    with_failures_is_infinite: bool,
    /// True where the n certifies a bound that is a number.
    certified: bool,
    /// The percentile is at most this, seconds; null where that is not certified.
    certified_bound_s: Option<f64>,
    /// Requests that certify this percentile; null where there were enough.
    certified_needs: Option<u32>,
}

impl From<&PooledQuantile> for InAnswer {
    fn from(of: &PooledQuantile) -> Self {
        let (certified_bound_s, certified_needs) = match of.success_only.certified {
            Certification::Certified { bound, .. } => (bound.finite(), None),
            Certification::NotCertifiable { needs } => (None, Some(needs)),
        };
        Self {
            p: of.success_only.p,
            n: of.success_only.n,
            point_s: of.success_only.point,
            with_failures_s: of.with_failures.finite(),
            with_failures_is_infinite: of.with_failures == OrInfinite::Infinite,
            certified: certified_bound_s.is_some(),
            certified_bound_s,
            certified_needs,
        }
    }
}

/// Writes them.
pub(crate) fn serialize<S: Serializer>(quantiles: &[PooledQuantile], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(quantiles.iter().map(InAnswer::from))
}
