mod living;
mod lost;
mod simulations;
mod tail;

use super::*;
use crate::testkit::{cell, plan, vid};
use proptest::prelude::*;
use servelab_random::SplitMix64;
use servelab_schema::GateName;
use servelab_schema::findings::{BlockEffect, Interval, LossCause, Lost};

fn study(plan: &Plan, cells: &[CellMetrics]) -> Study {
    super::study(plan, &RunEnd::Complete, cells)
}

fn nothing_shown() -> Verdict {
    Verdict::NoEvidence {
        blocks_to_show: None,
        withheld: None,
    }
}

fn withheld(why: Withheld) -> Verdict {
    Verdict::NoEvidence {
        blocks_to_show: None,
        withheld: Some(why),
    }
}

const TPUT: MetricName = MetricName::OutputThroughput;

/// k blocks: every arm's throughput is 100 × the block's own factor (SD 6 %) × its effect × its noise.
fn cells(seed: u64, k: u32, noise: f64, effects: &[(&str, f64)]) -> Vec<CellMetrics> {
    let mut rng = SplitMix64::new(seed);
    let mut out = Vec::new();
    for block in 1..=k {
        let shared = rng.normal() * 0.06;
        for (variant, effect) in effects {
            let log = rng.normal().mul_add(noise, shared) + effect.ln();
            let ttft = (0.2_f64.ln() - log).exp();
            out.push(cell(
                variant,
                block,
                &[(TPUT, 100.0 * log.exp()), (MetricName::TtftP50, ttft)],
            ));
        }
    }
    out
}

fn find<'a>(study: &'a Study, variant: &str, metric: MetricName) -> &'a Comparison {
    study
        .comparisons
        .iter()
        .find(|c| c.variant == vid(variant) && c.metric == metric)
        .unwrap()
}

#[test]
fn a_slowed_variant_is_worse_and_an_equal_one_is_not() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 1.0 / 1.1), ("C3", 1.0)];
    let s = study(&plan(&[("C2", "C1"), ("C3", "C1")]), &cells(2026, 10, 0.02, &arms));
    assert!(!s.suspect, "{:?}", s.notes);
    let slow = find(&s, "C2", TPUT);
    assert_eq!(
        (slow.verdict.as_str(), slow.k, slow.indicative, slow.exploratory),
        ("Worse", 10, false, false)
    );
    let e = slow.estimate.unwrap();
    let interval = e.interval_percent.unwrap();
    let truth = (1.0 / 1.1 - 1.0) * 100.0;
    assert!(interval.low < truth && truth < interval.high, "{interval:?}");
    assert!((e.effect_percent - truth).abs() < 3.0);
    assert!(e.p_adjusted.unwrap() >= e.p_t.unwrap() && (e.p_sign_flip.unwrap() - 2.0 / 1024.0).abs() < 1e-9);
    assert_eq!(slow.control.to_string(), "C1 + C1b");
    assert!(slow.own_control && slow.against_baseline);
    let latency = find(&s, "C2", MetricName::TtftP50);
    assert_eq!((latency.verdict.as_str(), latency.exploratory), ("Worse", true));
    for metric in [TPUT, MetricName::TtftP50] {
        assert!(!matches!(
            find(&s, "C3", metric).verdict,
            Verdict::Better | Verdict::Worse { .. }
        ));
    }
}

#[test]
fn shared_block_drift_cancels() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 1.2)];
    let mut cells = cells(2, 10, 1e-6, &arms);
    for c in &mut cells {
        for v in c.metrics.values_mut() {
            *v *= f64::from(c.block);
        }
    }
    let s = study(&plan(&[("C2", "C1")]), &cells);
    let e = find(&s, "C2", TPUT).estimate.unwrap();
    assert!((e.effect_percent - 20.0).abs() < 1e-3 && e.sd_log_ratio.unwrap() < 1e-5);
}

