//! What an engine counted between two readings of its `/metrics`. Absent is unknown, never 0; so is a counter that went
//! back, and everything where another process answers than before.

use crate::{Snapshot, dialect as names};
use servelab_schema::{EngineMetrics, HistogramRise, Ratio, SpeculationRise};
use std::collections::BTreeMap;

/// What was counted from `before` to `after`. A counter that only `after` has began at 0: engines show many only once they
/// move. Seconds stand as the page gives them, which is engine time: a simulated engine counts in it, a real one has no
/// other.
#[must_use]
pub fn counted(before: &Snapshot, after: &Snapshot) -> EngineMetrics {
    let start = |page: &Snapshot| page.process_start().map(f64::to_bits);
    if start(before).zip(start(after)).is_some_and(|(a, b)| a != b) {
        return EngineMetrics::default();
    }
    let pages = Pages { before, after };
    let prefix_cache_queries = pages.counter(names::PREFIX_QUERIES);
    let prefix_cache_hits = pages.counter(names::PREFIX_HITS);
    EngineMetrics {
        prompt_tokens: pages.counter(names::PROMPT_TOKENS),
        generation_tokens: pages.counter(names::GENERATION_TOKENS),
        finished: pages.finished(),
        preemptions: pages.counter(names::PREEMPTIONS),
        prefix_cache_queries,
        prefix_cache_hits,
        prefix_cache_hit_ratio: match (prefix_cache_queries, prefix_cache_hits) {
            (Some(queries), Some(hits)) => share(hits, queries),
            _ => after.mean_of(names::PREFIX_HIT_GAUGE).and_then(|r| Ratio::new(r).ok()),
        },
        speculation: pages.speculation(),
        ttft: pages.histogram(names::TTFT),
        itl: pages.histogram(names::ITL),
        e2e: pages.histogram(names::E2E),
        queue: pages.histogram(names::QUEUE),
        prefill: pages.histogram(names::PREFILL),
        decode: pages.histogram(names::DECODE),
    }
}

#[expect(
    clippy::as_conversions,
    reason = "u64 to f64 has no From; token counts are below 2^53"
)]
fn share(part: u64, whole: u64) -> Option<Ratio> {
    (whole > 0).then(|| Ratio::new(part as f64 / whole as f64).ok())?
}

/// A difference of counters as the whole number that it is; none where it went back or is no number.
fn whole(rise: f64) -> Option<u64> {
    #[expect(
        clippy::as_conversions,
        reason = "finite and not negative, and float to integer saturates"
    )]
    (rise.is_finite() && rise >= 0.0).then(|| rise.round() as u64)
}

struct Pages<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
}

