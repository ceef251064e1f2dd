//! One reading of `/metrics`, by what is meant and not by what one version calls it. Absent is unknown, never 0.

use crate::prometheus::{Page, parse};
use std::collections::BTreeMap;

/// One reading of `/metrics`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    page: Page,
}

/// Names of one meaning, newest engine first.
const KV_USED: &[&str] = &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];
const RUNNING: &[&str] = &["vllm:num_requests_running"];
const WAITING: &[&str] = &["vllm:num_requests_waiting"];
const PREFIX_QUERIES: &[&str] = &["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"];
const PREFIX_HITS: &[&str] = &["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"];

impl Snapshot {
    /// Reads a page.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { page: parse(text) }
    }

    fn first(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.sum(name))
    }

    /// Sum of a metric over its series (one series an engine core); none where the page has no such metric.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self
            .page
            .samples
            .iter()
            .filter(|s| s.name == name)
            .map(|s| s.value)
            .peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// Share of the KV cache in use, 0 to 1.
    #[must_use]
    pub fn kv_cache_used(&self) -> Option<f64> {
        self.first(KV_USED)
    }

    /// Requests being worked on.
    #[must_use]
    pub fn running(&self) -> Option<f64> {
        self.first(RUNNING)
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> Option<f64> {
        self.first(WAITING)
    }

    /// Labels of `cache_config_info`.
    #[must_use]
    pub fn cache_config(&self) -> BTreeMap<String, String> {
        let found = self.page.samples.iter().find(|s| s.name == "vllm:cache_config_info");
        found.map(|s| s.labels.clone()).unwrap_or_default()
    }

    /// Prompt tokens answered from the prefix cache since `before`, as a share of those looked up.
    #[must_use]
    pub fn prefix_hit_ratio_since(&self, before: &Self) -> Option<f64> {
        let queries = self.first(PREFIX_QUERIES)? - before.first(PREFIX_QUERIES).unwrap_or(0.0);
        let hits = self.first(PREFIX_HITS)? - before.first(PREFIX_HITS).unwrap_or(0.0);
        (queries > 0.0).then(|| hits / queries)
    }

    /// How far a counter rose since `before`; a counter that was not there yet began at 0.
    #[must_use]
    pub fn rise(&self, before: &Self, name: &str) -> Option<f64> {
        Some(self.sum(name)? - before.sum(name).unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_by_meaning() {
        let new =
            Snapshot::parse("vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:num_requests_running{engine=\"0\"} 3\n");
        let old = Snapshot::parse("vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n");
        assert_eq!(new.kv_cache_used(), Some(0.25));
        assert_eq!(old.kv_cache_used(), Some(0.25));
        assert_eq!(new.running(), Some(3.0));
        assert_eq!(old.running(), None, "absent is unknown");
    }

    #[test]
    fn hit_ratio_is_of_the_trial_alone() {
        let page = |q: u32, h: u32| {
            Snapshot::parse(&format!(
                "vllm:prefix_cache_queries_total {q}\nvllm:prefix_cache_hits_total {h}\n"
            ))
        };
        assert_eq!(page(300, 50).prefix_hit_ratio_since(&page(100, 50)), Some(0.0));
        assert_eq!(page(300, 150).prefix_hit_ratio_since(&page(100, 50)), Some(0.5));
        assert_eq!(page(100, 0).prefix_hit_ratio_since(&page(100, 0)), None);
    }
}