#[test]
fn a_suspect_run_gives_no_verdict_at_all() {
    let arms = [("C1", 1.0), ("C1b", 1.15), ("C2", 1.0), ("C3", 2.0), ("C4", 0.5)];
    let plan = plan(&[("C2", "C1"), ("C3", "C1"), ("C4", "C1")]);
    let mut all = cells(3, 10, 0.01, &arms);
    let lose = |c: &&mut CellMetrics| c.variant == vid("C4") && c.block > 2;
    for c in all.iter_mut().filter(lose) {
        c.validity = Validity::Invalid {
            gates: vec![GateName::EngineAlive],
        };
    }
    let s = study(&plan, &all);
    assert!(s.suspect && matches!(s.notes[0], Note::Suspect { p, .. } if p <= SUSPECT_P));
    assert!(s.comparisons.len() >= 6);
    for c in &s.comparisons {
        assert_eq!(c.verdict, withheld(Withheld::Suspect), "{c:?}");
        assert_eq!(c.control.to_string(), "C1", "a copy that differs is no control");
    }
    assert!(
        find(&s, "C4", TPUT).losses.unwrap().p_adjusted < 0.05,
        "what would have been Worse by its losses"
    );
    let aa = s.aa.iter().find(|a| a.primary).unwrap();
    assert_eq!(
        (aa.outcome, aa.within_delta, aa.k),
        (AaOutcome::Differs, Some(false), 10)
    );
    // An exploratory metric of the copy never makes a run suspect.
    assert_eq!(s.aa.len(), 2);
    let mut explored = plan;
    explored.primary_metric = MetricName::RequestThroughput;
    assert!(!study(&explored, &all).suspect);
}

#[test]
fn suspect_means_one_in_a_hundred_and_not_one_in_twenty() {
    // Differences of the copy with the wanted t: mean t·s/√k around it.
    let with_t = |t: f64| {
        let wobble = [0.01, -0.01, 0.01, -0.01, 0.01, -0.01, 0.01, -0.01];
        let sd = 0.01 * (8.0_f64 / 7.0).sqrt();
        let mean = t * sd / 8.0_f64.sqrt();
        let of = |(i, w): (usize, f64)| {
            let block = u32::try_from(i).unwrap() + 1;
            [
                cell("C1", block, &[(TPUT, 1.0)]),
                cell("C1b", block, &[(TPUT, (mean + w).exp())]),
            ]
        };
        let cells: Vec<CellMetrics> = wobble.into_iter().enumerate().flat_map(of).collect();
        study(&plan(&[]), &cells)
    };
    // With 7 degrees of freedom t = 3 has p = 0.02 and t = 3.6 has p = 0.009.
    let (calm, loud) = (with_t(3.0), with_t(3.6));
    assert!(!calm.suspect && calm.aa[0].estimate.unwrap().p_t.unwrap() < 0.05);
    assert!(loud.suspect);
}

#[test]
fn a_wide_or_unknown_aa_gives_no_equivalent() {
    let plan = plan(&[("C2", "C1")]);
    let mut all = cells(4, 8, 0.001, &[("C1", 1.0), ("C1b", 1.0), ("C2", 1.0)]);
    assert_eq!(find(&study(&plan, &all), "C2", TPUT).verdict, Verdict::Equivalent);
    let without: Vec<CellMetrics> = all.iter().filter(|c| c.variant != vid("C1b")).cloned().collect();
    assert_eq!(
        find(&study(&plan, &without), "C2", TPUT).verdict,
        withheld(Withheld::AaUnknown)
    );
    let wobbles = [0.95, 1.05, 0.94, 1.06, 0.95, 1.05, 0.94, 1.06];
    for (c, wobble) in all.iter_mut().filter(|c| c.variant == vid("C1b")).zip(wobbles) {
        *c.metrics.get_mut(&TPUT).unwrap() *= wobble;
    }
    let alone: Vec<CellMetrics> = all.iter().filter(|c| c.variant != vid("C2")).cloned().collect();
    let aa = &study(&plan, &alone).aa[0];
    assert_eq!((aa.outcome, aa.within_delta), (AaOutcome::Agrees, Some(false)));
    // The variant moves with the mean of both copies, so that only the copy is wide.
    for (c, wobble) in all.iter_mut().filter(|c| c.variant == vid("C2")).zip(wobbles) {
        *c.metrics.get_mut(&TPUT).unwrap() *= wobble.sqrt();
    }
    let s = study(&plan, &all);
    assert_eq!(find(&s, "C2", TPUT).verdict, withheld(Withheld::AaBeyondDelta));
    assert!(s.notes.iter().any(|n| matches!(n, Note::AaBeyondDelta { .. })));
}

