//! One reading of `/metrics`, by what is meant and not by what one version calls it. Absent is unknown, never 0.

use crate::{
    dialect,
    prometheus::{Page, parse},
};
use std::collections::BTreeMap;

/// One reading of `/metrics`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    page: Page,
}

impl Snapshot {
    /// Reads a page.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { page: parse(text) }
    }

    fn first(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.sum(name))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = f64> {
        self.page
            .samples
            .iter()
            .filter(move |s| s.name == name)
            .map(|s| s.value)
    }

    /// Sum of a metric over its series (one series an engine core); none where the page has no such metric.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.values(name).next()?;
        Some(self.values(name).sum())
    }

    /// Mean of the first of these metrics that the page has over its series: a share of two engine cores is no sum.
    pub(crate) fn mean_of(&self, names: &[&str]) -> Option<f64> {
        let name = names.iter().find(|name| self.values(name).next().is_some())?;
        let count = u32::try_from(self.values(name).count()).ok()?;
        Some(self.values(name).sum::<f64>() / f64::from(count))
    }

    /// Sums of a metric by the value of one label; series without that label are left out.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.page.samples.iter().filter(|s| s.name == name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    /// Share of the KV cache in use, 0 to 1; the mean of several engine cores.
    #[must_use]
    pub fn kv_cache_used(&self) -> Option<f64> {
        self.mean_of(dialect::KV_USED)
    }

    /// Requests being worked on.
    #[must_use]
    pub fn running(&self) -> Option<f64> {
        self.first(dialect::RUNNING)
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> Option<f64> {
        self.first(dialect::WAITING)
    }

    /// When the process that gave the page began, Unix seconds; none where it does not say.
    #[must_use]
    pub fn process_start(&self) -> Option<f64> {
        self.sum(dialect::PROCESS_START)
    }

    /// Labels of `cache_config_info`.
    #[must_use]
    pub fn cache_config(&self) -> BTreeMap<String, String> {
        let found = self.page.samples.iter().find(|s| s.name == dialect::CACHE_CONFIG);
        found.map(|s| s.labels.clone()).unwrap_or_default()
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
    fn a_share_of_two_engine_cores_is_their_mean() {
        let page = Snapshot::parse(
            "vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.7\n\
             sglang:num_running_reqs 4\n",
        );
        assert!((page.kv_cache_used().unwrap() - 0.6).abs() < 1e-9);
        assert_eq!(page.running(), Some(4.0));
    }
}
