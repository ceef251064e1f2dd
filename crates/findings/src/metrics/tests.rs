use super::*;
use crate::testkit::{completed, content_only, failed, uncounted, whole, window};
use proptest::prelude::*;
use servelab_schema::{Reason, TtftKind, findings::Certification};

fn measured(traces: &[Trace]) -> Measuring {
    let mut measuring = Measuring::new(Some(window(0, 1000)), Slo::default());
    traces.iter().for_each(|t| measuring.add(t, UNKNOWN_PROMPT, None));
    measuring
}

fn value(m: &TrialMetrics, name: MetricName) -> f64 {
    m.values.get(&name).unwrap_or_else(|| panic!("no {name}")).value
}

fn close(got: f64, expected: f64) {
    assert!(
        (got - expected).abs() < 1e-9 * expected.abs().max(1.0),
        "{got}, not {expected}"
    );
}

#[test]
fn formulas_of_one_request() {
    // First chunk holds 2 of 6 tokens at 100 ms, then 1 at 150 ms and 3 at 300 ms.
    let traces = [completed("p", 1000, 100, 2, &[(50, 1), (150, 3)])];
    let m = trial_metrics(window(1000, 2000), &Slo::default(), &traces);
    close(value(&m, MetricName::TtftMean), 0.1);
    close(value(&m, MetricName::TpotMean), 0.2 / 4.0);
    close(value(&m, MetricName::E2eP50), 0.3);
    close(value(&m, MetricName::OutputThroughput), 6.0);
    close(value(&m, MetricName::RequestThroughput), 1.0);
    assert!(!m.values.contains_key(&MetricName::Goodput), "no objective, no goodput");
    let medians = measured(&traces);
    assert_eq!(medians.median_ttft(), Some(Nanos::from_millis(100)));
    assert_eq!(medians.median_generation(), Some(Nanos::from_millis(200)));
    let d = m.descriptive;
    assert_eq!((d.prompt_tokens_total, d.completion_tokens_total), (Some(100), Some(6)));
    close(d.ttft_from_scheduled_s.unwrap().max, 0.1);
    close(d.finished_s.unwrap().max, 0.3);
    close(d.ttft_content_s.unwrap().p50, 0.1);
    close(d.request_throughput_tokens_per_s.unwrap().mean, 20.0);
    close(value(&m, MetricName::TotalThroughput), 106.0 / 0.3);
    close(d.completed_output_throughput_tokens_per_s.unwrap(), 6.0 / 0.3);
    close(d.input_throughput_tokens_per_s.unwrap(), 100.0 / 0.3);
    close(d.total_throughput_tokens_per_s.unwrap(), 106.0 / 0.3);
    close(d.interactivity_tokens_per_s.unwrap().mean, 20.0);
    close(d.ntpot_s.unwrap().mean, 0.05);
    close(d.icl_s.unwrap().max, 0.15);
    close(d.tokens_per_chunk.unwrap().mean, 2.0);
    assert_eq!((d.goodput_ratio, d.connect_s), (None, None));
}

#[test]
fn tokens_that_nobody_counted_are_in_no_figure() {
    let traces = [uncounted("p", 0, 100), uncounted("q", 500, 100)];
    let m = trial_metrics(window(0, 1000), &Slo::default(), &traces);
    close(value(&m, MetricName::TtftMean), 0.1);
    close(value(&m, MetricName::E2eMean), 0.11);
    close(value(&m, MetricName::RequestThroughput), 2.0);
    for name in [
        MetricName::TpotMean,
        MetricName::OutputThroughput,
        MetricName::TotalThroughput,
    ] {
        assert!(!m.values.contains_key(&name), "{name}");
    }
    let d = m.descriptive;
    assert_eq!(
        (d.prompt_tokens_total, d.completion_tokens_total, d.token_source),
        (None, None, None)
    );
    assert_eq!(
        (d.ntpot_s, d.output_tokens, d.input_throughput_tokens_per_s),
        (None, None, None)
    );
    assert_eq!((d.interactivity_tokens_per_s, d.tokens_per_chunk), (None, None));
    // Gaps between chunks are known all the same.
    close(d.icl_s.unwrap().max, 0.01);
    // One that was counted makes no total, and no one source.
    let mixed = [uncounted("p", 0, 100), content_only("q", 500, 100, 4)];
    let d = trial_metrics(window(0, 1000), &Slo::default(), &mixed).descriptive;
    assert_eq!((d.completion_tokens_total, d.token_source), (None, None));
    assert_eq!(d.output_tokens.map(|s| s.n), Some(1));
}

