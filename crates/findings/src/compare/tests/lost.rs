//! What becomes of blocks without a value.

use super::*;
use servelab_schema::findings::{LossReason, Lost};

fn invalid(gate: GateName) -> Validity {
    Validity::Invalid { gates: vec![gate] }
}

/// Applies `change` to the variant's trials of these blocks.
fn hit(
    all: &mut [CellMetrics],
    variant: &str,
    blocks: impl IntoIterator<Item = u32>,
    change: impl Fn(&mut CellMetrics),
) {
    let blocks: Vec<u32> = blocks.into_iter().collect();
    all.iter_mut()
        .filter(|c| c.variant == vid(variant) && blocks.contains(&c.block))
        .for_each(change);
}

fn ten(c2: f64) -> Vec<CellMetrics> {
    cells(6, 10, 0.01, &[("C1", 1.0), ("C1b", 1.0), ("C2", c2)])
}

fn of_c2(all: &[CellMetrics]) -> Comparison {
    find(&study(&plan(&[("C2", "C1")]), all), "C2", TPUT).clone()
}

/// Cause and number of the blocks lost in this way.
fn check(change: impl Fn(&mut CellMetrics), cause: LossCause, reason: &LossReason) {
    let mut all = ten(1.3);
    hit(&mut all, "C2", [3, 7], change);
    let c = of_c2(&all);
    let lost = |block| Lost {
        block,
        variant: vid("C2"),
        cause,
        reason: reason.clone(),
    };
    assert_eq!(c.lost, [lost(3), lost(7)]);
    assert_eq!((c.k, c.planned), (8, 10));
    let counted = u32::from(cause == LossCause::Engine) * 2;
    let losses = c.losses.unwrap();
    assert_eq!((losses.lost, losses.of), (counted, 8 + counted), "{reason:?}");
    assert_eq!((losses.control_lost, losses.control_of), (0, 20));
    let expected = if counted == 0 { "Better" } else { "NotComparable" };
    assert_eq!(c.verdict.as_str(), expected, "{reason:?}");
}

#[test]
fn every_loss_has_a_cause_and_only_the_engines_count_against_the_variant() {
    let gates = |gate| LossReason::Gates { gates: vec![gate] };
    for gate in [GateName::Failures, GateName::EngineAlive, GateName::PromptTokens] {
        check(|c| c.validity = invalid(gate), LossCause::Engine, &gates(gate));
    }
    for gate in [GateName::ScheduleLag, GateName::Clock, GateName::Certificate] {
        check(|c| c.validity = invalid(gate), LossCause::Instrument, &gates(gate));
    }
    for gate in [GateName::MinDuration, GateName::CacheContamination] {
        check(|c| c.validity = invalid(gate), LossCause::Plan, &gates(gate));
    }
    let both = || vec![GateName::EventLoopLag, GateName::EngineAlive];
    let reason = LossReason::Gates { gates: both() };
    check(
        |c| c.validity = Validity::Invalid { gates: both() },
        LossCause::Engine,
        &reason,
    );
    check(|c| c.completed = 0, LossCause::Engine, &LossReason::NothingCompleted);
    let zero = |c: &mut CellMetrics| *c.metrics.get_mut(&TPUT).unwrap() = 0.0;
    check(zero, LossCause::Engine, &LossReason::Zero);
    let absent = |c: &mut CellMetrics| c.metrics.retain(|metric, _| *metric != TPUT);
    check(absent, LossCause::NoValue, &LossReason::Absent);
    let why = || "interrupted".to_owned();
    let aborted = |c: &mut CellMetrics| c.validity = Validity::Aborted { why: why() };
    check(aborted, LossCause::Aborted, &LossReason::Aborted { why: why() });
    for (treatment, cause) in [
        (Treatment::NoOp, LossCause::Setting),
        (Treatment::Substituted, LossCause::Setting),
        // The other starts took the setting.
        (Treatment::Rejected, LossCause::Engine),
    ] {
        check(|c| c.treatment = treatment, cause, &LossReason::Treatment { treatment });
    }
}

