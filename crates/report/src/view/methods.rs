//! How the numbers are made: formula and unit of each metric, and the words used.

use super::Term;
use crate::{
    label,
    table::{Cell, Column, Row, Table},
};
use servelab_schema::{MetricName, findings::DescribedMetric};

/// Each metric's formula and unit.
pub(crate) fn metrics() -> Table {
    let rows = MetricName::ALL.into_iter().map(|metric| Row {
        cells: vec![
            Cell::name(label::metric(metric)),
            Cell::text(metric.unit()),
            Cell::text(label::direction(metric)),
            Cell::long(label::formula(metric)),
        ],
        ..Row::default()
    });
    let described = DescribedMetric::ALL.into_iter().map(|metric| Row {
        cells: vec![
            Cell::name(label::described(metric)),
            Cell::text(metric.unit()),
            Cell::text("described, never compared"),
            Cell::long(label::described_formula(metric)),
        ],
        ..Row::default()
    });
    Table {
        id: "metrics".to_owned(),
        title: "Metrics".to_owned(),
        note: "times are engine time in seconds; tables print them in milliseconds".to_owned(),
        columns: vec![
            Column::text("Metric"),
            Column::text("Unit"),
            Column::text("Direction"),
            Column::text("Formula"),
        ],
        rows: rows.chain(described).collect(),
    }
}

/// The method in a few paragraphs.
pub(crate) fn notes() -> Vec<String> {
    [
        "A block starts every variant once, in seeded random order, and gives each the same prompts in the same order. Requests \
         inside one start depend on each other, so a start counts as one observation: for each block and metric there is one log \
         ratio of a variant to its control, and the verdict rests on these ratios alone.",
        "Interval and p (t) come from the same t test on the log ratios; the exact sign-flip p stands beside it. One primary \
         metric, declared before the run, is protected by Holm’s correction over all variants. All other metrics are exploratory: \
         they are adjusted by Benjamini–Hochberg and decide nothing.",
        "A second copy of the control runs in every block. If it differs from the control, the run is Suspect; if its interval \
         reaches beyond ±δ, no Equivalent is given; if it agrees, the mean of both is the control.",
        "Percentiles are exact order statistics of the traces (type 7). A percentile is printed only where the number of requests \
         certifies it with 99 % confidence: p50 needs 11, p90 64, p95 130, p99 662. That bound takes requests as independent, which \
         they are not, so an interval from resampling whole blocks stands beside it.",
        "The fingerprint is the SHA-256 of the run’s manifest, which holds the SHA-256 of every file of the run. Whoever rewrites \
         everything is found only by a fingerprint that was kept elsewhere.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The words of the page.
pub(crate) fn terms() -> Vec<Term> {
    [
        (
            "Variant",
            "The baseline with exactly one serving setting (its factor) changed.",
        ),
        (
            "Control",
            "The arm that a variant is compared with; it differs from it in one effective setting.",
        ),
        (
            "Block, trial",
            "A block runs every variant under every load once; a trial is one of these runs.",
        ),
        (
            "Held window",
            "The part of a trial in which the load is fully there: from the first to the last measured request.",
        ),
        (
            "Filler",
            "An unmeasured request that keeps the load up before, between and after the measured ones.",
        ),
        (
            "Gate",
            "A rule of validity. A trial that fails one is Invalid: shown, never ranked.",
        ),
        (
            "Treatment",
            "Whether a setting took effect, by the engine’s own evidence: CONFIRMED, NO-OP (equals the control’s), \
                       SUBSTITUTED (the engine took another value), REJECTED, UNOBSERVABLE.",
        ),
        (
            "Changed along",
            "Another field of the engine’s configuration that differs from the control’s although no flag of the variant names \
             it. The effect belongs to it too: it is confounded with the setting.",
        ),
        (
            "Same text",
            "Two answers to one prompt with equal SHA-256. Equal arms need not have it: the A/A copy shows how often they do.",
        ),
        (
            "Outside the engine",
            "Time to first token as the client saw it − as the engine counted it: network, client and HTTP server.",
        ),
        (
            "Better, Worse",
            "The adjusted p is at most α and the effect at least δ; Worse also where a variant loses more blocks to the engine than \
             its control and the copy of it, by Fisher’s exact test.",
        ),
        (
            "Equivalent",
            "Two one-sided tests, adjusted for the family, show the effect to lie within ±δ, where two equal arms lie as well.",
        ),
        (
            "No evidence",
            "The data do not decide. It does not mean that there is no difference.",
        ),
        (
            "Not comparable",
            "There is nothing to compare: void treatment, different kinds of timestamps, or no valid trial; or blocks that were \
             lost to the engine could turn what the others say.",
        ),
        (
            "TTFT, TPOT, E2E",
            "Time to first token, time per output token after the first chunk, end-to-end time.",
        ),
    ]
    .map(|(word, meaning)| Term { word, meaning })
    .into_iter()
    .collect()
}