impl Pages<'_> {
    fn counter(&self, names: &[&str]) -> Option<u64> {
        let name = names.iter().find(|name| self.after.sum(name).is_some())?;
        whole(self.after.rise(self.before, name)?)
    }

    /// Rises of a counter by one of its labels; none where the page has no such counter or one of them went back.
    fn by_label(&self, (name, label): (&str, &str)) -> Option<BTreeMap<String, u64>> {
        let (after, before) = (self.after.by_label(name, label), self.before.by_label(name, label));
        if after.is_empty() {
            return None;
        }
        let rise = |(value, now): (&String, &f64)| {
            let rise = whole(now - before.get(value).copied().unwrap_or(0.0))?;
            Some((value.clone(), rise))
        };
        after.iter().map(rise).collect()
    }

    fn finished(&self) -> Option<BTreeMap<String, u64>> {
        self.by_label(names::FINISHED).or_else(|| {
            let counts = names::FINISHED_WITHOUT_REASON.into_iter();
            let counts: BTreeMap<String, u64> = counts
                .filter_map(|(name, word)| Some((word.to_owned(), self.counter(&[name])?)))
                .collect();
            (!counts.is_empty()).then_some(counts)
        })
    }

    fn speculation(&self) -> Option<SpeculationRise> {
        let by_position = self.by_label(names::ACCEPTED_BY_POSITION).unwrap_or_default();
        let mut positions: Vec<(u32, u64)> = by_position
            .into_iter()
            .filter_map(|(position, count)| Some((position.parse().ok()?, count)))
            .collect();
        positions.sort_unstable();
        // A gap would shift the positions behind it.
        let complete = positions.iter().zip(0_u32..).all(|((position, _), i)| *position == i);
        Some(SpeculationRise {
            drafts: self.counter(names::DRAFTS),
            draft_tokens: self.counter(names::DRAFT_TOKENS)?,
            accepted_tokens: self.counter(names::ACCEPTED_TOKENS)?,
            accepted_per_position: positions.into_iter().filter(|_| complete).map(|(_, n)| n).collect(),
        })
    }

    fn histogram(&self, names: &[&str]) -> Option<HistogramRise> {
        let name = names
            .iter()
            .find(|name| self.after.sum(&format!("{name}_count")).is_some())?;
        let count = self.counter(&[&format!("{name}_count")])?;
        let sum = format!("{name}_sum");
        let sum_s = self
            .after
            .rise(self.before, &sum)
            .filter(|s| s.is_finite() && *s >= 0.0)?;
        let buckets = (format!("{name}_bucket"), "le");
        let mut at_most: Vec<(f64, u64)> = self
            .by_label((&buckets.0, buckets.1))
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(bound, count)| Some((bound.parse::<f64>().ok().filter(|b| b.is_finite())?, count)))
            .collect();
        at_most.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Cumulative: what is at most a bound is at most the next, and all of it is counted.
        let counts = || at_most.iter().map(|(_, n)| *n).chain([count]);
        let cumulative = counts().zip(counts().skip(1)).all(|(a, b)| a <= b);
        cumulative.then_some(HistogramRise { count, sum_s, at_most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(before: &str, after: &str) -> EngineMetrics {
        counted(&Snapshot::parse(before), &Snapshot::parse(after))
    }

    #[test]
    fn counters_are_differences() {
        let metrics = of(
            "vllm:prompt_tokens_total{engine=\"0\"} 10\nvllm:prompt_tokens_total{engine=\"1\"} 5\n",
            "vllm:prompt_tokens_total{engine=\"0\"} 12\nvllm:prompt_tokens_total{engine=\"1\"} 8\nvllm:generation_tokens_total 4\n",
        );
        assert_eq!(metrics.prompt_tokens, Some(5), "summed over engine cores");
        assert_eq!(metrics.generation_tokens, Some(4), "not there yet: it began at 0");
        assert_eq!(metrics.preemptions, None, "absent is unknown");
    }

    #[test]
    fn a_counter_that_went_back_is_unknown() {
        let metrics = of("vllm:prompt_tokens_total 10\n", "vllm:prompt_tokens_total 3\n");
        assert_eq!(metrics.prompt_tokens, None);
        let restarted = of(
            "process_start_time_seconds 1e9\nvllm:prompt_tokens_total 3\n",
            "process_start_time_seconds 1.1e9\nvllm:prompt_tokens_total 10\n",
        );
        assert_eq!(restarted, EngineMetrics::default(), "another process counted that");
    }

    #[test]
    fn prefix_hits_from_counters_or_a_gauge() {
        let page = |q: u32, h: u32| format!("vllm:prefix_cache_queries_total {q}\nvllm:prefix_cache_hits_total {h}\n");
        let ratio = |m: EngineMetrics| m.prefix_cache_hit_ratio.map(Ratio::get);
        assert_eq!(ratio(of(&page(100, 50), &page(300, 150))), Some(0.5));
        assert_eq!(ratio(of(&page(100, 50), &page(300, 50))), Some(0.0));
        assert_eq!(ratio(of(&page(100, 0), &page(100, 0))), None, "nothing was looked up");
        assert_eq!(ratio(of("", "vllm:gpu_prefix_cache_hit_rate 0.25\n")), Some(0.25));
        assert_eq!(
            ratio(of("", "vllm:gpu_prefix_cache_hit_rate -1\n")),
            None,
            "-1 says that it is off"
        );
    }

    #[test]
    fn histograms_are_differences_bound_by_bound() {
        let page = |a: u32, b: u32, n: u32, sum: f64| {
            format!(
                "vllm:request_queue_time_seconds_bucket{{le=\"2.5\"}} {b}\nvllm:request_queue_time_seconds_bucket{{le=\"0.3\"}} {a}\n\
                 vllm:request_queue_time_seconds_bucket{{le=\"+Inf\"}} {n}\nvllm:request_queue_time_seconds_count {n}\nvllm:request_queue_time_seconds_sum {sum}\n"
            )
        };
        let queue = of(&page(1, 2, 3, 1.5), &page(2, 5, 7, 4.0)).queue.unwrap();
        assert_eq!(queue.count, 4);
        assert!((queue.sum_s - 2.5).abs() < 1e-9);
        assert_eq!(queue.at_most, vec![(0.3, 1), (2.5, 3)]);
        assert_eq!(of("", &page(9, 5, 7, 4.0)).queue, None, "not cumulative: no histogram");
    }

    #[test]
    fn sglang_by_meaning() {
        let metrics = of(
            "sglang:prompt_tokens_total{is_streaming=\"true\"} 100\n",
            "sglang:prompt_tokens_total{is_streaming=\"true\"} 300\nsglang:cached_tokens_total{cache_source=\"device\"} 40\n\
             sglang:cached_tokens_total{cache_source=\"host\"} 10\nsglang:num_requests_total{is_streaming=\"true\"} 7\n\
             sglang:num_retracted_requests_total 1\nsglang:spec_verify_calls_total 5\n\
             sglang:queue_time_seconds_count 7\nsglang:queue_time_seconds_sum 0.5\nsglang:cache_hit_rate 0.9\n",
        );
        assert_eq!(metrics.prefix_cache_hit_ratio.map(Ratio::get), Some(0.25));
        assert_eq!(metrics.finished, Some(BTreeMap::from([("any".to_owned(), 7)])));
        assert_eq!(metrics.preemptions, Some(1));
        assert_eq!(metrics.speculation, None, "drafted tokens are not counted");
        assert_eq!(metrics.queue.unwrap().count, 7);
    }

    proptest! {
        #[test]
        fn any_two_pages_are_read(before in any::<String>(), after in any::<String>()) {
            let _ = of(&before, &after);
        }

        #[test]
        fn no_rise_is_negative(values in prop::collection::vec((0_usize..12, any::<f64>(), any::<f64>(), 0_usize..4), 0..40)) {
            const NAMES: [&str; 12] = [
                "vllm:prompt_tokens_total", "vllm:request_success_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
                "vllm:spec_decode_num_draft_tokens_total", "vllm:spec_decode_num_accepted_tokens_total",
                "vllm:spec_decode_num_accepted_tokens_per_pos_total", "vllm:time_to_first_token_seconds_bucket",
                "vllm:time_to_first_token_seconds_count", "vllm:time_to_first_token_seconds_sum", "vllm:num_preemptions_total",
                "vllm:gpu_prefix_cache_hit_rate",
            ];
            const LABELS: [&str; 4] = ["", "{le=\"0.5\"}", "{le=\"+Inf\",position=\"0\"}", "{position=\"1\",finished_reason=\"stop\"}"];
            let page = |second: bool| values.iter().map(|(name, a, b, label)| {
                format!("{}{} {}\n", NAMES[*name], LABELS[*label], if second { b } else { a })
            }).collect::<String>();
            let metrics = of(&page(false), &page(true));
            if let Some(ttft) = metrics.ttft {
                prop_assert!(ttft.sum_s >= 0.0 && ttft.sum_s.is_finite());
                prop_assert!(ttft.at_most.iter().all(|(bound, n)| bound.is_finite() && *n <= ttft.count));
            }
        }
    }
}