#[test]
fn a_latency_of_zero_is_no_failure_of_the_engine() {
    let mut all = ten(1.3);
    hit(&mut all, "C2", [3], |c| {
        *c.metrics.get_mut(&MetricName::TtftP50).unwrap() = 0.0
    });
    let s = study(&plan(&[("C2", "C1")]), &all);
    let c = find(&s, "C2", MetricName::TtftP50);
    assert_eq!(
        (c.lost[0].cause, &c.lost[0].reason),
        (LossCause::NoValue, &LossReason::Zero)
    );
    assert!(find(&s, "C2", TPUT).lost.is_empty());
}

#[test]
fn blocks_that_never_ran_are_missing_from_the_plan_not_from_the_count() {
    let mut p = plan(&[("C2", "C1")]);
    p.blocks = (1..=12)
        .map(|block| servelab_schema::PlannedBlock {
            block,
            seed: 1,
            prompts: Vec::new(),
            trials: Vec::new(),
        })
        .collect();
    let s = study(&p, &ten(1.3));
    let c = find(&s, "C2", TPUT);
    assert_eq!((c.k, c.planned, s.aa[0].planned), (10, 12, 12));
    assert!(c.lost.iter().all(|l| l.cause == LossCause::NotRun && l.block > 10));
    assert_eq!(c.verdict, Verdict::Better);
}

#[test]
fn five_of_ten_against_none_of_twenty_is_worse_in_a_family_of_seven_and_four_are_not() {
    let names = ["C2", "C3", "C4", "C5", "C6", "C7", "C8"];
    let plan = plan(&names.map(|n| (n, "C1")));
    let mut arms = vec![("C1", 1.0), ("C1b", 1.0)];
    arms.extend(names.map(|n| (n, 1.3)));
    for (lost, expected) in [(4, "NotComparable"), (5, "Worse"), (10, "Worse")] {
        let mut all = cells(6, 10, 0.01, &arms);
        hit(&mut all, "C2", 1..=lost, |c| {
            c.validity = invalid(GateName::EngineAlive)
        });
        let s = study(&plan, &all);
        let c = find(&s, "C2", TPUT);
        assert_eq!(c.verdict.as_str(), expected, "{lost} lost");
        let losses = c.losses.unwrap();
        assert!((losses.p_adjusted - 7.0 * losses.p).abs() < 1e-12);
        assert!(!c.indicative || lost < 5, "lost blocks are outcomes too");
        assert_eq!(
            find(&s, "C3", TPUT).verdict,
            Verdict::Better,
            "the others keep their word"
        );
    }
}

#[test]
fn a_variant_that_never_served_is_worse_though_it_has_no_numbers() {
    let mut all = ten(1.0);
    hit(&mut all, "C2", 1..=10, |c| {
        c.validity = invalid(GateName::EngineAlive);
        c.metrics.clear();
        c.completed = 0;
    });
    let c = of_c2(&all);
    assert_eq!((c.k, c.estimate, c.indicative), (0, None, false));
    assert_eq!(
        c.verdict,
        Verdict::Worse {
            by: WorseBy::LostBlocks
        }
    );
    // Where the control never served either, that says nothing of the variant.
    for arm in ["C1", "C1b"] {
        hit(&mut all, arm, 1..=10, |c| c.validity = invalid(GateName::EngineAlive));
    }
    let why = Hindrance::NoBlock;
    assert_eq!(of_c2(&all).verdict, Verdict::NotComparable { why });
}

#[test]
fn a_start_that_never_served_does_not_make_refusals_the_engines_doing() {
    let mut all = ten(1.0);
    let dead = |c: &mut CellMetrics| {
        c.validity = invalid(GateName::EngineAlive);
        c.metrics.clear();
        (c.completed, c.served) = (0, false);
    };
    // The engine refused the setting nine times, and once it died of something else before it served.
    hit(&mut all, "C2", 1..=10, dead);
    hit(&mut all, "C2", 1..=9, |c| c.treatment = Treatment::Rejected);
    hit(&mut all, "C2", [10], |c| c.treatment = Treatment::Unobservable);
    let c = of_c2(&all);
    let why = Hindrance::NoBlock;
    assert_eq!(c.verdict, Verdict::NotComparable { why });
    assert!(c.lost.iter().all(|l| l.cause == LossCause::Setting), "{:?}", c.lost);

    // Had the setting been seen at work once, its refusals would be the engine's.
    hit(&mut all, "C2", [10], |c| {
        (c.treatment, c.served) = (Treatment::Confirmed, true);
    });
    let of_the_engine = |c: &Comparison| c.lost.iter().filter(|l| l.cause == LossCause::Engine).count();
    assert_eq!(of_the_engine(&of_c2(&all)), 10);
}

