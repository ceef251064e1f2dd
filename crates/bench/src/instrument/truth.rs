//! What the client measured against what the server stamped. Arithmetic only.

use super::InstrumentError;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One request as the server saw it, in ns of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TrueRequest {
    read_ns: u64,
    /// Writes: the role chunk, each token chunk, the end.
    writes_ns: Vec<u64>,
}

/// The server's stamps by request id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth(HashMap<String, TrueRequest>);

/// One request as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The `x-request-id` that it sent.
    pub(crate) id: String,
    /// First token − sent, ns.
    pub(crate) ttft_ns: u64,
    /// Gaps between token chunks, ns.
    pub(crate) gaps_ns: Vec<u64>,
}

/// Measured − true of every request that both sides know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    /// TTFT: client's − server's, ns.
    pub(crate) ttft_ns: Vec<i64>,
    /// Gaps between token chunks: |client's − server's|, ns.
    pub(crate) gap_ns: Vec<u64>,
    /// Requests that the server does not know or wrote otherwise: 0 in a sound measurement.
    pub(crate) unmatched: u32,
}

impl Truth {
    /// Reads the server's lines: id, read, writes.
    pub(crate) fn parse(text: &str) -> Result<Self, InstrumentError> {
        let row = |line: &str| -> Result<(String, TrueRequest), String> {
            let mut words = line.split(' ');
            let id = words.next().filter(|id| !id.is_empty()).ok_or("no id")?.to_owned();
            let time = |word: &str| word.parse().map_err(|_| format!("`{word}` is no time"));
            let read_ns = time(words.next().ok_or("no time")?)?;
            let writes_ns = words.map(time).collect::<Result<_, _>>()?;
            Ok((id, TrueRequest { read_ns, writes_ns }))
        };
        let lines = text.lines().enumerate();
        let requests = lines.map(|(n, line)| row(line).map_err(|why| InstrumentError::Stamps { line: n + 1, why }));
        Ok(Self(requests.collect::<Result<_, _>>()?))
    }

    /// Compares what a client saw with the truth.
    pub(crate) fn compare<'a>(&self, seen: impl IntoIterator<Item = &'a Seen>) -> Errors {
        let mut errors = Errors::default();
        for seen in seen {
            if self.compare_one(seen, &mut errors).is_none() {
                errors.unmatched += 1;
            }
        }
        errors
    }

    fn compare_one(&self, seen: &Seen, errors: &mut Errors) -> Option<()> {
        let known = self.0.get(&seen.id)?;
        // The first write is the role chunk's, the last one the usage's and the end's.
        let tokens = known.writes_ns.get(1..known.writes_ns.len().checked_sub(1)?)?;
        let first = *tokens.first()?;
        if tokens.contains(&0) || tokens.len() != seen.gaps_ns.len().checked_add(1)? {
            return None;
        }
        let true_ttft = first.checked_sub(known.read_ns)?;
        errors.ttft_ns.push(
            i64::try_from(seen.ttft_ns)
                .ok()?
                .checked_sub(i64::try_from(true_ttft).ok()?)?,
        );
        for (pair, gap) in tokens.windows(2).zip(&seen.gaps_ns) {
            let [from, to] = pair else { continue };
            errors.gap_ns.push(gap.abs_diff(to.saturating_sub(*from)));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, ttft_ns: u64, gaps_ns: &[u64]) -> Seen {
        Seen {
            id: id.to_owned(),
            ttft_ns,
            gaps_ns: gaps_ns.to_vec(),
        }
    }

    #[test]
    fn errors_are_measured_minus_true() {
        // Read at 1000; role at 51000, tokens at 51010, 61010, 71010; end at 71020.
        let truth = Truth::parse("r-1 1000 51000 51010 61010 71010 71020\nr-2 5 6 7 8\n").unwrap();
        let errors = truth.compare(&[seen("r-1", 50_310, &[10_100, 9_800]), seen("r-2", 1, &[])]);
        assert_eq!(errors.ttft_ns, [300, -1]);
        assert_eq!(errors.gap_ns, [100, 200]);
        assert_eq!(errors.unmatched, 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_not_compared() {
        let truth = Truth::parse("a 1 2 3 4\nnever 1 2 0 4\nshort 1\n").unwrap();
        let strange = [
            seen("b", 9, &[]),
            seen("a", 9, &[1]),
            seen("never", 9, &[]),
            seen("short", 9, &[]),
        ];
        assert_eq!(
            truth.compare(&strange),
            Errors {
                unmatched: 4,
                ..Errors::default()
            }
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = Truth::parse("a 1 2\nb 1 x\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(Truth::parse("a\n").is_err());
        assert_eq!(Truth::parse("").unwrap(), Truth::default());
    }
}