#[test]
fn a_second_control_is_added_not_swapped() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2a", 1.3), ("C2", 1.3)];
    let s = study(&plan(&[("C2a", "C1"), ("C2", "C2a")]), &cells(5, 10, 0.01, &arms));
    let of_c2: Vec<_> = s
        .comparisons
        .iter()
        .filter(|c| c.variant == vid("C2") && c.primary)
        .collect();
    assert_eq!(of_c2.len(), 2);
    assert_eq!(
        (
            of_c2[0].control.to_string().as_str(),
            of_c2[0].own_control,
            of_c2[0].against_baseline
        ),
        ("C2a", true, false)
    );
    assert_eq!(
        (
            of_c2[1].control.control.as_str(),
            of_c2[1].own_control,
            of_c2[1].against_baseline
        ),
        ("C1", false, true)
    );
    assert_eq!(
        (of_c2[0].verdict.as_str(), of_c2[1].verdict.as_str()),
        ("Equivalent", "Better")
    );
}

#[test]
fn kinds_of_first_tokens_must_agree() {
    let mut all = cells(7, 8, 0.01, &[("C1", 1.0), ("C1b", 1.0), ("C2", 0.5)]);
    all.iter_mut()
        .filter(|c| c.variant == vid("C2"))
        .for_each(|c| c.ttft_kind = Some(TtftKind::Content));
    let s = study(&plan(&[("C2", "C1")]), &all);
    let latency = find(&s, "C2", MetricName::TtftP50);
    let why = Hindrance::FirstTokens {
        variant: Some(TtftKind::Content),
        control: Some(TtftKind::Token),
    };
    assert_eq!(
        (&latency.verdict, latency.estimate, latency.k),
        (&Verdict::NotComparable { why }, None, 0)
    );
    assert_eq!(find(&s, "C2", TPUT).verdict, Verdict::Worse { by: WorseBy::Effect });
}

#[test]
fn one_block_is_a_hint() {
    let one = cells(8, 1, 0.01, &[("C1", 1.0), ("C1b", 1.0), ("C2", 0.5)]);
    let s = study(&plan(&[("C2", "C1")]), &one);
    let c = find(&s, "C2", TPUT);
    let e = c.estimate.unwrap();
    assert_eq!((c.verdict.clone(), c.indicative), (nothing_shown(), true));
    assert_eq!(
        (e.p_t, e.interval_percent, e.p_adjusted, e.p_tost),
        (None, None, None, None)
    );
    assert!(e.effect_percent < -40.0);
    assert_eq!((s.aa[0].outcome, s.aa[0].within_delta), (AaOutcome::Unknown, None));
    assert!(s.notes.iter().any(|n| matches!(n, Note::AaUnknown { .. })));
    assert_eq!(study(&plan(&[("C2", "C1")]), &[]), Study::default());
}

#[test]
fn few_blocks_a_sequential_order_and_an_early_end_are_indicative() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 0.5)];
    let mut p = plan(&[("C2", "C1")]);
    let full = cells(10, FIRST_LOOK, 0.01, &arms);
    let hints = |s: &Study| s.comparisons.iter().filter(|c| c.indicative).count();
    assert_eq!(hints(&study(&p, &full)), 0);
    let few: Vec<CellMetrics> = full.iter().filter(|c| c.block > 1).cloned().collect();
    let s = study(&p, &few);
    assert_eq!(hints(&s), s.comparisons.len());
    assert!(s.notes.contains(&Note::FewBlocks { first_look: 6 }));
    let stopped = RunEnd::Aborted {
        why: "SIGINT".to_owned(),
    };
    let s = super::study(&p, &stopped, &full);
    assert_eq!(hints(&s), s.comparisons.len());
    assert_eq!(s.notes, [Note::EndedEarly { why: "SIGINT".into() }]);
    p.order = BlockOrder::Sequential;
    p.variants.retain(|v| v.role != VariantRole::Aa);
    let s = study(&p, &full);
    assert_eq!(hints(&s), s.comparisons.len());
    assert_eq!((s.notes, s.aa), (vec![Note::NoAa, Note::SequentialOrder], vec![]));
}