#[test]
fn void_arms_and_arms_without_trials_are_not_compared() {
    let arms = [("C1", 1.0), ("C1b", 1.0), ("C2", 0.5), ("C3", 0.5), ("C4", 0.5)];
    let mut all = cells(6, 8, 0.01, &arms);
    hit(&mut all, "C2", 1..=8, |c| c.treatment = Treatment::NoOp);
    hit(&mut all, "C3", 1..=8, |c| c.validity = invalid(GateName::ScheduleLag));
    let s = study(&plan(&[("C2", "C1"), ("C3", "C1"), ("C4", "C1"), ("C5", "C1")]), &all);
    for (variant, why) in [
        ("C2", Hindrance::NoBlock),
        ("C3", Hindrance::NoBlock),
        ("C5", Hindrance::NoTrial),
    ] {
        assert_eq!(find(&s, variant, TPUT).verdict, Verdict::NotComparable { why });
    }
    // What is not compared does not make the family larger.
    let e = find(&s, "C4", TPUT).estimate.unwrap();
    assert!((e.p_adjusted.unwrap() - e.p_t.unwrap()).abs() < 1e-15);
}

#[test]
fn a_claim_falls_with_blocks_that_could_turn_it_and_stands_where_they_speak_for_it() {
    let lose = |c: &mut CellMetrics| c.validity = invalid(GateName::Failures);
    let after = |effect: f64, arms: &[&str], blocks: u32| {
        let mut all = ten(effect);
        arms.iter().for_each(|arm| hit(&mut all, arm, 1..=blocks, lose));
        of_c2(&all).verdict
    };
    let turned = |would_be, blocks| Verdict::NotComparable {
        why: Hindrance::LostToEngine { would_be, blocks },
    };
    let worse = Verdict::Worse { by: WorseBy::Effect };
    assert_eq!(after(1.3, &["C2"], 1), Verdict::Better);
    assert_eq!(after(1.3, &["C2"], 2), turned(Claim::Better, 2));
    assert_eq!(after(0.7, &["C2"], 2), worse);
    assert_eq!(after(1.0, &["C2"], 1), turned(Claim::Equivalent, 1));
    let controls = ["C1", "C1b"];
    assert_eq!(after(1.3, &controls, 2), Verdict::Better);
    assert_eq!(after(0.7, &controls, 2), turned(Claim::Worse, 2));
    // A block that one arm of the control still has is not lost to the comparison.
    assert_eq!(after(1.0, &["C1b"], 1), Verdict::Equivalent);
    assert_eq!(after(0.7, &["C1b"], 2), worse);
}

#[test]
fn a_block_lost_to_the_engine_is_not_taken_again_until_it_is_lucky() {
    let clean = ten(1.3);
    let take = |c: &CellMetrics, take: u32, validity: Validity| CellMetrics {
        take,
        validity,
        ..c.clone()
    };
    let with = |first: Validity, later: Validity| {
        let mut all = clean.clone();
        let i = all.iter().position(|c| c.variant == vid("C2") && c.block == 4).unwrap();
        let again = take(&all[i], 2, later);
        all[i] = take(&all[i], 1, first);
        all.push(again);
        study(&plan(&[("C2", "C1")]), &all)
    };
    let k = |s: &Study| find(s, "C2", TPUT).k;
    let retaken = with(invalid(GateName::EventLoopLag), Validity::Valid);
    assert_eq!(
        (k(&retaken), &retaken.notes[..]),
        (10, &[Note::TakenAgain { takes: 1 }][..])
    );
    assert_eq!(k(&with(Validity::Aborted { why: "power".into() }, Validity::Valid)), 10);
    let lucky = with(invalid(GateName::EngineAlive), Validity::Valid);
    assert_eq!((k(&lucky), find(&lucky, "C2", TPUT).losses.unwrap().lost), (9, 1));
    assert_eq!(k(&with(Validity::Valid, invalid(GateName::EngineAlive))), 10);
}
