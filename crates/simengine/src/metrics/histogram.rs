//! A Prometheus histogram with fixed bounds.

use std::fmt::Write as _;

#[derive(Debug, Clone)]
pub(super) struct Histogram {
    name: &'static str,
    help: &'static str,
    bounds: &'static [f64],
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self {
            name,
            help,
            bounds,
            counts: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    pub(super) fn observe(&mut self, value: f64) {
        self.observe_each(value, 1);
    }

    /// `n` equal observations.
    pub(super) fn observe_each(&mut self, value: f64, n: u32) {
        self.count += u64::from(n);
        self.sum += value * f64::from(n);
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            if value <= *bound {
                *count += u64::from(n);
            }
        }
    }

    /// Appends the series; `lead` and `labels` stand before and after `le`.
    pub(super) fn render(&self, lead: &str, labels: &str, out: &mut String) {
        let name = self.name;
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} histogram", self.help);
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            let _ = writeln!(out, "{name}_bucket{{{lead}le=\"{bound:?}\",{labels}}} {count}.0");
        }
        let _ = writeln!(out, "{name}_bucket{{{lead}le=\"+Inf\",{labels}}} {}.0", self.count);
        let _ = writeln!(out, "{name}_count{{{lead}{labels}}} {}.0", self.count);
        let _ = writeln!(out, "{name}_sum{{{lead}{labels}}} {:?}", self.sum);
    }
}