#[test]
fn answers_that_come_whole_have_an_e2e_only() {
    let m = trial_metrics(
        window(0, 1000),
        &Slo::default(),
        &[whole("p", 0, 100), whole("q", 500, 300)],
    );
    close(value(&m, MetricName::E2eMean), 0.2);
    close(value(&m, MetricName::RequestThroughput), 2.0);
    assert!(!m.values.contains_key(&MetricName::TtftMean) && !m.values.contains_key(&MetricName::TpotMean));
    assert_eq!(
        (m.kind.kind(), m.descriptive.prompt_tokens_total),
        (Some(TtftKind::Whole), Some(18))
    );
    assert_eq!((m.descriptive.icl_s, m.descriptive.ttft_from_scheduled_s), (None, None));
    assert_eq!(measured(&[whole("p", 0, 100)]).median_ttft(), None);
}

#[test]
fn nothing_gives_nothing() {
    for traces in [vec![], vec![failed("p", 0, Reason::Reset)]] {
        let m = trial_metrics(window(0, 1000), &Slo::default(), &traces);
        assert!(m.values.is_empty() && m.with_failures.is_empty() && m.kind == KindSeen::None);
        let medians = measured(&traces);
        assert_eq!((medians.median_ttft(), medians.median_generation()), (None, None));
    }
    let one = [completed("p", 0, 10, 1, &[])];
    let m = trial_metrics(window(5, 5), &Slo::default(), &one);
    assert!(
        !m.values.contains_key(&MetricName::OutputThroughput),
        "an empty window has no throughput"
    );
    assert!(
        !m.values.contains_key(&MetricName::TpotMean),
        "one token has no time per output token"
    );
    assert!(m.values.contains_key(&MetricName::TtftMean));
}

#[test]
fn throughput_counts_what_arrives_inside_the_held_window() {
    let mut filler = completed("f", 0, 500, 1, &[(600, 2), (5000, 4)]);
    filler.measured = false;
    // Arrivals: filler 500 (1, outside), 1100 (2), 6100 (4, outside); measured 1000 (8, on the start: outside), 3000 (1).
    let measured = completed("p", 900, 100, 8, &[(2000, 1)]);
    let m = trial_metrics(window(1000, 3000), &Slo::default(), &[filler, measured]);
    close(value(&m, MetricName::OutputThroughput), 3.0 / 2.0);
    assert_eq!(m.values[&MetricName::OutputThroughput].n, 2);
    // Latencies know no filler.
    assert_eq!(m.values[&MetricName::TtftMean].n, 1);
}

#[test]
fn failures_stand_beside_and_do_not_flatter() {
    let mut traces: Vec<Trace> = (0..9).map(|i| completed("p", i, 100 + i, 1, &[(10, 1)])).collect();
    let clean = trial_metrics(window(0, 1000), &Slo::default(), &traces);
    traces.push(failed("p", 9, Reason::Stalled));
    let m = trial_metrics(window(0, 1000), &Slo::default(), &traces);
    assert_eq!(m.values, clean.values);
    assert_eq!(m.with_failures[&MetricName::TtftP95], OrInfinite::Infinite);
    assert_eq!(m.with_failures[&MetricName::TtftP50], OrInfinite::Finite(0.1045));
    assert_eq!(
        m.values[&MetricName::TtftP90].certified,
        Some(Certification::NotCertifiable { needs: 64 }),
        "9 requests certify no p90"
    );
}

