//! What is kept of one measured request once its trace has gone by: 48 bytes.

use servelab_schema::{Completion, Nanos, Outcome, Reason, Sha256Hex, Trace};
use std::num::NonZeroU32;

/// The place of a prompt that the plan does not list.
pub(crate) const UNKNOWN_PROMPT: u32 = u32::MAX;

/// A completed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    first_ns: u64,
    pub(crate) e2e_ns: u64,
    /// First 64 bits of its text's SHA-256: enough to tell two texts of one prompt apart.
    pub(crate) text: u64,
    /// Tokens of the answer; none where nobody counted them.
    pub(crate) tokens: Option<NonZeroU32>,
    /// Tokens after the first token chunk; none where none came, and then there is no TPOT.
    after_first: Option<NonZeroU32>,
    /// The answer came as one whole: there is no TTFT.
    whole: bool,
    /// Whether the prompt's known answer is in its text; none where there is no text or no known answer.
    pub(crate) answer_found: Option<bool>,
}

/// One measured request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Place of its prompt in the plan; [`UNKNOWN_PROMPT`] where the plan has none of that name.
    pub(crate) prompt: u32,
    pub(crate) outcome: Result<Done, Reason>,
}

impl Request {
    pub(crate) fn new(prompt: u32, trace: &Trace, answer_found: Option<bool>) -> Self {
        Self {
            prompt,
            outcome: match &trace.outcome {
                Outcome::Completed(c) => Ok(Done::new(c, answer_found)),
                Outcome::Failed(f) => Err(f.reason),
            },
        }
    }

    pub(crate) fn done(&self) -> Option<&Done> {
        self.outcome.as_ref().ok()
    }
}

fn first_bits(digest: &Sha256Hex) -> u64 {
    let digits = digest.as_str().get(..16).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

impl Done {
    fn new(c: &Completion, answer_found: Option<bool>) -> Self {
        Self {
            first_ns: c.first_chunk().0,
            e2e_ns: c.e2e().0,
            text: first_bits(c.text_sha256()),
            tokens: c.completion_tokens(),
            after_first: c.tokens_after_first(),
            whole: c.ttft().is_none(),
            answer_found,
        }
    }

    /// Time to first token, s; none where the answer came as one whole.
    pub(crate) fn ttft_s(&self) -> Option<f64> {
        (!self.whole).then(|| Nanos(self.first_ns).as_secs_f64())
    }

    /// From the first to the last token, s; none where that took no time.
    pub(crate) fn generation_s(&self) -> Option<f64> {
        let span = Nanos(self.e2e_ns).saturating_sub(Nanos(self.first_ns)).as_secs_f64();
        (span > 0.0).then_some(span)
    }

    /// Last token chunk − sent, s.
    pub(crate) fn e2e_s(&self) -> f64 {
        Nanos(self.e2e_ns).as_secs_f64()
    }

    /// Time per output token after the first chunk, s: [`Completion::tpot_s`].
    pub(crate) fn tpot_s(&self) -> Option<f64> {
        let span = Nanos(self.e2e_ns).saturating_sub(Nanos(self.first_ns)).as_secs_f64();
        Some(span / f64::from(self.after_first?.get()))
    }

    /// E2E / N, s; none where nobody counted N.
    pub(crate) fn ntpot_s(&self) -> Option<f64> {
        Some(self.e2e_s() / f64::from(self.tokens?.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::completed;

    #[test]
    fn a_request_is_small_and_keeps_its_latencies() {
        assert!(size_of::<Request>() <= 48, "{}", size_of::<Request>());
        let trace = completed("a", 0, 100, 2, &[(50, 1), (50, 1)]);
        let done = Request::new(0, &trace, None);
        let (done, c) = (*done.done().unwrap(), trace.completion().unwrap());
        assert_eq!(done.tpot_s(), c.tpot_s());
        assert!((done.ttft_s().unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(done.tokens, c.completion_tokens());
    }
}