#[test]
fn a_study_can_be_written_and_read_back() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 0.5), ("C3", 1.0)];
    let mut all = cells(11, 7, 0.01, &arms);
    all[6].validity = Validity::Invalid {
        gates: vec![GateName::Failures],
    };
    all.retain(|c| c.variant != vid("C3") || c.block != 2);
    let s = study(&plan(&[("C2", "C1"), ("C3", "C1"), ("C4", "C1")]), &all);
    assert!(s.comparisons.iter().any(|c| !c.lost.is_empty()) && !s.aa.is_empty());
    let text = serde_json::to_string(&s).unwrap();
    let back: Study = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
    assert_eq!(back.comparisons.len(), s.comparisons.len());
}

/// The numbers of a comparison that rest on its own cells; the adjusted p and the word rest on the family too.
fn own_numbers(c: &Comparison) -> (u32, Vec<BlockEffect>, Vec<Lost>, Option<Interval>) {
    (
        c.k,
        c.blocks.clone(),
        c.lost.clone(),
        c.estimate.and_then(|e| e.interval_percent),
    )
}

proptest! {
    #[test]
    fn order_of_the_cells_does_not_matter(seed in 0_u64..1000, k in 1_u32..6, turn in 0_usize..40) {
        let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 1.1), ("C3", 0.97)];
        let plan = plan(&[("C2", "C1"), ("C3", "C1")]);
        let mut forward = cells(seed, k, 0.03, &arms);
        // A second take of one trial, and a trial that the engine lost.
        let mut again = forward[3].clone();
        again.take = 2;
        forward[3].validity = Validity::Aborted { why: "stopped".into() };
        forward.push(again);
        forward[2].validity = Validity::Invalid { gates: vec![GateName::Failures] };
        let mut other = forward.clone();
        other.reverse();
        let turn = turn % other.len();
        other.rotate_left(turn);
        prop_assert_eq!(study(&plan, &forward), study(&plan, &other));
    }

    #[test]
    fn dropping_a_trial_changes_only_what_depends_on_it(seed in 0_u64..1000, block in 1_u32..8, arm in 0_usize..5) {
        let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 1.1), ("C3", 0.97), ("C4", 1.0)];
        let dropped = vid(arms[arm].0);
        let plan = plan(&[("C2", "C1"), ("C3", "C1"), ("C4", "C2")]);
        let all = cells(seed, 7, 0.03, &arms);
        let rest: Vec<CellMetrics> =
            all.iter().filter(|c| c.block != block || c.variant != dropped).cloned().collect();
        let (before, after) = (study(&plan, &all), study(&plan, &rest));
        // Everything depends on whether the run is Suspect.
        prop_assume!(!before.suspect && !after.suspect);
        prop_assert_eq!(before.comparisons.len(), after.comparisons.len());
        for (b, a) in before.comparisons.iter().zip(&after.comparisons) {
            let depends = b.variant == dropped || b.control.arms().any(|arm| *arm == dropped);
            if !depends {
                prop_assert_eq!(own_numbers(b), own_numbers(a));
                prop_assert_eq!(b.losses.map(|l| (l.lost, l.of)), a.losses.map(|l| (l.lost, l.of)));
            } else {
                let lost = a.lost.iter().filter(|l| l.block == block && l.variant == dropped);
                prop_assert!(lost.eq(a.lost.iter().filter(|l| l.cause == LossCause::NotRun)));
                prop_assert_eq!(a.lost.len(), 1);
            }
        }
        let copies = |s: &Study| s.aa.iter().map(|a| (a.k, a.lost.len())).collect::<Vec<_>>();
        prop_assert_eq!(copies(&before) == copies(&after), !["C1", "C1b"].contains(&dropped.as_str()));
    }

    #[test]
    fn units_do_not_matter(seed in 0_u64..1000, factor in 0.001..1000.0_f64) {
        let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 1.1)];
        let plan = plan(&[("C2", "C1")]);
        let plain = cells(seed, 5, 0.03, &arms);
        let mut scaled = plain.clone();
        scaled.iter_mut().flat_map(|c| c.metrics.values_mut()).for_each(|v| *v *= factor);
        for (a, b) in study(&plan, &plain).comparisons.iter().zip(study(&plan, &scaled).comparisons) {
            let (a, b) = (a.estimate.unwrap(), b.estimate.unwrap());
            prop_assert!((a.mean_log_ratio - b.mean_log_ratio).abs() < 1e-9);
        }
    }
}