#[test]
fn a_certified_percentile_counts_failures_as_infinite() {
    let mut traces: Vec<Trace> = (0..20).map(|i| completed("p", i, 100 + i, 1, &[(10, 1)])).collect();
    let certified = |traces: &[Trace]| {
        let m = trial_metrics(window(0, 1000), &Slo::default(), traces);
        m.values[&MetricName::TtftP50].certified
    };
    // As many failures again lie above every value, and the bound of the median among them.
    assert!(matches!(
        certified(&traces),
        Some(Certification::Certified { bound: OrInfinite::Finite(bound), .. }) if bound < 0.119
    ));
    traces.extend((20..40).map(|i| failed("p", i, Reason::Stalled)));
    assert!(matches!(
        certified(&traces),
        Some(Certification::Certified {
            bound: OrInfinite::Infinite,
            ..
        })
    ));
}

#[test]
fn goodput_needs_every_objective() {
    let slo = Slo {
        ttft_ns: Some(Nanos::from_millis(100)),
        tpot_ns: Some(Nanos::from_millis(20)),
        e2e_ns: Some(Nanos::from_millis(200)),
    };
    let traces = [
        completed("good", 0, 100, 1, &[(20, 1)]),
        completed("late", 0, 101, 1, &[(20, 1)]),
        completed("slow", 0, 50, 1, &[(21, 1)]),
        completed("long", 0, 50, 1, &[(20, 1), (20, 2), (111, 16)]),
        completed("single", 0, 50, 1, &[]),
        failed("failed", 0, Reason::Reset),
    ];
    let m = trial_metrics(window(0, 1000), &slo, &traces);
    close(value(&m, MetricName::Goodput), 2.0);
    close(m.descriptive.goodput_ratio.unwrap(), 2.0 / 6.0);
    close(value(&m, MetricName::RequestThroughput), 5.0);
}

#[test]
fn two_kinds_of_first_tokens_are_no_sample() {
    let traces = [completed("a", 0, 100, 1, &[(10, 1)]), content_only("b", 0, 100, 2)];
    let m = trial_metrics(window(0, 1000), &Slo::default(), &traces);
    assert_eq!(m.kind, KindSeen::Mixed);
    let throughputs = [MetricName::TotalThroughput, MetricName::RequestThroughput];
    assert_eq!(m.values.keys().copied().collect::<Vec<_>>(), throughputs);
    assert_eq!(measured(&traces).median_ttft(), None);
    assert!(m.with_failures.is_empty() && m.descriptive.icl_s.is_none());
    let content = trial_metrics(window(0, 1000), &Slo::default(), &[content_only("b", 0, 100, 2)]);
    assert_eq!(content.kind.kind(), Some(TtftKind::Content));
    assert!(
        !content.values.contains_key(&MetricName::OutputThroughput),
        "no counts per chunk"
    );
    assert!(content.values.contains_key(&MetricName::TtftMean));
}

prop_compose! {
    fn any_trace()(
        sent in 0_u64..2000, ttft in 1_u64..500, first in 1_u32..4,
        rest in prop::collection::vec((0_u64..200, 1_u32..4), 0..8), measured: bool
    ) -> Trace {
        let mut t = completed("p", sent, ttft, first, &rest);
        t.measured = measured;
        t
    }
}

proptest! {
    #[test]
    fn tokens_are_counted_once(traces in prop::collection::vec(any_trace(), 1..20), a in 0_u64..3000, b in 1_u64..3000) {
        let (whole, left, right) = (window(a, a + 2 * b), window(a, a + b), window(a + b, a + 2 * b));
        let tokens = |w| {
            let mut inside = TokensInWindow::default();
            traces.iter().for_each(|t| inside.add(w, t));
            inside.known().map_or(0, |(tokens, _)| tokens)
        };
        prop_assert_eq!(tokens(whole), tokens(left) + tokens(right));
        let all = window(0, 1_000_000);
        let expected: u64 = traces.iter().map(|t| u64::from(t.completion().unwrap().completion_tokens().unwrap().get())).sum();
        prop_assert_eq!(tokens(all), expected);
    }

    #[test]
    fn order_of_the_traces_does_not_matter(traces in prop::collection::vec(any_trace(), 1..20)) {
        let slo = Slo { ttft_ns: Some(Nanos::from_millis(200)), ..Slo::default() };
        let forward = trial_metrics(window(0, 2000), &slo, &traces);
        let backward: Vec<Trace> = traces.into_iter().rev().collect();
        prop_assert_eq!(trial_metrics(window(0, 2000), &slo, &backward).values, forward.values);
    }
}
